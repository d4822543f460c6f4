"""A video file: what a stream decodes to by time, on one clock for frames and audio."""

import functools
import itertools
import math
import os
from collections.abc import Iterator
from contextlib import AbstractContextManager
from fractions import Fraction
from typing import Any

import av

from .clock import Clock
from .facts import TRUNCATION_TOLERANCE, find_facts, find_video_end
from .open_file import DecodedItem, Kind, OpenFile, Select

# Formats whose duration of the video stream is that of another stream, or a guess.
_DURATION_IS_GUESSED = ("asf", "asf_o", "flv")


class MediaFile(OpenFile, AbstractContextManager["MediaFile"]):
    """An open video file that decodes by time.

    Attributes:
        first_frame: facts about the first frame.
        fps: average frames per second.
        clock: relates seconds, pts of the video stream and the container's clock.
        zero: second 0 on the container's clock, in seconds.

    Args:
        path: path of the file.
        threads: number of decoding threads; 1 is best where several workers read.

    Raises:
        VideoDecodeError: there is no such file, it is no video, or no frame can be decoded.
    """

    def __init__(self, path: str | os.PathLike, *, threads: int = 1) -> None:
        super().__init__(path, threads)
        facts = find_facts(self)
        self.first_frame = facts.first_frame
        self.times.delay, self.times.timeline = facts.delay, facts.timeline
        if self.first_frame.empty_streams:
            self.empty_streams = self.first_frame.empty_streams
            self.reopen()
        guess = self.video.guessed_rate or self.video.average_rate or Fraction(25)
        rate = self.video.average_rate or guess
        rate = guess if rate > 2 * guess else rate  # that of DV counts ticks
        self.fps = float(rate)
        start: Any = self.container.start_time
        if facts.timeline is not None and facts.timeline.num_parts > 1:
            start = facts.timeline.start * self.time_base("video") * av.time_base
        self.clock = Clock(
            first_pts=self.first_frame.pts,
            tick=self.time_base("video"),
            frame_rate=Fraction(guess),
            container_start=None if start is None else Fraction(start, av.time_base),
        )
        self.zero = self.clock.zero

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def decode_from(
        self, kind: Kind, pts: int, select: Select | None = None
    ) -> Iterator[DecodedItem]:
        """Decode a stream from a time on.

        The first frame lies at or before ``pts``, unless the file starts later. Seeking lands too
        late where an index is missing or counts in decoding order, and the first frames after an
        I-frame may depend on frames before it (open GOP). Seeking is then repeated further and
        further back, and finally the file is read from its start, without ``select``.
        """
        start = self.audio.start_time if kind == "audio" and self.audio else self.first_frame.pts
        back = 0  # ticks: 0, one second, two, four, ...
        while start is not None and pts - back > start:
            if not self.seek(kind, pts - back):
                break
            decoded = self.decode(kind, after_seek=True, select=select)
            first = next(decoded, None)
            if first is not None and first[0] <= pts:
                return itertools.chain([first], decoded)
            back = 2 * back or math.ceil(1 / self.time_base(kind))
        self.reopen()
        return self.decode(kind)

    @functools.cached_property
    def duration(self) -> float:
        """Second at which the video ends.

        Where the container does not declare it, packets are read to the end of the file, which
        moves the position.
        """
        if self.times.timeline is not None:
            end = self.times.timeline.video_end
        elif self.video.duration and self.container.format.name not in _DURATION_IS_GUESSED:
            end = (self.video.start_time or 0) + self.video.duration
        else:
            end = find_video_end(self, self.first_frame.pts)
        return float(end * self.time_base("video") - self.zero)

    def check_not_truncated(self, second: Fraction) -> None:
        """Raise VideoDecodeError if the file stops long before its declared end and a time.

        Args:
            second: time on the container's clock, in seconds, at which no more packet was found.
        """
        end, reached = self.declared_end, self.end_reached
        if self.times.timeline is not None or end is None:
            return  # no end is declared
        if second > reached and end - reached > TRUNCATION_TOLERANCE:
            stop, last, asked = (float(time - self.zero) for time in (reached, end, second))
            problem = f"stops at {stop:.2f} s but should last {last:.2f} s, and {asked:.2f} s was "
            raise self.error("file", problem + "asked for")
