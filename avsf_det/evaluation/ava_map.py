"""AVA frame-mAP: boxes matched at IoU 0.5, average precision of each class.

Two protocols give the figures of the public evaluators, class by class: ``default`` those of
PySlowFast (with the detections of a keyframe sorted by score), ``activitynet`` those of the
ActivityNet challenge. ``PROTOCOLS`` says how they differ.

Both drop rows whose class is not in the label map, and detections without area. In a keyframe and
class, detections are taken by descending score (equal scores: in file order). Each claims the
ground-truth box that it overlaps most, and is right if that overlap is at least 0.5 and no better
detection claimed the box. AP is the area under the precision envelope over all recall points. Equal
scores of different keyframes rank in reverse order of the keyframes' first appearance in the file,
as a stable ascending sort read backwards gives it.
"""

from collections.abc import Callable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace

import numpy as np

from ..structures import ActionBoxes, AVSFError, Keyframe
from .activitynet import select_by_activitynet
from .ava_diagnostics import explain_no_match, first_values

PROTOCOLS = {
    "default": "excluded keyframes are left out, detections on unknown keyframes are wrong",
    "activitynet": "the exclusion list is not used, each keyframe keeps its 50 highest-scored "
    "detections, those on keyframes that the ground-truth file lacks are dropped",
}
IOU_THRESHOLD = 0.5
LOW_MAP = 0.1  # below it, the detections are scored again without each usual mistake
_CORRECTIONS: dict[str, Callable[[ActionBoxes], ActionBoxes]] = {
    "action ids that are one too low": lambda d: replace(d, actions=d.actions + 1),
    "action ids that are one too high": lambda d: replace(d, actions=d.actions - 1),
    "boxes written as y1,x1,y2,x2": lambda d: replace(d, boxes=d.boxes[:, [1, 0, 3, 2]]),
}


class AVAEvaluationError(AVSFError):
    """Input that cannot be scored. The message says where, what was got and what to do."""


@dataclass(frozen=True)
class ClassResult:
    """AP of one class."""

    id: int  # in the label map
    name: str
    ap: float  # in 0..1, nan without ground truth
    num_ground_truth: int  # boxes
    num_detections: int


@dataclass(frozen=True)
class RankedClass:
    """Rows of one class, as AP counts them."""

    id: int  # in the label map
    name: str
    ground_truth: np.ndarray  # int64 (M,), rows of the ground truth, by keyframe
    detections: np.ndarray  # int64 (N,), rows of the detections, the highest rank first
    found: np.ndarray  # int64 (N,), ground-truth row that each detection finds; -1: it is wrong


@dataclass(frozen=True)
class AVAResult:
    """Result of :func:`evaluate_ava`."""

    protocol: str  # one of PROTOCOLS
    classes: list[ClassResult]  # in the order of the label map
    # Keyframes and rows that were used, matched and dropped. A box with k actions is k rows.
    counts: dict[str, int]

    @property
    def mean_ap(self) -> float:
        """Return the mean AP in 0..1 over the classes that have ground truth."""
        return float(np.mean([c.ap for c in self.classes if c.num_ground_truth]))

    def as_dict(self) -> dict:
        """Return everything as JSON values. AP is None for classes without ground truth."""
        ap = {c: c.ap if c.num_ground_truth else None for c in self.classes}
        return {
            "protocol": self.protocol,
            "mAP": self.mean_ap,
            "per_class": {str(c.id): ap[c] for c in self.classes},
            "per_class_by_name": {c.name: ap[c] for c in self.classes},
            "counts": self.counts,
        }

    def table(self) -> str:
        """Format AP per class, counts and mAP as text with one line per class."""
        width = max(len(c.name) for c in self.classes)
        lines = [
            f"| {'id':>4} | {'class':{width}} |     AP | ground truth | detections |",
            f"|-----:|:{'-' * (width + 1)}|-------:|-------------:|-----------:|",
        ]
        for c in self.classes:
            ap = f"{c.ap:.4f}" if c.num_ground_truth else "none"
            lines.append(
                f"| {c.id:>4} | {c.name:{width}} | {ap:>6} | {c.num_ground_truth:>12} "
                f"| {c.num_detections:>10} |"
            )
        lines += [f"{name.replace('_', ' ')}: {count}" for name, count in self.counts.items()]
        scored = sum(c.num_ground_truth > 0 for c in self.classes)
        lines += [
            f"protocol {self.protocol}: {PROTOCOLS[self.protocol]}",
            f"mAP@{IOU_THRESHOLD} of {scored} classes with ground truth, of {len(self.classes)}: "
            f"{self.mean_ap:.6f}",
        ]
        return "\n".join(lines)


def evaluate_ava(
    detections: ActionBoxes,
    ground_truth: ActionBoxes,
    label_map: Mapping[int, str],
    excluded: AbstractSet[Keyframe] = frozenset(),
    protocol: str = "default",
) -> AVAResult:
    """Compute the frame-mAP. Arguments and errors are those of :func:`rank_detections`."""
    ranked, counts = rank_detections(detections, ground_truth, label_map, excluded, protocol)
    classes, counts["matched_boxes"] = [], 0
    for c in ranked:
        hits, num = c.found >= 0, len(c.ground_truth)
        counts["matched_boxes"] += int(hits.sum())
        ap = average_precision(hits, num) if num else float("nan")
        classes.append(ClassResult(c.id, c.name, ap, num, len(hits)))
    return AVAResult(protocol, classes, counts)


def rank_detections(
    detections: ActionBoxes,
    ground_truth: ActionBoxes,
    label_map: Mapping[int, str],
    excluded: AbstractSet[Keyframe] = frozenset(),
    protocol: str = "default",
) -> tuple[Iterator[RankedClass], dict[str, int]]:
    """Rank the detections of each class and match them, which is what AP is computed from.

    Args:
        detections: rows with scores.
        ground_truth: annotated rows.
        label_map: action id to name of the classes that count; rows of others are dropped.
        excluded: keyframes left out of both sides; ``activitynet`` does not use them.
        protocol: one of ``PROTOCOLS``.

    Returns:
        The classes in the label map's order, each computed when it is asked for, and
        :attr:`AVAResult.counts` without "matched_boxes".

    Raises:
        AVAEvaluationError: no ground truth is left to score, or there are detections but none of
            their keyframes is in the ground truth (the message names the likely causes).
    """
    if protocol not in PROTOCOLS:
        raise AVAEvaluationError(f"protocol is {protocol!r}; choose one of {', '.join(PROTOCOLS)}")
    if protocol == "activitynet":
        excluded = frozenset()
    gt_class, gt_rows, gt_counts = _select(ground_truth, label_map, excluded, "ground_truth")
    det_class, rows, det_counts = _select(detections, label_map, excluded, "detections")
    if not len(gt_rows):
        raise AVAEvaluationError(
            f"none of the {len(ground_truth)} ground-truth rows is left after exclusion and choice "
            f"of classes; ground-truth ids {first_values(np.unique(ground_truth.actions))}, "
            f"label map ids {first_values(label_map)}"
        )
    # Keyframes with ground truth to find, and for each keyframe of the detections its index among
    # them, -1 where there is nothing to find.
    gt_keyframes = np.unique(ground_truth.keyframe[gt_rows])
    position = {ground_truth.keyframes[k]: i for i, k in enumerate(gt_keyframes)}
    known = np.array([position.get(k, -1) for k in detections.keyframes], np.int64)
    used_keyframes = np.unique(detections.keyframe[rows])
    num_matched_keyframes = int(np.count_nonzero(known[used_keyframes] >= 0))
    if len(detections) and not num_matched_keyframes:
        raise AVAEvaluationError(explain_no_match(detections, ground_truth, label_map, excluded))

    # The row where each keyframe of the detections appears first.
    first_row = np.zeros(len(detections.keyframes), np.int64)
    first_row[detections.keyframe[rows[::-1]]] = rows[::-1]
    num_selected = len(rows)
    if protocol == "activitynet":
        rows = select_by_activitynet(detections, rows, ground_truth)
    num_kept = len(rows)
    # After the protocol's selection: boxes without area take places among the 50, too.
    boxes = detections.boxes[rows]
    rows = rows[(boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1])]

    rows_of_class = _split_by_class(rows, det_class[rows], len(label_map))
    gt_keyframe = np.searchsorted(gt_keyframes, ground_truth.keyframe[gt_rows])
    by_keyframe = np.argsort(gt_keyframe, kind="stable")
    gt_rows, gt_keyframe = gt_rows[by_keyframe], gt_keyframe[by_keyframe]
    gt_of_class = _split_by_class(np.arange(len(gt_rows)), gt_class[gt_rows], len(label_map))

    def rank(id_: int, name: str, det: np.ndarray, gt: np.ndarray) -> RankedClass:
        # By appearance of the keyframes, on which the rank of equal scores depends (see above).
        det = det[np.argsort(first_row[detections.keyframe[det]], kind="stable")]
        scores = detections.scores[det]
        pairs = pair_by_keyframe(
            known[detections.keyframe[det]], gt_keyframe[gt], len(gt_keyframes)
        )
        found = _match(detections.boxes[det], scores, ground_truth.boxes[gt_rows[gt]], *pairs)
        found = np.append(gt_rows[gt], -1)[found]  # index -1 stays -1
        order = np.argsort(scores, kind="stable")[::-1]
        return RankedClass(id_, name, gt_rows[gt], det[order], found[order])

    ranked = (
        rank(id_, name, det, gt)
        for (id_, name), det, gt in zip(label_map.items(), rows_of_class, gt_of_class, strict=True)
    )
    counts = {
        "ground_truth_keyframes": len(gt_keyframes),
        "ground_truth_boxes": len(gt_rows),
        "detection_keyframes": len(used_keyframes),
        "detections": len(rows),
        "matched_keyframes": num_matched_keyframes,
        "excluded_keyframes": len(excluded),
        **gt_counts,
        **det_counts,
        "detections_dropped_by_protocol": num_selected - num_kept,
        "detections_without_area": num_kept - len(rows),
    }
    return ranked, counts


def average_precision(hits: np.ndarray, num_ground_truth: int) -> float:
    """Return the all-point interpolated AP; there is at least one box to be found.

    ``hits``, bool (N,): whether each detection finds a box of its own, by descending score.
    """
    precision = np.cumsum(hits) / np.arange(1, len(hits) + 1)
    # Interpolated: the highest precision at this recall or above it.
    envelope = np.maximum.accumulate(precision[::-1])[::-1]
    return float(envelope[hits].sum() / num_ground_truth)


def _select(
    rows: ActionBoxes, label_map: Mapping[int, str], excluded: AbstractSet[Keyframe], side: str
) -> tuple[np.ndarray, np.ndarray, dict[str, int]]:
    """Return the class index of each row (-1: none); the rows that count; the counts of others."""
    ids = np.array(list(label_map))
    order = np.argsort(ids)
    nearest = order[np.searchsorted(ids[order], rows.actions).clip(max=len(ids) - 1)]
    class_index = np.where(ids[nearest] == rows.actions, nearest, -1)
    class_index = class_index.astype(np.min_scalar_type(-len(ids)))  # 16 bits sort faster
    is_excluded = np.array([k in excluded for k in rows.keyframes], bool)[rows.keyframe]
    keep = (class_index >= 0) & ~is_excluded
    counts = {
        f"excluded_{side}": int(is_excluded.sum()),
        f"{side}_outside_label_map": int((class_index < 0).sum()),
    }
    return class_index, np.flatnonzero(keep), counts


def _split_by_class(rows: np.ndarray, classes: np.ndarray, num_classes: int) -> list[np.ndarray]:
    """Group rows by class, keeping their order."""
    order = np.argsort(classes, kind="stable")
    ends = np.cumsum(np.bincount(classes, minlength=num_classes))
    return np.split(rows[order], ends[:-1])


def _match(
    boxes: np.ndarray, scores: np.ndarray, gt_boxes: np.ndarray, det: np.ndarray, gt: np.ndarray
) -> np.ndarray:
    """Return for each detection of one class the index of the box that it finds, -1 for none.

    ``det`` and ``gt`` are the pairs of the same keyframe, see :func:`pair_by_keyframe`.
    """
    found = np.full(len(boxes), -1)
    overlap = iou_of_pairs(boxes[det], gt_boxes[gt])
    # Each detection claims the box that it overlaps most ...
    order = np.lexsort((-overlap, det))  # stable: of equal overlaps the first ground truth
    best = order[np.unique(det[order], return_index=True)[1]]
    best = best[overlap[best] >= IOU_THRESHOLD]
    # ... and of the claims to a box the highest scored wins. The others find nothing: there is no
    # second choice.
    order = best[np.lexsort((-scores[det[best]], gt[best]))]  # stable: of equal scores the first
    winners = order[np.unique(gt[order], return_index=True)[1]]
    found[det[winners]] = gt[winners]
    return found


def pair_by_keyframe(
    keyframe: np.ndarray, gt_keyframe: np.ndarray, num_keyframes: int
) -> tuple[np.ndarray, np.ndarray]:
    """Pair each detection with all ground-truth boxes of its keyframe.

    The keyframes are indices: int (N,), -1 without ground truth; and int (M,), ascending. Return
    the indices of detections and of ground truth, each int64 (pairs,), by detection.
    """
    count = np.bincount(gt_keyframe, minlength=num_keyframes)
    start = np.cumsum(count) - count
    candidates = np.flatnonzero(keyframe >= 0)
    # Detection i has num_pairs[i] pairs: ground truth start, start + 1, ... of its keyframe.
    num_pairs = count[keyframe[candidates]]
    det = np.repeat(candidates, num_pairs)
    nth = np.arange(len(det)) - np.repeat(np.cumsum(num_pairs) - num_pairs, num_pairs)
    return det, start[keyframe[det]] + nth


def iou_of_pairs(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return the IoU of box pairs: (N, 4), (N, 4) to (N,)."""
    size = np.minimum(a[:, 2:], b[:, 2:]) - np.maximum(a[:, :2], b[:, :2])
    intersection = np.prod(np.maximum(size, 0), axis=1)
    area_a, area_b = (np.prod(x[:, 2:] - x[:, :2], axis=1) for x in (a, b))
    return intersection / (area_a + area_b - intersection)


def find_format_errors(
    detections: ActionBoxes,
    label_map: Mapping[int, str],
    result: AVAResult,
    evaluate: Callable[[ActionBoxes], AVAResult],
) -> list[str]:
    """Return lines about what may be wrong with the form of detections.

    If the mAP is below ``LOW_MAP``, the detections are scored again without each usual mistake. It
    is named if it costs more than half of the mAP and more than 0.05. ``evaluate`` scores other
    detections in the same way as those of ``result``.
    """
    lines = []
    unknown = ~np.isin(detections.actions, list(label_map))
    if unknown.any():
        lines.append(
            f"{int(unknown.sum())} of {len(detections)} detections are left out, as the label map "
            f"lacks their ids: {first_values(np.unique(detections.actions[unknown]), 10)}"
        )
    missing = [c.id for c in result.classes if c.num_ground_truth and not c.num_detections]
    if missing:
        lines.append(
            f"{len(missing)} classes have ground truth and not one detection, their AP is 0: ids "
            f"{first_values(missing, 10)}"
        )
    if not len(detections) or result.mean_ap >= LOW_MAP:  # scoring again takes as long
        return lines
    for mistake, correct in _CORRECTIONS.items():
        try:
            corrected = evaluate(correct(detections)).mean_ap
        except AVAEvaluationError:  # corrected, nothing is left to score
            continue
        if corrected > max(2 * result.mean_ap, result.mean_ap + 0.05):
            lines.append(f"{mistake}? Without that, mAP would be {corrected:.4f}")
    return lines
