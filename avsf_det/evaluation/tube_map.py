"""Video-mAP: detections of frames are linked to tubes, which are compared with annotated tubes.

Linking is that of ACT (Kalogeiton et al., ICCV 2017, Section 3.3) for detections of single frames:
online, greedy, by class. Figures are computed as by MultiSports, whose script differs from ACT's:
AP is interpolated at all points, coordinates are no numbers of whole pixels, and a detection has no
second choice. The two scripts differ by some tenths of a per cent.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from .ava_map import average_precision, iou_of_pairs

MAX_BOXES = 10  # boxes of a class that are linked in a frame
MIN_IOU = 0.5  # of a box with the last one of its tube
MAX_GAP = 5  # frames after the last box of a tube in which the next one must be
MIN_LENGTH = 15  # frames; shorter tubes are dropped
# Boxes with a lower score are not linked. So a tube ends where its action does: each person box has
# a score of every action.
MIN_SCORE = 0.05


class Tube(NamedTuple):
    """Boxes of one person that performs one action.

    Attributes:
        frames: int64 (T,), ascending: all keyframes of the video from the first to the last one.
        boxes: float64 (T, 4), x1 y1 x2 y2.
    """

    frames: np.ndarray
    boxes: np.ndarray


class DetectedTube(NamedTuple):
    """A tube of a video with the mean score of its boxes."""

    video_id: str
    score: float
    tube: Tube


@dataclass(eq=False)
class _Track:
    frames: list[int] = field(default_factory=list)
    boxes: list[np.ndarray] = field(default_factory=list)
    score: float = 0.0  # mean over the boxes

    def extend(self, frame: int, box: np.ndarray, score: float) -> None:
        self.frames.append(frame)
        self.boxes.append(box)
        self.score += (score - self.score) / len(self.frames)


def link_boxes(
    keyframes: Iterable[tuple[int, np.ndarray, np.ndarray]], *, stride: int = 1
) -> list[tuple[float, Tube]]:
    """Link the detections of one action in one video.

    Tubes choose in order of their mean score: each takes the best box that overlaps its last one.
    Boxes that are left begin tubes. Gaps are interpolated.

    Args:
        keyframes: number of the frame, boxes (N, 4) and scores (N,), in order of time.
        stride: frames from one keyframe to the next.

    Returns:
        score and tube of each, in order of their first frames.
    """
    tracks: list[_Track] = []
    active: list[_Track] = []
    for frame, boxes, scores in keyframes:
        order = np.argsort(-scores, kind="stable")[:MAX_BOXES]
        free = [i for i in order.tolist() if scores[i] >= MIN_SCORE]  # the best one first
        active = [t for t in active if frame - t.frames[-1] <= max(MAX_GAP, stride)]
        for track in sorted(active, key=lambda t: -t.score):
            if not free:
                break
            last = np.broadcast_to(track.boxes[-1], (len(free), 4))
            near = np.flatnonzero(iou_of_pairs(boxes[free], last) >= MIN_IOU)
            if len(near):
                best = free.pop(int(near[0]))
                track.extend(frame, boxes[best], float(scores[best]))
        for i in free:
            tracks.append(_Track())
            active.append(tracks[-1])
            tracks[-1].extend(frame, boxes[i], float(scores[i]))
    kept = [t for t in tracks if t.frames[-1] - t.frames[0] + stride >= MIN_LENGTH]
    return [(t.score, _fill(t, stride)) for t in kept]


def _fill(track: _Track, stride: int) -> Tube:
    frames = np.arange(track.frames[0], track.frames[-1] + 1, stride)
    columns = np.array(track.boxes, np.float64).T
    return Tube(frames, np.stack([np.interp(frames, track.frames, c) for c in columns], axis=1))


def tube_iou(a: Tube, b: Tube) -> float:
    """Return temporal IoU times the mean IoU of the boxes in the common frames.

    A tube extends from its first frame to its last one, as MultiSports counts, which is a frame
    less than their number.
    """
    both = min(a.frames[-1], b.frames[-1]) - max(a.frames[0], b.frames[0])
    union = max(a.frames[-1], b.frames[-1]) - min(a.frames[0], b.frames[0])
    _, i, j = np.intersect1d(a.frames, b.frames, return_indices=True)
    if both <= 0 or not len(i):
        return 0.0
    return float(both / union * iou_of_pairs(a.boxes[i], b.boxes[j]).mean())


def video_ap(
    detections: Sequence[DetectedTube],
    annotated: Mapping[str, Sequence[Tube]],
    thresholds: Sequence[float],
) -> list[float]:
    """Return AP (0..1) of one action at each threshold of :func:`tube_iou`.

    By descending score, each detection claims the annotated tube that it overlaps most. It is right
    if the overlap reaches the threshold and no better detection claimed that tube.

    Args:
        detections: tubes of all videos.
        annotated: video id to its tubes, at least one in all.
        thresholds: overlaps in (0, 1].
    """
    claims: list[tuple[float, tuple[str, int]]] = []  # overlap; video id and number of the tube
    for video_id, _, tube in sorted(detections, key=lambda d: -d.score):
        overlaps = [tube_iou(tube, truth) for truth in annotated.get(video_id, ())]
        best = int(np.argmax(overlaps)) if overlaps else 0
        claims.append((overlaps[best] if overlaps else 0.0, (video_id, best)))
    total = sum(map(len, annotated.values()))
    result = []
    for threshold in thresholds:
        found: set[tuple[str, int]] = set()
        hits = []
        for overlap, tube_id in claims:
            hits.append(overlap >= threshold and tube_id not in found)
            if hits[-1]:
                found.add(tube_id)
        result.append(average_precision(np.array(hits, bool), total))
    return result
