"""Choose the example keyframes of a report, and collect what the page shows about each."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from avsf_det.evaluation.ava_map import IOU_THRESHOLD, iou_of_pairs
from avsf_det.structures import ActionBoxes, Keyframe

from .errors import CORRECT, KINDS, ErrorAnalysis
from .sources import rows_at

OUTCOMES = ("correct", "wrong", "missed")
MAX_TOP_ACTIONS = 3


@dataclass(frozen=True)
class Example:
    """One box of one class at a keyframe.

    Attributes:
        class_index: index of the class in the label map's order.
        outcome: one of ``OUTCOMES``.
        kind: one of ``KINDS``, or "missed".
        keyframe: video id and second on the csv's clock.
        detected: (4,) float64, detected box in 0..1; None if there is none.
        annotated: (4,) float64, annotated box in 0..1; None if there is none.
        scores: score of the class at this box in each run; None if the run has no such box.
        top_actions: actions with the highest scores at this box in the first run.
        actions: annotated actions of this box.
    """

    class_index: int
    outcome: str
    kind: str
    keyframe: Keyframe
    detected: np.ndarray | None
    annotated: np.ndarray | None
    scores: list[float | None]
    top_actions: list[tuple[str, float]]
    actions: list[str]


def choose_examples(
    analysis: ErrorAnalysis,
    runs: Sequence[ActionBoxes],
    ground_truth: ActionBoxes,
    label_map: Mapping[int, str],
    order: Sequence[int],
    limit: int,
) -> list[Example]:
    """Choose the clearest examples.

    These are correct and wrong predictions with the highest scores, and missed boxes with the
    lowest. Classes and outcomes alternate; every keyframe is used once.

    Args:
        analysis: errors of the first run.
        runs: detections of each run.
        ground_truth: annotated boxes.
        label_map: action id -> name.
        order: class indices in the order of the page.
        limit: largest number of examples.
    """
    chosen = _choose(analysis, runs[0], ground_truth, order, limit)
    keyframes = {keyframe for _, _, _, keyframe, _ in chosen}
    annotations = rows_at(ground_truth, keyframes)
    detections = [rows_at(run, keyframes) for run in runs]
    ids = list(label_map)
    examples = []
    for i, outcome, kind, keyframe, box in chosen:
        at_box = [
            _at_box(run, rows[keyframe], box) for run, rows in zip(runs, detections, strict=True)
        ]
        top = at_box[0][np.isin(runs[0].actions[at_box[0]], ids)][:MAX_TOP_ACTIONS]
        truth = _at_box(ground_truth, annotations[keyframe], box)
        first, annotated = (
            _first_box(boxes, rows) for boxes, rows in ((runs[0], at_box[0]), (ground_truth, truth))
        )
        examples.append(
            Example(
                i,
                outcome,
                kind,
                keyframe,
                first if outcome == "missed" else box,
                annotated,
                [_score(run, rows, ids[i]) for run, rows in zip(runs, at_box, strict=True)],
                [(label_map[runs[0].actions[r]], float(runs[0].scores[r])) for r in top],
                sorted({label_map[a] for a in ground_truth.actions[truth] if a in label_map}),
            )
        )
    return sorted(examples, key=lambda e: (order.index(e.class_index), OUTCOMES.index(e.outcome)))


def _choose(
    analysis: ErrorAnalysis,
    detections: ActionBoxes,
    ground_truth: ActionBoxes,
    order: Sequence[int],
    limit: int,
) -> list[tuple[int, str, str, Keyframe, np.ndarray]]:
    """Return class index, outcome, kind, keyframe and box of each example."""
    queues = {
        (i, outcome): iter(rows)
        for i in order
        for outcome, rows in zip(OUTCOMES, _candidates(analysis, i), strict=True)
    }
    chosen: list[tuple[int, str, str, Keyframe, np.ndarray]] = []
    used: set[Keyframe] = set()
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
    """Return the (row, kind) of each outcome of a class, the clearest first."""
    c = analysis.classes[i]
    names = list(KINDS)
    predictions = list(zip(c.ranked.detections[: len(c.kind)], c.kind, strict=True))
    return (
        [(row, names[CORRECT]) for row, kind in predictions if kind == CORRECT],
        [(row, names[kind]) for row, kind in predictions if kind != CORRECT],
        [(row, "missed") for row in c.missed],
    )


def _keyframe_of(boxes: ActionBoxes, row: int) -> Keyframe:
    return boxes.keyframes[boxes.keyframe[row]]


def _at_box(boxes: ActionBoxes, rows: np.ndarray, box: np.ndarray) -> np.ndarray:
    """Return the rows of the box that overlaps most, if enough; the highest score first."""
    overlap = iou_of_pairs(boxes.boxes[rows], np.broadcast_to(box, (len(rows), 4)))
    best = rows[(overlap == overlap.max(initial=0)) & (overlap >= IOU_THRESHOLD)]
    return best[np.argsort(-boxes.scores[best], kind="stable")]


def _first_box(boxes: ActionBoxes, rows: np.ndarray) -> np.ndarray | None:
    return boxes.boxes[rows[0]] if len(rows) else None


def _score(boxes: ActionBoxes, rows: np.ndarray, action: int) -> float | None:
    scores = boxes.scores[rows[boxes.actions[rows] == action]]
    return float(scores[0]) if len(scores) else None
