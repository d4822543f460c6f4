"""The clock of a video: where seconds, pts and the container's clock meet.

One clock serves frames and audio. Its seconds count from ``zero``, a time on the container's clock.
For example, a file of 25 frames per second starts with audio at 1.20 s, and its first frame (#0)
follows at 1.49 s::

    container's clock    1.20 1.21      1.25     ...     1.49      1.53     = pts * time_base
    audio packets         |--------------|--------------|--------------|----
    frames                                                |#0       |#1
    pts (1 / 90000 s)                                     134100    137700
    seconds                   0.00      0.04     ...     0.28      0.32     = clock - zero
                              ^
                              zero = 1.49 - 7 * 0.04 = 1.21: whole frame periods before #0
"""

from fractions import Fraction

# Slack for seconds that a caller computed in floating point.
_TOLERANCE_SEC = Fraction(1, 10**6)


class Clock:
    """Relation between seconds, pts of the video stream and the container's clock.

    Attributes:
        zero: second 0 on the container's clock, in seconds.
    """

    def __init__(
        self,
        *,
        first_pts: int,
        tick: Fraction,
        frame_rate: Fraction,
        container_start: Fraction | None,
    ) -> None:
        """Place second 0 at the start of the earliest stream, on the grid of the frames.

        A gap of less than one frame period before the first frame is ignored: the priming samples
        of an audio codec or the rounding of a millisecond clock cause it.

        Args:
            first_pts: pts of the first frame.
            tick: time base of the video stream, in seconds.
            frame_rate: frames per second.
            container_start: start of the earliest stream on the container's clock, in seconds; None
                if unknown.
        """
        self._first_pts = first_pts
        self.zero = first_pts * tick
        if container_start is not None:
            frames_late = (self.zero - container_start) * frame_rate
            self.zero -= (round(frames_late) if frames_late >= 1 else 0) / frame_rate
        # A millisecond clock rounds frame times by up to half a tick; coarser ticks are frames.
        tolerance = tick / 2 if tick <= Fraction(1, 1000) else _TOLERANCE_SEC
        # At second s, pts <= (s + a / b) * c / d for these (a, b, c, d), exactly. Integers, since
        # computing with fractions took longer than scaling a frame.
        shift, ticks = tolerance + self.zero, 1 / tick
        self._ratios = (*shift.as_integer_ratio(), *ticks.as_integer_ratio())

    def pts_played_at(self, second: float) -> int:
        """Return the latest pts that is reached at a second, not before that of the first frame."""
        a, b, c, d = self._ratios
        n, m = second.as_integer_ratio()
        return max((n * b + a * m) * c // (m * b * d), self._first_pts)
