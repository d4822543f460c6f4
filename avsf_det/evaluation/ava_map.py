"""AVA frame-mAP (boxes matched at IoU 0.5) from csv files or from arrays.

This file needs numpy and nothing else: it may be copied and used alone.

Two protocols give the figures of the public evaluators, class by class: ``default`` PySlowFast's
(with the detections of a keyframe sorted by score), ``activitynet`` the ActivityNet challenge's.
``PROTOCOLS`` says how they differ.

Both drop rows whose class is not in the label map, and detections without area. In a keyframe and
class, detections are taken by descending score (equal scores: in file order); each claims the
ground-truth box that it overlaps most, and is right if that overlap is at least 0.5 and nobody
claimed the box before. AP is the area under the precision envelope over all recall points. Equal
scores of different keyframes rank in reverse order of the keyframes' first appearance in the file,
as a stable ascending sort read backwards gives it.
"""

import gzip
import re
import zlib
from collections.abc import Iterator
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO

import numpy as np

PROTOCOLS = {
    "default": "excluded keyframes are left out, detections on unknown keyframes are wrong",
    "activitynet": "the exclusion list is not used, each keyframe keeps its 50 highest-scored "
    "detections, those on unknown keyframes are dropped",
}
IOU_THRESHOLD = 0.5
ACTIVITYNET_CAP = 50

_CHUNK_BYTES = 1 << 21
_MAX_LINE = 1024  # characters
_MAX_PLAIN = 20  # characters of a number that is parsed column by column
_POWERS = np.array([10**i for i in range(_MAX_PLAIN + 1)], np.float64)
_COMMA, _NEWLINE, _MINUS, _POINT, _ZERO = b",\n-.0"
_ROW = "video_id,timestamp,x1,y1,x2,y2,action_id[,score]"

Keyframe = tuple[str, float]  # video id, seconds


class AVAEvaluationError(ValueError):
    """Input that cannot be scored; the message says where, what was got and what to do."""


@dataclass(frozen=True)
class ActionBoxes:
    """Rows of an AVA csv as columns; row i is one box with one action.

    Attributes:
        keyframes: distinct (video id, seconds), in order of first appearance.
        keyframe: int32 (N,), index into ``keyframes``.
        boxes: float64 (N, 4), x1 y1 x2 y2 as fractions of width and height.
        actions: int32 (N,), ids of the label map.
        scores: float64 (N,); ones for ground truth.
    """

    keyframes: list[Keyframe]
    keyframe: np.ndarray
    boxes: np.ndarray
    actions: np.ndarray
    scores: np.ndarray

    def __len__(self) -> int:
        return len(self.keyframe)


@dataclass(frozen=True)
class ClassResult:
    """One class: AP in 0..1 (nan without ground truth) and the rows that it was computed from."""

    id: int
    name: str
    ap: float
    num_ground_truth: int
    num_detections: int


@dataclass(frozen=True)
class RankedClass:
    """The rows of one class, as AP counts them.

    Attributes:
        id, name: of the label map.
        ground_truth: int64 (M,), rows of the ground truth, by keyframe.
        detections: int64 (N,), rows of the detections, the highest rank first.
        found: int64 (N,), the ground-truth row that each detection finds; -1: none, it is wrong.
    """

    id: int
    name: str
    ground_truth: np.ndarray
    detections: np.ndarray
    found: np.ndarray


@dataclass(frozen=True)
class AVAResult:
    """What :func:`evaluate_ava` returns.

    Attributes:
        protocol: one of ``PROTOCOLS``.
        classes: one entry per class of the label map, in its order.
        counts: keyframes and rows (a box with k actions is k rows): used, matched, dropped.
    """

    protocol: str
    classes: list[ClassResult]
    counts: dict[str, int]

    @property
    def mean_ap(self) -> float:
        """Mean AP in 0..1 over the classes that have ground truth."""
        return float(np.mean([c.ap for c in self.classes if c.num_ground_truth]))

    def as_dict(self) -> dict:
        """Everything in a form that JSON can hold; AP is None for classes without ground truth."""
        ap = {c: c.ap if c.num_ground_truth else None for c in self.classes}
        return {
            "protocol": self.protocol,
            "mAP": self.mean_ap,
            "per_class": {str(c.id): ap[c] for c in self.classes},
            "per_class_by_name": {c.name: ap[c] for c in self.classes},
            "counts": self.counts,
        }

    def table(self) -> str:
        """Per-class AP, counts and mAP as text with one line per class."""
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


# Scoring ------------------------------------------------------------------------------------------


def evaluate_ava(
    detections: ActionBoxes,
    ground_truth: ActionBoxes,
    label_map: dict[int, str],
    excluded: AbstractSet[Keyframe] = frozenset(),
    protocol: str = "default",
) -> AVAResult:
    """Frame-mAP of ``detections``. Arguments and errors are those of :func:`rank_detections`."""
    ranked, counts = rank_detections(detections, ground_truth, label_map, excluded, protocol)
    classes = []
    counts["matched_boxes"] = 0
    for c in ranked:
        hits, num = c.found >= 0, len(c.ground_truth)
        counts["matched_boxes"] += int(hits.sum())
        ap = average_precision(hits, num) if num else float("nan")
        classes.append(ClassResult(c.id, c.name, ap, num, len(hits)))
    return AVAResult(protocol, classes, counts)


def rank_detections(
    detections: ActionBoxes,
    ground_truth: ActionBoxes,
    label_map: dict[int, str],
    excluded: AbstractSet[Keyframe] = frozenset(),
    protocol: str = "default",
) -> tuple[Iterator[RankedClass], dict[str, int]]:
    """What AP is computed from: the detections of every class by rank, and what each finds.

    Args:
        label_map: action id -> name of the classes that count; rows of others are dropped.
        excluded: (video id, seconds) left out of both sides; ``activitynet`` does not use it.

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
            f"of classes; ground-truth ids {_sample(np.unique(ground_truth.actions))}, "
            f"label map ids {_sample(label_map)}"
        )

    gt_keyframes = np.unique(ground_truth.keyframe[gt_rows])
    position = {ground_truth.keyframes[k]: i for i, k in enumerate(gt_keyframes)}
    # Index in gt_keyframes of every keyframe of the detections, -1 where it has no ground truth.
    known = np.array([position.get(k, -1) for k in detections.keyframes], np.int64)
    used_keyframes = np.unique(detections.keyframe[rows])
    num_matched_keyframes = int(np.count_nonzero(known[used_keyframes] >= 0))
    if len(detections) and not num_matched_keyframes:
        raise AVAEvaluationError(
            _why_nothing_matches(detections, ground_truth, label_map, excluded)
        )

    # The row where each keyframe of the detections appears first.
    first_row = np.zeros(len(detections.keyframes), np.int64)
    first_row[detections.keyframe[rows[::-1]]] = rows[::-1]
    num_selected = len(rows)
    if protocol == "activitynet":
        rows = rows[known[detections.keyframe[rows]] >= 0]
        rows = rows[_highest_scored(detections, rows, ACTIVITYNET_CAP)]
    num_kept = len(rows)
    boxes = detections.boxes[rows]
    rows = rows[(boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1])]

    rows_of_class = _split_by_class(rows, det_class[rows], len(label_map))
    gt_keyframe = np.searchsorted(gt_keyframes, ground_truth.keyframe[gt_rows])
    by_keyframe = np.argsort(gt_keyframe, kind="stable")
    gt_rows, gt_keyframe = gt_rows[by_keyframe], gt_keyframe[by_keyframe]
    gt_of_class = _split_by_class(np.arange(len(gt_rows)), gt_class[gt_rows], len(label_map))

    def rank(id_: int, name: str, det: np.ndarray, gt: np.ndarray) -> RankedClass:
        det = det[np.argsort(first_row[detections.keyframe[det]], kind="stable")]
        scores = detections.scores[det]
        found = _match(
            detections.boxes[det],
            scores,
            known[detections.keyframe[det]],
            ground_truth.boxes[gt_rows[gt]],
            gt_keyframe[gt],
            len(gt_keyframes),
        )
        found = np.append(gt_rows[gt], -1)[found]  # of index -1: -1
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
    """All-point interpolated AP.

    Args:
        hits: bool (N,), in order of descending score: does this detection find a box of its own?
        num_ground_truth: boxes to be found, at least 1.
    """
    precision = np.cumsum(hits) / np.arange(1, len(hits) + 1)
    envelope = np.maximum.accumulate(precision[::-1])[::-1]
    return float(envelope[hits].sum() / num_ground_truth)


def _select(
    rows: ActionBoxes, label_map: dict[int, str], excluded: AbstractSet[Keyframe], side: str
) -> tuple[np.ndarray, np.ndarray, dict[str, int]]:
    """Class index of every row (-1: not in the label map), the rows that count, and the others."""
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
    """Rows of each class, in the order given."""
    order = np.argsort(classes, kind="stable")
    ends = np.cumsum(np.bincount(classes, minlength=num_classes))
    return np.split(rows[order], ends[:-1])


def _match(
    boxes: np.ndarray,
    scores: np.ndarray,
    keyframe: np.ndarray,
    gt_boxes: np.ndarray,
    gt_keyframe: np.ndarray,
    num_keyframes: int,
) -> np.ndarray:
    """The ground-truth box that each detection of one class finds, if no better one has taken it.

    Args:
        boxes, scores, keyframe: (N, 4), (N,), (N,); keyframe -1 has no ground truth.
        gt_boxes, gt_keyframe: (M, 4), (M,), sorted by keyframe.

    Returns:
        int64 (N,), index of the ground-truth box, -1 if there is none.
    """
    found = np.full(len(boxes), -1)
    det, gt = pair_by_keyframe(keyframe, gt_keyframe, num_keyframes)
    overlap = iou_of_pairs(boxes[det], gt_boxes[gt])

    order = np.lexsort((-overlap, det))  # stable: of equal overlaps the first ground truth
    best = order[np.unique(det[order], return_index=True)[1]]
    best = best[overlap[best] >= IOU_THRESHOLD]
    order = best[np.lexsort((-scores[det[best]], gt[best]))]  # stable: of equal scores the first
    winners = order[np.unique(gt[order], return_index=True)[1]]
    found[det[winners]] = gt[winners]
    return found


def pair_by_keyframe(
    keyframe: np.ndarray, gt_keyframe: np.ndarray, num_keyframes: int
) -> tuple[np.ndarray, np.ndarray]:
    """Every pair of a detection and a ground-truth box of its keyframe.

    Args:
        keyframe: int (N,) of the detections; -1 has no ground truth.
        gt_keyframe: int (M,) of the ground truth, ascending.
        num_keyframes: how many there are.

    Returns:
        indices of detections and of ground truth, each int64 (pairs,), by detection.
    """
    count = np.bincount(gt_keyframe, minlength=num_keyframes)
    start = np.cumsum(count) - count
    candidates = np.flatnonzero(keyframe >= 0)
    num_pairs = count[keyframe[candidates]]
    det = np.repeat(candidates, num_pairs)
    nth = np.arange(len(det)) - np.repeat(np.cumsum(num_pairs) - num_pairs, num_pairs)
    return det, start[keyframe[det]] + nth


def iou_of_pairs(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """IoU of box pairs (N, 4), (N, 4) -> (N,)."""
    size = np.minimum(a[:, 2:], b[:, 2:]) - np.maximum(a[:, :2], b[:, :2])
    intersection = np.prod(np.maximum(size, 0), axis=1)
    area_a, area_b = (np.prod(x[:, 2:] - x[:, :2], axis=1) for x in (a, b))
    return intersection / (area_a + area_b - intersection)


def _highest_scored(detections: ActionBoxes, rows: np.ndarray, cap: int) -> np.ndarray:
    """Indices into ``rows`` (in file order) of what a heap of size ``cap`` per keyframe holds.

    The heap holds (score, class, y1, x1, y2, x2) and takes a new row only if its score is above
    the lowest. So of rows tied at the lowest kept score, those count that are among the keyframe's
    first ``cap`` rows of at least that score; of these the largest by class and box stay.
    """
    keyframe, scores = detections.keyframe[rows], detections.scores[rows]
    lowest = np.full(len(detections.keyframes), -np.inf)
    last = _rank(keyframe, -scores) == cap - 1
    lowest[keyframe[last]] = scores[last]
    contender = np.flatnonzero(scores >= lowest[keyframe])
    crowded = np.bincount(keyframe[contender], minlength=len(lowest)) > cap
    tied = contender[crowded[keyframe[contender]]]
    late = _rank(keyframe[tied]) >= cap
    x1, y1, x2, y2 = detections.boxes[rows[tied]].T
    actions = detections.actions[rows[tied]]
    rank = _rank(keyframe[tied], -x2, -y2, -x1, -y1, -actions, late, -scores[tied])
    return np.setdiff1d(contender, tied[rank >= cap], assume_unique=True)


def _rank(group: np.ndarray, *keys: np.ndarray) -> np.ndarray:
    """Rank 0, 1, ... of each row in its group, ordered by the keys (most significant last)."""
    order = np.lexsort((*keys, group))
    size = np.bincount(group)
    rank = np.empty(len(group), np.int64)
    rank[order] = np.arange(len(group)) - np.repeat(np.cumsum(size) - size, size)
    return rank


def _why_nothing_matches(
    detections: ActionBoxes,
    ground_truth: ActionBoxes,
    label_map: dict[int, str],
    excluded: AbstractSet[Keyframe],
) -> str:
    """The message for detections without a single keyframe of the ground truth."""
    causes = []
    ids = np.unique(detections.actions)
    if not np.isin(ids, list(label_map)).any():
        causes.append(
            f"no class of the detections ({_sample(ids)}) is in the label map "
            f"({_sample(label_map)}): ids off by one, or another label map"
        )
    if set(detections.keyframes) <= excluded:
        causes.append("all keyframes of the detections are on the exclusion list")
    det_videos, gt_videos = ({v for v, _ in x.keyframes} for x in (detections, ground_truth))
    if not det_videos & gt_videos:
        hint = "another split, or ids written differently"
        if any(Path(v).name in gt_videos or Path(v).stem in gt_videos for v in det_videos):
            hint = "write the id alone, without folder and file extension"
        causes.append(
            f"no video id in common: detections have {_sample(det_videos)}, "
            f"the ground truth {_sample(gt_videos)}: {hint}"
        )
    elif not set(detections.keyframes) & set(ground_truth.keyframes):
        det_times, gt_times = (
            f"{min(times):g} to {max(times):g}"
            for times in ([t for _, t in x.keyframes] for x in (detections, ground_truth))
        )
        causes.append(
            f"no timestamp in common: detections at {det_times}, ground truth at {gt_times}: both "
            "must be seconds of the movie, not of a cut or frame numbers (0902 and 902 are equal)"
        )
    if np.abs(detections.boxes).max() > 2:
        causes.append("boxes look like pixels: they must be fractions of width and height, 0..1")
    if not causes:
        causes.append(
            "the keyframes that both have carry no ground truth of the label map's classes, or are "
            "excluded"
        )
    return f"none of the {len(detections)} detections is on a keyframe of the ground truth: " + (
        "; ".join(causes)
    )


# Which mistakes of form a low mAP may come from, and the detections without them.
LOW_MAP = 0.1
_SLIPS = {
    "action ids that are one too low": lambda d: replace(d, actions=d.actions + 1),
    "action ids that are one too high": lambda d: replace(d, actions=d.actions - 1),
    "boxes written as y1,x1,y2,x2": lambda d: replace(d, boxes=d.boxes[:, [1, 0, 3, 2]]),
}


def find_slips(
    detections: ActionBoxes,
    ground_truth: ActionBoxes,
    label_map: dict[int, str],
    excluded: AbstractSet[Keyframe],
    result: AVAResult,
) -> list[str]:
    """Lines about what may be wrong with the form of detections; ``result`` is what they gave.

    An mAP below ``LOW_MAP`` is compared with that without a usual mistake, which is named if it
    costs more than half and more than 0.05.
    """
    lines = []
    unknown = ~np.isin(detections.actions, list(label_map))
    if unknown.any():
        lines.append(
            f"{int(unknown.sum())} of {len(detections)} detections are left out, as the label map "
            f"lacks their ids: {_sample(np.unique(detections.actions[unknown]), 10)}"
        )
    missing = [c.id for c in result.classes if c.num_ground_truth and not c.num_detections]
    if missing:
        lines.append(
            f"{len(missing)} classes have ground truth and not one detection, their AP is 0: ids "
            f"{_sample(missing, 10)}"
        )
    if not len(detections) or result.mean_ap >= LOW_MAP:
        return lines
    for name, undo in _SLIPS.items():
        try:
            other = evaluate_ava(
                undo(detections), ground_truth, label_map, excluded, result.protocol
            ).mean_ap
        except AVAEvaluationError:  # without it, nothing is left to score
            continue
        if other > max(2 * result.mean_ap, result.mean_ap + 0.05):
            lines.append(f"{name}? Without that, mAP would be {other:.4f}")
    return lines


def _sample(values: object, limit: int = 4) -> str:
    """The first few values, for a message."""
    items = sorted(values)
    return ", ".join(str(v) for v in items[:limit]) + (", ..." if len(items) > limit else "")


# Reading ------------------------------------------------------------------------------------------


def evaluate_ava_files(
    label_map: dict[int, str],
    ground_truth: str | Path,
    detections: str | Path,
    excluded: str | Path | None = None,
    protocol: str = "default",
) -> AVAResult:
    """:func:`evaluate_ava` on csv or csv.gz files."""
    return evaluate_ava(
        read_detections(detections),
        read_ground_truth(ground_truth),
        label_map,
        read_excluded(excluded) if excluded else frozenset(),
        protocol,
    )


def read_label_map(path: str | Path) -> dict[int, str]:
    """Action id -> name, from ``item {name id}`` or ``label {name label_id}`` blocks (pbtxt), or
    from lines ``id: name``."""
    text = _read_text(path)
    if "{" in text:
        entries = [
            (block.start(), re.search(r"\b(?:label_)?id:\s*(\d+)", block[1]), name and name[2])
            for block in re.finditer(r"\{([^}]*)\}", text)
            for name in [re.search(r"\bname:\s*([\"'])(.*?)\1", block[1])]
        ]
    else:
        entries = [
            (line.start(), re.match(r"\s*(\d+)\s*:", line[0]), line[0].partition(":")[2].strip())
            for line in re.finditer(r"[^\n]*\S[^\n]*", text)
        ]
    names: dict[int, str] = {}
    for start, id_, name in entries:
        line = text.count("\n", 0, start) + 1
        if id_ is None or not name:
            raise _error(path, line, "entry without name or id", 'write item { name: "x" id: 1 }')
        if int(id_[1]) in names or name in names.values():
            raise _error(path, line, f"{id_[1]} {name!r} occurs twice", "use each id and name once")
        names[int(id_[1])] = name
    if not names:
        raise _error(path, 1, "no classes", 'write item { name: "x" id: 1 } for each class')
    return names


def read_excluded(path: str | Path) -> frozenset[Keyframe]:
    """Keyframes of a csv ``video_id,timestamp``."""
    keyframes = _KeyframeIndex()
    for number, line in enumerate(_read_text(path).splitlines(), 1):
        try:
            keyframes[line.encode()]
        except ValueError as error:
            raise _error(path, number, str(error), "write video_id,timestamp") from None
    return frozenset(keyframes.index)


def read_ground_truth(path: str | Path) -> ActionBoxes:
    """Ground truth from csv or csv.gz: ``video_id,timestamp,x1,y1,x2,y2,action_id[,person_id]``.

    Raises:
        AVAEvaluationError: with file, line, value and remedy; an empty file is an error.
    """
    rows = _read_rows(path, 0.0, 1.0, ordered=True, scored=False)
    if not len(rows):
        raise AVAEvaluationError(f"{path}: no ground truth in the file; expected {_ROW}")
    return rows


def read_detections(path: str | Path) -> ActionBoxes:
    """Detections from csv or csv.gz: ``video_id,timestamp,x1,y1,x2,y2,action_id[,score]``.

    Without a score it is 1. An empty file holds no detection. Detectors overshoot the picture and
    produce boxes without area: both are read as they are; only coordinates beyond -1..2 (pixels)
    are an error.

    Raises:
        AVAEvaluationError: with file, line, value and remedy.
    """
    return _read_rows(path, -1.0, 2.0, ordered=False, scored=True)


def _error(path: str | Path, line: int, got: str, remedy: str) -> AVAEvaluationError:
    return AVAEvaluationError(f"{path}:{line}: {got}; {remedy}")


def _read_text(path: str | Path) -> str:
    try:
        return Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise AVAEvaluationError(f"{path}: cannot be read: {error}") from error


class _KeyframeIndex(dict):
    """``b"video,0902"`` -> index of that keyframe, the same for ``0902``, ``902`` and ``902.0``."""

    def __init__(self) -> None:
        self.index: dict[Keyframe, int] = {}

    def __missing__(self, key: bytes) -> int:
        video, _, seconds = key.decode().rpartition(",")
        if not video or "," in video or not np.isfinite(float(seconds)):
            raise ValueError(f"no keyframe: {key.decode()!r}")
        self[key] = self.index.setdefault((video, float(seconds)), len(self.index))
        return self[key]


def _read_rows(
    path: str | Path, low: float, high: float, ordered: bool, scored: bool
) -> ActionBoxes:
    """All rows of a csv; boxes must be within low..high and, if ``ordered``, not inverted."""
    index = _KeyframeIndex()
    columns = [(np.empty(0, np.int32), np.empty((0, 4)), np.empty(0, np.int32), np.empty(0))]
    line, num_columns = 1, 0
    try:
        with gzip.open(path) if str(path).endswith(".gz") else open(path, "rb") as file:
            for chunk in _whole_lines(file):
                num_columns = num_columns or chunk[: chunk.index(b"\n")].count(b",") + 1
                parsed = _Lines(path, line, chunk, num_columns)
                columns.append(parsed.columns(index, low, high, ordered, scored))
                line += parsed.num_lines
    except (OSError, EOFError, zlib.error) as error:
        raise AVAEvaluationError(f"{path}: cannot be read after line {line}: {error}") from error
    keyframe, boxes, actions, scores = (np.concatenate(c) for c in zip(*columns, strict=True))
    return ActionBoxes(list(index.index), keyframe, boxes, actions, scores)


def _whole_lines(file: BinaryIO) -> Iterator[bytes]:
    """The file in pieces that end with a newline, line ends written as newlines."""
    rest = b""
    while block := file.read(_CHUNK_BYTES):
        end = block.rfind(b"\n") + 1
        if end:
            yield (rest + block[:end]).replace(b"\r\n", b"\n")
            rest = b""
        rest += block[end:]
    if rest:
        yield rest.replace(b"\r", b"") + b"\n"


class _Lines:
    """Lines of csv text whose cells are parsed column by column instead of row by row."""

    def __init__(self, path: str | Path, first_line: int, text: bytes, num_columns: int) -> None:
        self.path, self.first_line = path, first_line
        chars = np.frombuffer(text, np.uint8)
        separators = np.flatnonzero((chars == _COMMA) | (chars == _NEWLINE))
        ends = np.flatnonzero(chars[separators] == _NEWLINE)
        self.num_lines = len(ends)
        got = np.diff(ends, prepend=-1)
        wrong = np.flatnonzero((got != num_columns) | (num_columns not in (7, 8)))
        if len(wrong):
            raise self.error(wrong[0], f"{got[wrong[0]]} columns", f"expected {_ROW}")
        self.stop = separators.reshape(-1, num_columns)
        self.start = np.empty_like(self.stop)
        self.start[0, 0] = 0
        self.start.flat[1:] = separators[:-1] + 1
        length = self.stop[:, -1] - self.start[:, 0]
        if length.max() > _MAX_LINE:
            raise self.error(length.argmax(), f"{length.max()} characters", f"expected {_ROW}")
        self.chars = np.append(chars, np.zeros(_MAX_LINE, np.uint8))

    def error(self, row: int, got: str, remedy: str) -> AVAEvaluationError:
        return _error(self.path, self.first_line + int(row), got, remedy)

    def columns(
        self, index: _KeyframeIndex, low: float, high: float, ordered: bool, scored: bool
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Keyframe, boxes, action and score of every line; see :class:`ActionBoxes`."""
        # A box with many actions is a run of lines that differ in the last columns only.
        key_and_box = self._as_bytes(self._cells(self.start[:, 0], self.stop[:, 5]))
        first = np.flatnonzero(np.append(True, key_and_box[1:] != key_and_box[:-1]))
        run_length = np.diff(first, append=self.num_lines)
        keyframe = self._keyframes(first, index)
        boxes = np.stack([self._numbers(first, column) for column in range(2, 6)], axis=1)
        wrong = ((boxes < low) | (boxes > high)).any(axis=1)
        if ordered:
            wrong |= (boxes[:, 2:] < boxes[:, :2]).any(axis=1)
        if wrong.any():
            raise self.error(
                first[wrong.argmax()],
                f"box {boxes[wrong.argmax()].tolist()}",
                "x1,y1,x2,y2 must be fractions of width and height (0..1), x1 <= x2, y1 <= y2",
            )
        every = np.arange(self.num_lines)
        actions = self._numbers(every, 6)
        wrong = (actions != np.rint(actions)) | (np.abs(actions) > np.iinfo(np.int32).max)
        if wrong.any():
            got = f"action id {actions[wrong.argmax()]}"
            raise self.error(wrong.argmax(), got, "write the label map's whole number")
        has_scores = scored and self.stop.shape[1] == 8
        return (
            np.repeat(keyframe, run_length),
            np.repeat(boxes, run_length, axis=0),
            actions.astype(np.int32),
            self._numbers(every, 7) if has_scores else np.ones(self.num_lines),
        )

    def _keyframes(self, rows: np.ndarray, index: _KeyframeIndex) -> np.ndarray:
        """Index of the keyframe of each row, int32."""
        keys = self._as_bytes(self._cells(self.start[rows, 0], self.stop[rows, 1])).tolist()
        try:
            return np.fromiter(map(index.__getitem__, keys), np.int32, len(keys))
        except ValueError as error:
            bad = next(i for i, key in enumerate(keys) if key not in index)
            raise self.error(rows[bad], str(error), "write video_id,timestamp in seconds") from None

    def _numbers(self, rows: np.ndarray, column: int) -> np.ndarray:
        """The column's numbers, float64, as ``float`` reads them.

        Plain decimals become a whole number divided by a power of ten: both are exact below 2**53
        and 10**22, so the quotient is the nearest float64. Other spellings are left to numpy.
        """
        length = self.stop[rows, column] - self.start[rows, column]
        cells = self._cells(self.start[rows, column], self.stop[rows, column])
        chars = np.ascontiguousarray(cells.T)  # (longest cell, rows)
        digits = chars - np.uint8(_ZERO)  # wraps around below "0"
        is_digit, is_point, negative = digits < 10, chars == _POINT, chars[0] == _MINUS
        num_digits = is_digit.sum(axis=0, dtype=np.int32)
        num_points = is_point.sum(axis=0, dtype=np.int32)
        whole, places = np.zeros(len(rows)), np.zeros(len(rows), np.uint8)
        after_point = np.zeros(len(rows), bool)
        for i in range(min(len(chars), _MAX_PLAIN)):
            whole = np.where(is_digit[i], whole * 10 + digits[i], whole)
            places += is_digit[i] & after_point
            after_point |= is_point[i]
        plain = (num_digits + num_points + negative == length) & (length <= _MAX_PLAIN)
        plain &= (num_digits > 0) & (num_points < 2) & (whole < 2**53)
        numbers = np.where(negative, -whole, whole) / _POWERS[places]

        other = np.flatnonzero(~plain)
        texts = self._as_bytes(cells[other])
        try:
            numbers[other] = texts.astype(np.float64)
        except ValueError:
            numbers[other] = [_float_or_nan(text) for text in texts.tolist()]
        infinite = np.flatnonzero(~np.isfinite(numbers))
        if len(infinite):
            text = cells[infinite[0]].tobytes().rstrip(b"\0").decode(errors="replace")
            got = f"column {column + 1} is {text!r}, not a finite number"
            raise self.error(rows[infinite[0]], got, f"expected {_ROW}")
        return numbers

    def _cells(self, start: np.ndarray, stop: np.ndarray) -> np.ndarray:
        """The characters between start and stop (N,), uint8 (N, longest), zeros behind."""
        length = (stop - start).astype(np.int16)
        width = max(int(length.max(initial=0)), 1)
        cells = np.lib.stride_tricks.sliding_window_view(self.chars, width)[start]
        cells *= np.arange(width, dtype=np.int16) < length[:, None]
        return cells

    @staticmethod
    def _as_bytes(cells: np.ndarray) -> np.ndarray:
        return cells.view(f"S{cells.shape[1]}")[:, 0]


def _float_or_nan(text: bytes) -> float:
    try:
        return float(text)
    except ValueError:
        return float("nan")
