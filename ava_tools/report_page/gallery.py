"""Which keyframes a report shows, and what there is to say about each."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from avsf_det.evaluation.ava_map import IOU_THRESHOLD, ActionBoxes, Keyframe, iou_of_pairs

from .errors import KINDS, RIGHT, ErrorAnalysis
from .sources import rows_at

OUTCOMES = ("right", "wrong", "missed")
MAX_SAID = 3  # classes of highest score that are named


@dataclass(frozen=True)
class Example:
    """One box of one class.

    Attributes:
        class_index: in the label map's order.
        outcome: one of ``OUTCOMES``.
        kind: one of ``KINDS``, or "missed".
        keyframe: video id and second of the csv's clock.
        detected, annotated: float64 (4,) in 0..1; None where there is no such box.
        scores: of this class there, in each run; None where the run has no box there.
        said: classes of the highest scores there, in the first run.
        actions: annotated classes there.
    """

    class_index: int
    outcome: str
    kind: str
    keyframe: Keyframe
    detected: np.ndarray | None
    annotated: np.ndarray | None
    scores: list[float | None]
    said: list[tuple[str, float]]
    actions: list[str]


def choose_examples(
    analysis: ErrorAnalysis,
    runs: Sequence[ActionBoxes],
    ground_truth: ActionBoxes,
    label_map: Mapping[int, str],
    order: Sequence[int],
    limit: int,
) -> list[Example]:
    """The clearest cases: right and wrong ones of the highest, missed ones of the lowest score.

    The classes take turns, and the outcomes of each; every keyframe is shown once.

    Args:
        analysis: of the first of ``runs``.
        order: class indices, the first to be shown first.
        limit: how many examples.
    """
    chosen = _take_turns(analysis, runs[0], ground_truth, order, limit)
    keyframes = {keyframe for _, _, _, keyframe, _ in chosen}
    annotations = rows_at(ground_truth, keyframes)
    detections = [rows_at(run, keyframes) for run in runs]
    ids = list(label_map)
    examples = []
    for i, outcome, kind, keyframe, box in chosen:
        there = [
            _at_box(run, rows[keyframe], box) for run, rows in zip(runs, detections, strict=True)
        ]
        said = there[0][np.isin(runs[0].actions[there[0]], ids)][:MAX_SAID]
        truth = _at_box(ground_truth, annotations[keyframe], box)
        first, annotated = (
            _first_box(boxes, rows) for boxes, rows in ((runs[0], there[0]), (ground_truth, truth))
        )
        examples.append(
            Example(
                i,
                outcome,
                kind,
                keyframe,
                first if outcome == "missed" else box,
                annotated,
                [_score(run, rows, ids[i]) for run, rows in zip(runs, there, strict=True)],
                [(label_map[runs[0].actions[r]], float(runs[0].scores[r])) for r in said],
                sorted({label_map[a] for a in ground_truth.actions[truth] if a in label_map}),
            )
        )
    return sorted(examples, key=lambda e: (order.index(e.class_index), OUTCOMES.index(e.outcome)))


def _take_turns(
    analysis: ErrorAnalysis,
    detections: ActionBoxes,
    ground_truth: ActionBoxes,
    order: Sequence[int],
    limit: int,
) -> list[tuple[int, str, str, Keyframe, np.ndarray]]:
    """Class index, outcome, kind, keyframe and box of the examples."""
    queues = {
        (i, outcome): iter(rows)
        for i in order
        for outcome, rows in zip(OUTCOMES, _candidates(analysis, i), strict=True)
    }
    chosen, used = [], set()
    while queues:
        for (i, outcome), rows in list(queues.items()):
            boxes = ground_truth if outcome == "missed" else detections
            fresh = ((row, kind, _keyframe_of(boxes, row)) for row, kind in rows)
            found = next((x for x in fresh if x[2] not in used), None)
            if found is None:
                del queues[i, outcome]
            elif len(chosen) < limit:
                row, kind, keyframe = found
                used.add(keyframe)
                chosen.append((i, outcome, kind, keyframe, boxes.boxes[row]))
            else:
                queues.clear()
                break
    return chosen


def _candidates(analysis: ErrorAnalysis, i: int) -> tuple[Iterable, Iterable, Iterable]:
    """Of each outcome (row, kind), the clearest first."""
    c = analysis.classes[i]
    names = list(KINDS)
    predictions = list(zip(c.ranked.detections[: len(c.kind)], c.kind, strict=True))
    return (
        [(row, names[RIGHT]) for row, kind in predictions if kind == RIGHT],
        [(row, names[kind]) for row, kind in predictions if kind != RIGHT],
        [(row, "missed") for row in c.missed],
    )


def _keyframe_of(boxes: ActionBoxes, row: int) -> Keyframe:
    return boxes.keyframes[boxes.keyframe[row]]


def _at_box(boxes: ActionBoxes, rows: np.ndarray, box: np.ndarray) -> np.ndarray:
    """Those of the rows whose box overlaps most, if enough; the highest score first."""
    overlap = iou_of_pairs(boxes.boxes[rows], np.broadcast_to(box, (len(rows), 4)))
    best = rows[(overlap == overlap.max(initial=0)) & (overlap >= IOU_THRESHOLD)]
    return best[np.argsort(-boxes.scores[best], kind="stable")]


def _first_box(boxes: ActionBoxes, rows: np.ndarray) -> np.ndarray | None:
    return boxes.boxes[rows[0]] if len(rows) else None


def _score(boxes: ActionBoxes, rows: np.ndarray, action: int) -> float | None:
    scores = boxes.scores[rows[boxes.actions[rows] == action]]
    return float(scores[0]) if len(scores) else None
