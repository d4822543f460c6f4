"""Results of MMAction2 as action boxes. Results of PySlowFast are csv files that need no change.

Unpickling is left to the caller, who should not run what is in a pickle. Shorthands: N boxes of a
keyframe, K classes.
"""

import math
from collections.abc import Mapping, Sequence

import numpy as np

from avsf_det.structures import ActionBoxes, AVSFError, Keyframe
from avsf_det.structures.ava_boxes import MAX_SECOND

_EXPECTED = "expected what MMAction2 writes: a list with an entry for each keyframe"


class ResultFormatError(AVSFError):
    """Results in an unknown format. The message says what was got."""


def read_mmaction2(data: object, keyframes: Sequence[Keyframe]) -> ActionBoxes:
    """Convert the results of MMAction2's test script.

    An entry of version 0.x is a list of K arrays float32 (N, 5), class 1 first: x1, y1, x2, y2 in
    0..1, score. It does not name its keyframe. An entry of 1.x is a dict with ``video_id``,
    ``timestamp`` and ``pred_instances``: ``bboxes`` (N, 4) in 0..1 and ``scores`` (N, 1 + K), of
    which column 0 has no meaning.

    Args:
        data: unpickled results.
        keyframes: keyframes of the ground truth, in its order, for results of 0.x.

    Raises:
        ResultFormatError: another format, or boxes beyond -1..2 (pixels).
    """
    if isinstance(data, Mapping):
        raise ResultFormatError(
            f"a dict of {len(data)} entries such as {next(iter(data), None)!r}; if these are "
            f"proposals, they have no actions; {_EXPECTED}"
        )
    if not isinstance(data, Sequence) or isinstance(data, str | bytes) or not data:
        raise ResultFormatError(f"{type(data).__name__}; {_EXPECTED}")
    if all(isinstance(entry, Mapping) and "pred_instances" in entry for entry in data):
        found = [_keyframe(entry) for entry in data]
        rows = [_rows_of_instances(entry["pred_instances"]) for entry in data]
    elif all(isinstance(entry, Sequence) for entry in data):
        found = list(keyframes)
        if len(found) != len(data):
            raise ResultFormatError(
                f"results of {len(data)} keyframes, but the ground truth has {len(found)}: give "
                "the csv that was tested on"
            )
        rows = [_rows_of_classes(entry) for entry in data]
    else:
        raise ResultFormatError(
            f"a list of {type(data[0]).__name__}, which are no detections (a pickle of PySlowFast "
            f"has scores of clips; its detections are detections_*.csv); {_EXPECTED}"
        )
    index = np.repeat(np.arange(len(rows), dtype=np.int32), [len(r) for r in rows])
    table = np.concatenate(rows)
    boxes = table[:, :4]
    if not np.isfinite(table[:, 5]).all():
        i = int(np.isfinite(table[:, 5]).argmin())
        raise ResultFormatError(f"keyframe {found[index[i]]}: a score that is NaN or infinite")
    wrong = ~((boxes >= -1) & (boxes <= 2)).all(axis=1)  # nan fails the comparison
    if wrong.any():
        i = int(wrong.argmax())
        raise ResultFormatError(
            f"keyframe {found[index[i]]}: box {boxes[i].tolist()} looks like pixels; x1,y1,x2,y2 "
            "must be fractions of width and height (0..1)"
        )
    return ActionBoxes(found, index, boxes, table[:, 4].astype(np.int32), table[:, 5])


def _keyframe(entry: Mapping) -> Keyframe:
    if "video_id" not in entry or "timestamp" not in entry:
        raise ResultFormatError(
            f"an entry without video_id and timestamp, but with {', '.join(map(str, entry))}"
        )
    try:
        second = float(entry["timestamp"])
    except (TypeError, ValueError, OverflowError):
        second = math.nan
    if not abs(second) <= MAX_SECOND:  # true for nan as well
        raise ResultFormatError(f"a timestamp {entry['timestamp']!r}, which is no time in seconds")
    return str(entry["video_id"]), second


def _rows_of_instances(instances: Mapping) -> np.ndarray:
    """Return float64 (N * K, 6): box, action id, score."""
    if not isinstance(instances, Mapping) or not {"bboxes", "scores"} <= instances.keys():
        raise ResultFormatError("pred_instances of a keyframe without bboxes and scores")
    boxes, scores = (_as_numbers(instances[name]) for name in ("bboxes", "scores"))
    if scores.ndim != 2 or boxes.shape != (len(scores), 4):
        raise ResultFormatError(f"bboxes {boxes.shape}, scores {scores.shape} of a keyframe")
    num, num_classes = len(scores), scores.shape[1] - 1
    ids = np.tile(np.arange(1, num_classes + 1), num)
    return np.column_stack([boxes.repeat(num_classes, axis=0), ids, scores[:, 1:].reshape(-1)])


def _rows_of_classes(classes: Sequence) -> np.ndarray:
    """Return float64 (rows, 6): box, action id, score."""
    arrays = [_as_numbers(boxes) for boxes in classes]
    for boxes in arrays:
        if boxes.ndim != 2 or boxes.shape[1] != 5:
            raise ResultFormatError(f"an array {boxes.shape} of a class; (N, 5) was expected")
    if not arrays:
        return np.empty((0, 6))
    table = np.concatenate(arrays)
    ids = np.repeat(np.arange(1, len(arrays) + 1), [len(boxes) for boxes in arrays])
    return np.column_stack([table[:, :4], ids, table[:, 4]])


def _as_numbers(values: object) -> np.ndarray:
    """Return float64 of any shape."""
    try:
        return np.asarray(values, np.float64)
    except (TypeError, ValueError, OverflowError):
        raise ResultFormatError(f"a {type(values).__name__} that is no array of numbers") from None
