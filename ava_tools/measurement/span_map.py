"""Mean AP of spans in time (bouts) and of tubes in space and time (video-mAP).

Per video and action, detections are matched by descending score, each with the annotation of the
greatest overlap that is still free (segment-mAP as ActivityNet; video-mAP as Gkioxari, Malik 2015,
Section 4). AP is interpolated at all points.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Iterable, Sequence
from typing import Generic, NamedTuple, TypeVar

import numpy as np

from avsf_det.evaluation.ava_map import average_precision, iou_of_pairs

SpanT = TypeVar("SpanT")


class Detected(NamedTuple, Generic[SpanT]):
    """A detection or an annotation.

    Attributes:
        place: detections match annotations of the same place, such as a video id.
        action: name of the action.
        span: (start, end) in seconds for :func:`time_iou`, a :class:`Tube` for :func:`tube_iou`.
        score: score of a detection; ignored for an annotation.
    """

    place: Hashable
    action: str
    span: SpanT
    score: float = 1.0


class Tube(NamedTuple):
    """Boxes of one person at a series of times.

    Attributes:
        seconds: float64 (T,), ascending, on a grid that detections and annotations share.
        boxes: float64 (T, 4), x1 y1 x2 y2.
    """

    seconds: np.ndarray
    boxes: np.ndarray


def time_iou(a: tuple[float, float], b: tuple[float, float]) -> float:
    """Return the intersection over union of two (start, end)."""
    both = max(0.0, min(a[1], b[1]) - max(a[0], b[0]))
    union = (a[1] - a[0]) + (b[1] - b[0]) - both
    return both / union if union > 0 else 0.0


def tube_iou(a: Tube, b: Tube) -> float:
    """Return temporal IoU times the mean IoU of the boxes at the common times."""
    _, i, j = np.intersect1d(a.seconds, b.seconds, return_indices=True)
    if not len(i):
        return 0.0
    in_time = len(i) / (len(a.seconds) + len(b.seconds) - len(i))
    return float(in_time * iou_of_pairs(a.boxes[i], b.boxes[j]).mean())


def span_ap(
    detections: Iterable[Detected[SpanT]],
    annotations: Sequence[Detected[SpanT]],
    overlap: Callable[[SpanT, SpanT], float],
    threshold: float,
) -> dict[str, float]:
    """Return AP (0..1) of each annotated action; its mean is the mAP.

    Args:
        detections: spans with scores; those of actions without annotation are ignored.
        annotations: spans to be found.
        overlap: :func:`time_iou` or :func:`tube_iou`.
        threshold: smallest overlap of a match, in (0, 1].
    """
    hits = match_spans(detections, annotations, overlap, threshold)
    totals = Counter(truth.action for truth in annotations)
    return {a: average_precision(hits[a], totals[a]) for a in sorted(totals)}


def span_f1(
    detections: Iterable[Detected[SpanT]],
    annotations: Sequence[Detected[SpanT]],
    overlap: Callable[[SpanT, SpanT], float],
    threshold: float,
) -> dict[str, float]:
    """Return F1 (0..1) of each annotated action over all detections; see :func:`span_ap`."""
    hits = match_spans(detections, annotations, overlap, threshold)
    totals = Counter(truth.action for truth in annotations)
    return {a: 2 * float(hits[a].sum()) / (len(hits[a]) + totals[a]) for a in sorted(totals)}


def match_spans(
    detections: Iterable[Detected[SpanT]],
    annotations: Sequence[Detected[SpanT]],
    overlap: Callable[[SpanT, SpanT], float],
    threshold: float,
) -> dict[str, np.ndarray]:
    """Return whether each detection finds an annotation of its own, by descending score.

    Arguments are those of :func:`span_ap`.

    Returns:
        annotated action -> bool (N,) of its N detections.
    """
    free: dict[tuple[Hashable, str], list[SpanT]] = defaultdict(list)
    hits: dict[str, list[bool]] = {}
    for truth in annotations:
        free[truth.place, truth.action].append(truth.span)
        hits[truth.action] = []
    for found in sorted(detections, key=lambda d: -d.score):
        if found.action not in hits:
            continue
        spans = free[found.place, found.action]
        overlaps = [overlap(found.span, span) for span in spans]
        best = int(np.argmax(overlaps)) if overlaps else -1
        is_hit = best >= 0 and overlaps[best] >= threshold
        if is_hit:
            spans.pop(best)
        hits[found.action].append(is_hit)
    return {action: np.array(found, bool) for action, found in hits.items()}
