"""Error analysis of an AVA evaluation: correct predictions, kinds of errors, confusions.

Scores of different models are not comparable, so no score threshold is used. The *predictions* of a
class are its highest-ranked detections, as many as it has ground-truth boxes. At this point of the
ranking precision equals recall.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from avsf_det.evaluation.ava_map import IOU_THRESHOLD, RankedClass, iou_of_pairs, pair_by_keyframe
from avsf_det.structures import ActionBoxes

from .sources import keyframe_index

# Kinds of predictions; if several apply, the first one counts.
KINDS = {
    "correct": "matches a box of its class",
    "duplicate": "on a person with this action, whom a higher score has matched already",
    "wrong class": "on a person without this action",
    "bad localisation": "overlaps a person with this action, but too little",
    "background": "on no annotated person",
}
CORRECT, DUPLICATE, WRONG_CLASS, LOCALISATION, BACKGROUND = range(len(KINDS))
MIN_OVERLAP = 0.1  # lowest IoU of "bad localisation"


@dataclass(frozen=True)
class ClassErrors:
    """Predictions and missed boxes of one class.

    Attributes:
        ranked: all detections of the class.
        kind: (P,) int64, index in ``KINDS`` of each of the P predictions, by rank.
        missed: (M,) int64, ground-truth rows that no prediction matches: first those that a
            detection of lower rank matches, from the lowest score on, then the others.
    """

    ranked: RankedClass
    kind: np.ndarray
    missed: np.ndarray

    @property
    def counts(self) -> np.ndarray:
        """Number of predictions of each kind, (len(KINDS),) int64."""
        return np.bincount(self.kind, minlength=len(KINDS))


@dataclass(frozen=True)
class ErrorAnalysis:
    """Errors of all K classes, in the label map's order.

    Attributes:
        classes: errors of each class.
        confusions: (K, K) int64; [g, p] is the number of boxes of class g that were missed while
            class p was wrongly predicted on the same person; the diagonal counts matched boxes.
        missed_alone: (K,) int64, boxes missed without such a class p.
        no_box: (K,) int64, those of them that no detection matches at any rank.
        added: (K,) int64, wrong predictions on persons none of whose actions was missed.
    """

    classes: list[ClassErrors]
    confusions: np.ndarray
    missed_alone: np.ndarray
    no_box: np.ndarray
    added: np.ndarray


def analyze_errors(
    ranked: list[RankedClass], detections: ActionBoxes, ground_truth: ActionBoxes
) -> ErrorAnalysis:
    """Classify the errors of an evaluation.

    Args:
        ranked: result of :func:`rank_detections` on the same rows, one entry per class.
        detections: detected boxes with scores.
        ground_truth: annotated boxes.
    """
    num_predictions = [min(len(c.ground_truth), len(c.detections)) for c in ranked]
    pred_class = np.repeat(np.arange(len(ranked)), num_predictions)
    rows, found = (
        np.concatenate([x[:n] for x, n in zip(columns, num_predictions, strict=True)])
        for columns in ([c.detections for c in ranked], [c.found for c in ranked])
    )

    gt_class = np.concatenate([np.full(len(c.ground_truth), i) for i, c in enumerate(ranked)])
    gt_rows = np.concatenate([c.ground_truth for c in ranked])
    order = np.argsort(ground_truth.keyframe[gt_rows], kind="stable")
    gt_class, gt_rows = gt_class[order], gt_rows[order]
    missed = ~np.isin(gt_rows, found)

    known = keyframe_index(ground_truth, detections)
    pred, gt = pair_by_keyframe(
        known[detections.keyframe[rows]],
        ground_truth.keyframe[gt_rows],
        len(ground_truth.keyframes),
    )
    overlap = iou_of_pairs(detections.boxes[rows[pred]], ground_truth.boxes[gt_rows[gt]])
    same = pred_class[pred] == gt_class[gt]
    best, best_same = np.zeros(len(rows)), np.zeros(len(rows))
    np.maximum.at(best, pred, overlap)
    np.maximum.at(best_same, pred[same], overlap[same])
    kind = np.select(
        [found >= 0, best_same >= IOU_THRESHOLD, best >= IOU_THRESHOLD, best_same >= MIN_OVERLAP],
        [CORRECT, DUPLICATE, WRONG_CLASS, LOCALISATION],
        BACKGROUND,
    )

    # Rows of the same person have the same box, so also the same IoU.
    on_person = (kind[pred] == WRONG_CLASS) & (overlap == best[pred])
    confused = on_person & missed[gt]
    confusions = np.zeros((len(ranked), len(ranked)), np.int64)
    np.add.at(confusions, (gt_class[gt[confused]], pred_class[pred[confused]]), 1)
    np.add.at(confusions, (gt_class[~missed], gt_class[~missed]), 1)
    alone = missed.copy()
    alone[gt[confused]] = False
    ever_found = np.isin(gt_rows, np.concatenate([c.found for c in ranked]))
    added = kind == WRONG_CLASS
    added[pred[confused]] = False

    ends = np.cumsum(num_predictions)[:-1]
    classes = [
        ClassErrors(c, k, _missed_rows(c, len(k)))
        for c, k in zip(ranked, np.split(kind, ends), strict=True)
    ]
    return ErrorAnalysis(
        classes,
        confusions,
        *(
            np.bincount(which, minlength=len(ranked))
            for which in (gt_class[alone], gt_class[alone & ~ever_found], pred_class[added])
        ),
    )


def _missed_rows(ranked: RankedClass, num_predictions: int) -> np.ndarray:
    """Return ``ClassErrors.missed``."""
    never = np.setdiff1d(ranked.ground_truth, ranked.found)
    late = ranked.found[num_predictions:]
    return np.concatenate([late[late >= 0][::-1], never])


def list_errors(
    analysis: ErrorAnalysis,
    detections: ActionBoxes,
    ground_truth: ActionBoxes,
    names: Sequence[str],
) -> Iterator[list]:
    """Yield a header, then a row per wrong prediction and per missed box, by class.

    Args:
        analysis: errors of these detections.
        detections: detected boxes with scores.
        ground_truth: annotated boxes.
        names: names of the classes.

    Yields:
        video id, second, class, one of ``KINDS`` or "missed", score ("" of a missed box), and
        x1 y1 x2 y2 as fractions of width and height.
    """
    yield ["video_id", "second", "class", "error", "score", "x1", "y1", "x2", "y2"]
    kinds = list(KINDS)
    for name, c in zip(names, analysis.classes, strict=True):
        wrong = np.flatnonzero(c.kind != CORRECT)
        found = [(int(c.ranked.detections[i]), kinds[c.kind[i]], detections) for i in wrong]
        for row, kind, boxes in [*found, *((int(i), "missed", ground_truth) for i in c.missed)]:
            video_id, second = boxes.keyframes[boxes.keyframe[row]]
            score = "" if kind == "missed" else f"{boxes.scores[row]:.4f}"
            yield [video_id, f"{second:g}", name, kind, score, *boxes.boxes[row].round(4).tolist()]


def count_by_video(
    analysis: ErrorAnalysis, detections: ActionBoxes, ground_truth: ActionBoxes
) -> list[tuple[str, int, int, int, int]]:
    """Return video id, annotated boxes, correct and wrong predictions, and missed boxes.

    A box with k actions counts k times. The videos with the largest fraction of missed boxes and
    wrong predictions come first.
    """
    counts: dict[str, list[int]] = {}
    for c in analysis.classes:
        predicted = c.ranked.detections[: len(c.kind)]
        for i, rows, boxes in (
            (0, c.ranked.ground_truth, ground_truth),
            (1, predicted[c.kind == CORRECT], detections),
            (2, predicted[c.kind != CORRECT], detections),
            (3, c.missed, ground_truth),
        ):
            for keyframe in boxes.keyframe[rows]:
                counts.setdefault(boxes.keyframes[keyframe][0], [0, 0, 0, 0])[i] += 1

    def error_rate(item: tuple[str, list[int]]) -> float:
        annotated, correct, wrong, missed = item[1]
        return (wrong + missed) / max(annotated + correct + wrong, 1)

    worst_first = sorted(counts.items(), key=error_rate, reverse=True)
    return [(video, *numbers) for video, numbers in worst_first]  # type: ignore[misc]


def precision_recall(ranked: RankedClass, max_points: int = 200) -> np.ndarray:
    """Return the corners of the precision envelope, whose area is AP.

    Args:
        ranked: detections of one class.
        max_points: largest number of corners; of more, evenly spaced ones are kept.

    Returns:
        (points, 2) float64, recall and precision: the precision holds up to that recall.
    """
    hits = ranked.found >= 0
    precision = np.cumsum(hits) / np.arange(1, len(hits) + 1)
    envelope = np.maximum.accumulate(precision[::-1])[::-1][hits]
    recall = np.arange(1, len(envelope) + 1) / max(len(ranked.ground_truth), 1)
    corner = np.append(envelope[1:] != envelope[:-1], True)[: len(envelope)]
    points = np.stack([recall[corner], envelope[corner]], axis=1)
    if len(points) > max_points:
        points = points[np.linspace(0, len(points) - 1, max_points).round().astype(int)]
    return points
