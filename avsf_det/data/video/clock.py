"""Seconds and presentation times of frames."""

from collections.abc import Callable
from fractions import Fraction
from typing import Any

import av

# Slack for seconds that a caller computed in floating point.
_TOLERANCE_SEC = Fraction(1, 10**6)


class Clock:
    """Relation between seconds, pts of the video stream and the container's clock.

    One clock serves frames and audio. Second 0 is the start of the earliest stream, moved onto the
    grid of the frames. For example, a file of 25 frames per second starts with audio at 1.20 s, and
    its first frame (#0) follows at 1.49 s::

        container's clock    1.20 1.21      1.25     ...     1.49      1.53     = pts * tick
        audio packets         |--------------|--------------|--------------|----
        frames                                                |#0       |#1
        pts (1 / 90000 s)                                     134100    137700
        seconds                   0.00      0.04     ...     0.28      0.32     = clock - zero
                                  ^
                                  zero = 1.49 - 7 * 0.04 = 1.21: whole frame periods before #0

    Attributes:
        zero: second 0 on the container's clock, in seconds.

    Args:
        first_pts: pts of the first frame.
        tick: time base of the video stream, in seconds.
        frame_rate: frames per second.
        container_start: start of the earliest stream on that clock, in seconds; None if unknown.
    """

    def __init__(
        self, first_pts: int, tick: Fraction, frame_rate: Fraction, container_start: Fraction | None
    ) -> None:
        self._first_pts = first_pts
        self.zero = first_pts * tick
        if container_start is not None:
            # A gap of less than a frame period comes from the priming samples of an audio codec or
            # the rounding of a millisecond clock, and is ignored.
            frames_late = (self.zero - container_start) * frame_rate
            self.zero -= (round(frames_late) if frames_late >= 1 else 0) / frame_rate
        # A millisecond clock rounds frame times by up to half a tick; coarser ticks are frames.
        tolerance = tick / 2 if tick <= Fraction(1, 1000) else _TOLERANCE_SEC
        # At second s, pts <= (s + a / b) * c / d for these (a, b, c, d), exactly. Integers, since
        # computing with fractions took longer than scaling a frame.
        self._ratios = (*(tolerance + self.zero).as_integer_ratio(), *(1 / tick).as_integer_ratio())

    def pts_played_at(self, second: float) -> int:
        """Return the latest pts that is reached at a second, not before that of the first frame."""
        a, b, c, d = self._ratios
        n, m = second.as_integer_ratio()
        return max((n * b + a * m) * c // (m * b * d), self._first_pts)


class FrameTimes:
    """Presentation times of frames in the order of a decoder's output, in ticks.

    A frame without pts is shown at the dts of the packet that made the decoder release it: both
    ascend together. Without that too (the last frames in the decoder, raw streams), it follows the
    frame before it.

    Attributes:
        contradicted: whether the first stated time lies before those counted up to it.

    Args:
        first: time of the first frame if nothing states it; None if unknown, then frames have no
            time before the first that states one.
        length_of: returns the usual length of a frame, in ticks.
    """

    def __init__(self, first: int | None, length_of: Callable[[Any], int]) -> None:
        self.contradicted = False
        self._first = first
        self._length_of = length_of
        self._last: tuple[int, Any] | None = None  # time and frame
        self._is_counting = True  # nothing has been stated

    def time_of(self, frame: av.VideoFrame | av.AudioFrame) -> int | None:
        """Return the time of the next frame, and set its pts to it."""
        time = frame.pts
        if time is None:
            time = frame.dts
            if time is None:
                time = self._following()
                if time is None:
                    return None
                self._last = time, frame
                frame.pts = time
                return time
            frame.pts = time
        if self._is_counting:
            self._is_counting = False
            if self._last is not None:
                self.contradicted = time < self._last[0]
        self._last = time, frame
        return time

    def _following(self) -> int | None:
        if self._last is None:
            return self._first
        time, frame = self._last
        return time + self._length_of(frame)
