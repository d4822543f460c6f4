"""Tracks of boxes at some frames of a video, sampled at regular times.

Between two boxes of a track its position is interpolated linearly, and its actions are those of the
earlier box. After a box marked "outside" the person is not visible. A track ends with its last box.
"""

import math
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import NamedTuple

import numpy as np

# Seconds; the time base of video files is a millisecond or finer.
_CLOCK_TOLERANCE = 0.0005
_MAX_FACTOR = 10_000
MAX_RATE = 1000.0  # keyframes per second; the csv has milliseconds


class Shape(NamedTuple):
    """A box of a track."""

    frame: int
    box: tuple[float, ...]  # x1, y1, x2, y2 in pixels
    outside: bool
    actions: tuple[str, ...]


class Span(NamedTuple):
    """Frames of a video, both included."""

    first: int
    last: int


def sample_track(
    shapes: Sequence[Shape], times: np.ndarray, rate: float
) -> Iterator[tuple[float, Shape]]:
    """Yield the times k / rate at which a track is visible, and its box in the frame shown then.

    Args:
        shapes: boxes, sorted by frame, one for each frame.
        times: float64 (frames,), time of each frame of the video, seconds, ascending.
        rate: keyframes per second.
    """
    frames = [shape.frame for shape in shapes]
    first = math.ceil((times[frames[0]] - _CLOCK_TOLERANCE) * rate)
    for k in range(max(first, 0), math.floor(times[-1] * rate) + 1):
        second = k / rate
        frame = int(np.searchsorted(times, second + _CLOCK_TOLERANCE, side="right")) - 1
        if frame > frames[-1]:
            return
        before = bisect_right(frames, frame) - 1
        shape = shapes[before]
        if shape.outside:
            continue
        after = shapes[min(before + 1, len(shapes) - 1)]
        fraction = (frame - shape.frame) / max(after.frame - shape.frame, 1)
        box = tuple(a + fraction * (b - a) for a, b in zip(shape.box, after.box, strict=True))
        yield second, shape._replace(frame=frame, box=box)


def find_unsampled(shapes: Sequence[Shape], sampled: Sequence[int]) -> list[Span]:
    """Return the spans of frames with one set of actions in which no frame was sampled.

    Args:
        shapes: boxes, sorted by frame.
        sampled: frames that were sampled, ascending.
    """
    spans, start = [], 0
    for (outside, actions), group in groupby(shapes, lambda shape: (shape.outside, shape.actions)):
        first, start = shapes[start].frame, start + len(list(group))
        # A span lasts until the next one starts, the last one until the last box.
        last = shapes[start].frame - 1 if start < len(shapes) else shapes[-1].frame
        span = Span(first, last)
        index = bisect_right(sampled, span.first - 1)
        is_sampled = index < len(sampled) and sampled[index] <= span.last
        if actions and not outside and not is_sampled:
            spans.append(span)
    return spans


def note_unsampled(unsampled: Sequence[tuple[str, Span, np.ndarray]], rate: float) -> list[str]:
    """Return a note for the user about spans that no keyframe samples; none if there is no span.

    Args:
        unsampled: name of the track, span, and frame times of its video.
        rate: keyframes per second.
    """
    if not unsampled:
        return []
    name, span, _ = unsampled[0]
    better = rate_that_samples([(span, times) for _, span, times in unsampled], rate)
    frames = f"frame {span.first}" if span.first == span.last else f"frames {span.first} on"
    return [
        f"left out {len(unsampled)} shapes or actions between the keyframes of --rate {rate:g} "
        f"(first: {name}, {frames}); "
        + (f"--rate {better:g} keeps all" if better else "no multiple of it keeps all")
    ]


def rate_that_samples(spans: Sequence[tuple[Span, np.ndarray]], rate: float) -> float | None:
    """Return the least multiple of a rate that samples all spans; None if there is none.

    A multiple keeps the keyframes of the rate.

    Args:
        spans: spans of frames with the frame times of their videos, as of :func:`sample_track`.
        rate: keyframes per second.
    """
    starts = np.array([times[span.first] for span, times in spans]) - _CLOCK_TOLERANCE
    ends = np.array(
        [
            # The last frame is sampled at its own time only.
            times[span.last + 1] - _CLOCK_TOLERANCE
            if span.last + 1 < len(times)
            else times[-1] + 1e-9
            for span, times in spans
        ]
    )
    for factor in range(2, min(int(MAX_RATE / rate), _MAX_FACTOR) + 1):
        first = np.maximum(np.ceil(starts * rate * factor), 0) / (rate * factor)
        if (first < ends).all():
            return rate * factor
    return None
