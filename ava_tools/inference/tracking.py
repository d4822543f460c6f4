"""Ids of persons through a video, by ByteTrack (Zhang et al. 2022) of the library `trackers`."""

from collections.abc import Sequence

import numpy as np

from avsf_det.structures import AVSFError

# The tracker's noise levels are made for pixels, and boxes are fractions of the frame.
PIXELS = 1000.0
LOST_SEC = 1.2  # a person that is not detected for longer gets a new id
# A box with a lower score continues a track, but starts none (the library's default).
MIN_SCORE = 0.7
MIN_IOU = 0.1


def track_persons(seconds: Sequence[float], boxes: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Return the boxes of one video with ids, and those that were missed in the middle of a track.

    A missed box lies on the line between the boxes before and after it, and has the lower of their
    scores.

    Args:
        seconds: times of the frames, ascending.
        boxes: float (N, 5) per frame: x1 y1 x2 y2 in 0..1 of the frame, score; N may be 0.

    Returns:
        float64 (N', 6) per frame: the given boxes with their ids, see :func:`link_persons`, then
        the missed ones.

    Raises:
        AVSFError: the library is missing.
    """
    tracked = [
        np.column_stack([np.asarray(found, float).reshape(-1, 5), ids])
        for found, ids in zip(boxes, link_persons(seconds, boxes), strict=True)
    ]
    missed: list[list[np.ndarray]] = [[] for _ in tracked]
    last: dict[int, tuple[int, np.ndarray]] = {}  # id -> frame and row of its last box
    for k, rows in enumerate(tracked):
        for row in rows[rows[:, 5] >= 0]:
            j, before = last.get(int(row[5]), (k, row))
            for i in range(j + 1, k):
                part = (seconds[i] - seconds[j]) / (seconds[k] - seconds[j])
                between = before + part * (row - before)
                between[4] = min(before[4], row[4])
                missed[i].append(between)
            last[int(row[5])] = k, row
    return [np.vstack([rows, *added]) for rows, added in zip(tracked, missed, strict=True)]


def link_persons(seconds: Sequence[float], boxes: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Return the ids of the persons of one video.

    Args:
        seconds: see :func:`track_persons`.
        boxes: see :func:`track_persons`.

    Returns:
        int64 (N,) per frame, ids from 0 in the order of appearance; -1 of a box that belongs to no
        track.

    Raises:
        AVSFError: the library is missing.
    """
    try:
        from supervision import Detections
        from trackers import ByteTrackTracker
    except ImportError as error:
        raise AVSFError(
            f"ids of persons need the library 'trackers' ({error}): pip install --no-deps trackers "
            "supervision, and pip install 'avsf_det[timeline]'"
        ) from None
    tracker = ByteTrackTracker(
        lost_track_buffer=round(30 * LOST_SEC),  # at the library's 30 frames per second
        track_activation_threshold=MIN_SCORE,
        minimum_consecutive_frames=1,
        minimum_iou_threshold=MIN_IOU,
    )
    ids, known = [], {-1: -1}
    for second, persons in zip(seconds, boxes, strict=True):
        detections = Detections(
            xyxy=persons[:, :4].astype(float) * PIXELS,
            confidence=persons[:, 4].astype(float),
            class_id=np.zeros(len(persons), int),
            data={"index": np.arange(len(persons))},
        )
        # A track gets its id with its second detection. So each frame is given twice, and the
        # person has it from the first frame on.
        tracker.update(detections, timestamp=second)
        result = tracker.update(detections, timestamp=second + 0.001)
        found = np.full(len(persons), -1, np.int64)
        if result.tracker_id is not None and len(result):
            found[result.data["index"]] = result.tracker_id
        ids.append(np.array([known.setdefault(i, len(known) - 1) for i in found.tolist()], int))
    return ids
