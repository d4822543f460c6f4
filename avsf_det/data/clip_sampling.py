"""Time spans of clips. All times are seconds of the file."""

from collections.abc import Callable

import numpy as np


def span_around(timestamp: float, length: float) -> tuple[float, float]:
    """Return (start, end) of the span of ``length`` seconds with the keyframe in its middle.

    It may reach beyond the file: readers repeat the first or last frame there and add silence.
    """
    return timestamp - length / 2, timestamp + length / 2


def frame_times(start: float, num_frames: int, stride: float, fps: float) -> list[float]:
    """Return the times of a clip's frames, ``stride / fps`` apart, the first at ``start``.

    In a span of ``num_frames * stride / fps`` seconds around a keyframe, frame ``num_frames / 2``
    is the keyframe, as in PySlowFast.
    """
    return [start + i * stride / fps for i in range(num_frames)]


def random_span(
    length: float, duration: float, segment: tuple[float, float] | None = None
) -> tuple[float, float]:
    """Return (start, end) of a random span of a file, uniform over all spans.

    With a segment, the middle of the span is uniform in the segment, and the span may exceed it
    (Wu et al. 2019, EPIC-Kitchens). If the file is too short, the span starts at 0.

    Args:
        length: length of the span in seconds.
        duration: duration of the file in seconds.
        segment: (start, end) in seconds, or None for the whole file.
    """
    if segment is None:
        start = np.random.uniform(0, max(duration - length, 0))
    else:
        start = np.random.uniform(*segment) - length / 2
    return _shift_inside(start, length, duration)


def ith_span(
    i: int,
    num_spans: int,
    length: float,
    duration: float,
    segment: tuple[float, float] | None = None,
) -> tuple[float, float]:
    """Return (start, end) of the i-th of ``num_spans`` evenly spaced spans.

    A single span is in the middle. Several spans of a file start at i / num_spans of the last
    possible start (as in PySlowFast, so the end is never reached). Several spans of a segment have
    their middles in equal parts of it.

    Args:
        i: index of the span, 0..num_spans - 1.
        num_spans: number of spans.
        length: length of each span in seconds.
        duration: duration of the file in seconds.
        segment: (start, end) in seconds, or None for the whole file.
    """
    if segment is not None:
        first, last = segment
        middle = first + (last - first) * (i + 0.5) / num_spans
        return _shift_inside(middle - length / 2, length, duration)
    fraction = i / num_spans if num_spans > 1 else 0.5
    return _shift_inside(fraction * (duration - length), length, duration)


def misaligned_span(
    start: float,
    length: float,
    duration: float,
    gap: float,
    uniform: Callable[[float, float], float] = np.random.uniform,
) -> tuple[float, float] | None:
    """Return (start, end) of a random span that starts ``gap`` or more before or after ``start``.

    It is the span of a hard negative of audiovisual synchronisation (paper, section 3.5) and may
    overlap with the clip.

    Args:
        start: start of the clip in seconds.
        length: length of the clip and of the span in seconds.
        duration: duration of the file in seconds.
        gap: smallest distance of the two starts in seconds.
        uniform: draws a number between two.

    Returns:
        None if the file is too short.
    """
    # Allowed starts on the time axis, s = start:
    #
    #   0 ======== s - gap      s      s + gap ======== duration - length
    #     before                                 after
    last = duration - length
    before = min(start - gap, last)
    after = max(start + gap, 0.0)
    room_before, room_after = max(before, 0.0), max(last - after, 0.0)
    if before < 0 and last < after:
        return None
    drawn = uniform(0, room_before + room_after)
    start = drawn if before >= 0 and drawn <= room_before else after + drawn - room_before
    return start, start + length


def _shift_inside(start: float, length: float, duration: float) -> tuple[float, float]:
    start = max(min(start, duration - length), 0.0)
    return start, start + length
