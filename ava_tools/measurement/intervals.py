"""How sure an evaluation is: bootstrap intervals of AP, and the best score threshold per class."""

from collections.abc import Sequence
from operator import itemgetter
from typing import NamedTuple

import numpy as np

from avsf_det.evaluation.ava_map import ClassResult, RankedClass
from avsf_det.structures import ActionBoxes

RESAMPLES = 200  # enough for two digits of a 95 % interval
FEW_BOXES = 10  # AP over fewer annotated boxes says little, whatever its interval
MIN_VIDEOS = 5  # with fewer, keyframes are resampled instead of whole videos
QUANTILES = (0.025, 0.975)


class Intervals(NamedTuple):
    """95 % bootstrap intervals.

    Attributes:
        mean_ap: lowest and highest mAP, 0..1.
        ap: (K, 2) float64, lowest and highest AP per class; nan without ground truth.
        unit: what was resampled, "videos" or "keyframes".
    """

    mean_ap: tuple[float, float]
    ap: np.ndarray
    unit: str


class OperatingPoint(NamedTuple):
    """Score threshold of a class, with what the detections at or above it are worth (0..1)."""

    threshold: float
    precision: float
    recall: float
    f1: float


def bootstrap_ap(
    classes: Sequence[RankedClass],
    detections: ActionBoxes,
    ground_truth: ActionBoxes,
    seed: int = 0,
) -> Intervals:
    """Return percentile intervals of AP and mAP over resampled videos (Efron 1979).

    Keyframes of one video resemble each other, so whole videos are drawn with replacement. The
    intervals tell how far the figures depend on the choice of test videos, not on the training.

    Args:
        classes: ranked detections, one entry per class.
        detections: rows that ``classes`` refer to.
        ground_truth: annotated rows that ``classes`` refer to.
        seed: seed of the draws.
    """
    both = (detections, ground_truth)
    videos = {video for rows in both for video, _ in rows.keyframes}
    unit = "videos" if len(videos) >= MIN_VIDEOS else "keyframes"
    name_of = itemgetter(0) if unit == "videos" else tuple
    index = {
        name: i for i, name in enumerate({name_of(k): None for x in both for k in x.keyframes})
    }
    det_unit, gt_unit = (
        np.array([index[name_of(k)] for k in x.keyframes], np.int64)[x.keyframe] for x in both
    )
    random = np.random.default_rng(seed)
    ap = np.full((RESAMPLES, len(classes)), np.nan)
    for draw in ap:
        weight = np.bincount(random.integers(len(index), size=len(index)), minlength=len(index))
        for k, c in enumerate(classes):
            num = weight[gt_unit[c.ground_truth]].sum()
            if num:
                draw[k] = weighted_ap(c.found >= 0, weight[det_unit[c.detections]], num)
    drawn = ~np.isnan(ap)
    mean_ap = np.nansum(ap, axis=1)[drawn.any(axis=1)] / drawn.sum(axis=1)[drawn.any(axis=1)]
    bounds = np.full((len(classes), 2), np.nan)
    for k in np.flatnonzero(drawn.any(axis=0)).tolist():
        bounds[k] = np.quantile(ap[drawn[:, k], k], QUANTILES)
    low, high = np.quantile(mean_ap, QUANTILES)
    return Intervals((float(low), float(high)), bounds, unit)


def describe_intervals(classes: Sequence[ClassResult], intervals: Intervals) -> list[str]:
    """Return lines for a terminal: the interval of mAP and of each class, and rare classes."""
    lines = [
        f"95 % intervals, {RESAMPLES} bootstrap samples of {intervals.unit}:",
        "mAP {:.3f} to {:.3f}".format(*intervals.mean_ap),
    ]
    for c, (low, high) in zip(classes, intervals.ap, strict=True):
        if c.num_ground_truth:
            few = f", {c.num_ground_truth} boxes: too few to say" * (c.num_ground_truth < FEW_BOXES)
            lines.append(f"{c.name} {low:.3f} to {high:.3f}{few}")
    return lines


def weighted_ap(hits: np.ndarray, weights: np.ndarray, num_ground_truth: int) -> float:
    """Return AP as if each detection was there ``weights`` times.

    Args:
        hits: bool (N,), whether each detection finds a box of its own, by descending score.
        weights: int64 (N,), copies of each detection.
        num_ground_truth: number of boxes to find, copies included.
    """
    seen = np.cumsum(weights)
    precision = np.cumsum(weights * hits) / np.maximum(seen, 1)
    envelope = np.maximum.accumulate(precision[::-1])[::-1]
    return float((envelope * weights)[hits].sum() / num_ground_truth)


def best_operating_point(ranked: RankedClass, scores: np.ndarray) -> OperatingPoint | None:
    """Return the score threshold with the highest F1; None without detections or ground truth.

    Args:
        ranked: ranked detections of a class.
        scores: score of each row of all detections.
    """
    if not len(ranked.detections) or not len(ranked.ground_truth):
        return None
    by_rank = scores[ranked.detections]
    found = np.cumsum(ranked.found >= 0)
    kept = np.arange(1, len(found) + 1)
    f1 = 2 * found / (kept + len(ranked.ground_truth))
    # A threshold cannot divide detections with equal scores.
    is_last = np.append(by_rank[1:] != by_rank[:-1], True)
    best = int(np.argmax(np.where(is_last, f1, -1)))
    return OperatingPoint(
        float(by_rank[best]),
        float(found[best] / kept[best]),
        float(found[best] / len(ranked.ground_truth)),
        float(f1[best]),
    )
