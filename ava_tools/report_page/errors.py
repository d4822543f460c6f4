"""Which predictions of an evaluation are right, and in which way the others are wrong.

Scores of different models do not compare, so no threshold is chosen: of each class as many of its
highest ranked detections count as *predictions* as it has ground-truth boxes. There precision
equals recall.
"""

from dataclasses import dataclass

import numpy as np

from avsf_det.evaluation.ava_map import (
    IOU_THRESHOLD,
    ActionBoxes,
    RankedClass,
    iou_of_pairs,
    pair_by_keyframe,
)

from .sources import keyframe_index

# What a prediction is, the first that fits.
KINDS = {
    "right": "finds a box of its class",
    "double": "on a person who does this, but a higher score has found that one",
    "wrong class": "on a person who does not do this",
    "bad localisation": "overlaps a person who does this, but too little",
    "background": "no annotated person there",
}
RIGHT, DOUBLE, WRONG_CLASS, LOCALISATION, BACKGROUND = range(len(KINDS))
MIN_OVERLAP = 0.1  # IoU, of "bad localisation"


@dataclass(frozen=True)
class ClassErrors:
    """The predictions of one class.

    Attributes:
        ranked: all its detections.
        kind: int64 (P,), index in ``KINDS`` of each of its P predictions, by rank.
        missed: int64, rows of the ground truth that no prediction finds; the lowest score first,
            those that no detection finds at all last.
    """

    ranked: RankedClass
    kind: np.ndarray
    missed: np.ndarray

    @property
    def counts(self) -> np.ndarray:
        """int64 (len(KINDS),), predictions of each kind."""
        return np.bincount(self.kind, minlength=len(KINDS))


@dataclass(frozen=True)
class ErrorAnalysis:
    """
    Attributes:
        classes: K of them, in the label map's order.
        confusions: int64 (K, K); [g, p] boxes of class g that were missed while p was wrongly
            predicted on the same person; on the diagonal, boxes that were found.
        missed_alone: int64 (K,), boxes missed without such a p.
        no_box: int64 (K,), of these, those where no person was detected.
        added: int64 (K,), wrong classes of persons of whom nothing was missed.
    """

    classes: list[ClassErrors]
    confusions: np.ndarray
    missed_alone: np.ndarray
    no_box: np.ndarray
    added: np.ndarray


def analyze_errors(
    ranked: list[RankedClass], detections: ActionBoxes, ground_truth: ActionBoxes
) -> ErrorAnalysis:
    """
    Args:
        ranked: of :func:`rank_detections` on the same rows.
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
        [RIGHT, DOUBLE, WRONG_CLASS, LOCALISATION],
        BACKGROUND,
    )

    # A person's rows share the box, and so the overlap.
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
    """See :class:`ClassErrors`."""
    never = np.setdiff1d(ranked.ground_truth, ranked.found)
    late = ranked.found[num_predictions:]
    return np.concatenate([late[late >= 0][::-1], never])


def precision_recall(ranked: RankedClass, max_points: int = 200) -> np.ndarray:
    """Corners of the precision envelope whose area is AP.

    Args:
        max_points: where there are more corners, so many of them are taken, evenly.

    Returns:
        float64 (points, 2), recall and precision: up to this recall, this precision.
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
