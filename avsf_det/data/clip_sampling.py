"""Which seconds of a video make a clip. All times are seconds of the file."""

from collections.abc import Callable

import numpy as np


def span_around(timestamp: float, length: float) -> tuple[float, float]:
    """(start, end) of the span of ``length`` seconds with the keyframe at its middle.

    It may reach beyond the file: readers show the first or last frame there, and silence.
    """
    return timestamp - length / 2, timestamp + length / 2


def frame_times(start: float, num_frames: int, stride: float, fps: float) -> list[float]:
    """Times of a clip's frames, ``stride / fps`` apart, the first at ``start``.

    Of a span of ``num_frames * stride / fps`` seconds around a keyframe, frame ``num_frames / 2``
    is the keyframe, as in PySlowFast.
    """
    return [start + i * stride / fps for i in range(num_frames)]


def random_span(
    length: float, duration: float, segment: tuple[float, float] | None = None
) -> tuple[float, float]:
    """(start, end) of a random span of ``length`` seconds within a file of ``duration`` seconds.

    Uniform over all spans; with a segment, its middle is uniform in the segment, and the span may
    exceed it (Wu et al. 2019, EPIC-Kitchens). A file that is too short gives its start.
    """
    if segment is None:
        start = np.random.uniform(0, max(duration - length, 0))
    else:
        start = np.random.uniform(*segment) - length / 2
    return _inside(start, length, duration)


def ith_span(
    i: int,
    num_spans: int,
    length: float,
    duration: float,
    segment: tuple[float, float] | None = None,
) -> tuple[float, float]:
    """(start, end) of the i-th of ``num_spans`` spans of a file or of a segment of it.

    One span is in the middle. Several of a file start at i / num_spans of the last possible start
    (as in PySlowFast, so the end is never reached); several of a segment have their middles in
    equal parts of it.
    """
    if segment is not None:
        first, last = segment
        middle = first + (last - first) * (i + 0.5) / num_spans
        return _inside(middle - length / 2, length, duration)
    share = i / num_spans if num_spans > 1 else 0.5
    return _inside(share * (duration - length), length, duration)


def misaligned_span(
    start: float,
    length: float,
    duration: float,
    gap: float,
    uniform: Callable[[float, float], float] = np.random.uniform,
) -> tuple[float, float] | None:
    """(start, end) of a random span of a file that starts at least ``gap`` seconds before or after
    ``start`` (it may overlap); None if the file is too short for one.

    The hard negatives of audiovisual synchronisation (paper, section 3.5).

    Args:
        uniform: draws a number between two.
    """
    last = duration - length
    before = min(start - gap, last)  # starts are in [0, before] or in [after, last]
    after = max(start + gap, 0.0)
    room_before, room_after = max(before, 0.0), max(last - after, 0.0)
    if before < 0 and last < after:
        return None
    drawn = uniform(0, room_before + room_after)
    start = drawn if before >= 0 and drawn <= room_before else after + drawn - room_before
    return start, start + length


def _inside(start: float, length: float, duration: float) -> tuple[float, float]:
    start = max(min(start, duration - length), 0.0)
    return start, start + length
