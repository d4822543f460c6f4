"""An open media file: its streams, its clock, its packets and what they decode to."""

import functools
import itertools
import math
import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from fractions import Fraction
from typing import Any, Literal, NamedTuple

import av

from ...structures import AVSFError
from .demux import demux

Kind = Literal["video", "audio"]
Packets = Iterator[av.Packet]
Select = Callable[[Packets], Packets]
# pts, then an av.VideoFrame or av.AudioFrame, or a VideoDecodeError of what cannot be decoded.
DecodedItem = tuple[int, Any]

# PyAV before 19 refuses files whose metadata are not UTF-8 unless it is told otherwise; PyAV 19 has
# no such option.
_OPTIONS: dict = {"metadata_errors": "replace"} if int(av.__version__.split(".")[0]) < 19 else {}
# A file whose data end more seconds than this before its declared end is truncated.
_TRUNCATION_TOLERANCE = Fraction(1, 2)
# Slack for seconds that a caller computed in floating point.
_TOLERANCE_SEC = Fraction(1, 10**6)


class VideoDecodeError(AVSFError):
    """A file, or the requested part of it, cannot be decoded.

    The message names the file, the stream and the reason; ``__cause__`` is libav's own error.
    """


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


class FirstFrame(NamedTuple):
    """Facts that only a decoded frame tells; streams do not state them reliably."""

    pts: int  # in ticks of the video stream
    width: int  # as shown, in pixels
    height: int
    quarter_turns: int  # counter-clockwise rotations by 90 degrees that show it upright, 0..3
    interlaced: bool  # it consists of two fields


# First frames by path and time of modification. Decoding one takes a tenth of the time of a clip,
# and a long video is opened for each of its clips.
_FIRST_FRAMES: dict[tuple[str, int], FirstFrame] = {}
_MAX_FIRST_FRAMES = 4096


class MediaFile(AbstractContextManager["MediaFile"]):
    """An open file with one video stream and at most one audio stream that are used.

    Among several streams, the default one with the most pixels (or channels) is used, as in ffmpeg.

    Attributes:
        container: PyAV's container; like ``video`` and ``audio``, replaced by ``reopen``.
        video: PyAV's video stream.
        audio: PyAV's audio stream, or None.
        first_frame: facts about the first frame.
        fps: average frames per second.
        clock: relates seconds, pts of the video stream and the container's clock.
        zero: second 0 on the container's clock, in seconds.
        audio_decoder_is_new: whether the audio decoder has decoded nothing since it was opened.

    Args:
        path: path of the file.
        threads: number of decoding threads; 1 is best where several workers read.

    Raises:
        VideoDecodeError: there is no such file, it is no video, or no frame can be decoded.
    """

    container: av.container.InputContainer
    audio: av.AudioStream | None

    def __init__(self, path: str | os.PathLike, *, threads: int = 1) -> None:
        self.path = str(path)
        self.threads = threads
        self._packet_ends: dict[int, int] = {}  # stream index -> latest end of a packet, in ticks
        self._is_open = False
        self.first_frame = self._look_at_first_frame()
        rate = self.video.average_rate or self.video.guessed_rate
        assert rate is not None
        self.fps = float(rate)
        start = self.container.start_time
        self.clock = Clock(
            first_pts=self.first_frame.pts,
            tick=self.time_base("video"),
            frame_rate=Fraction(self.video.guessed_rate or rate),
            container_start=None if start is None else Fraction(start, av.time_base),
        )
        self.zero = self.clock.zero

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file; nothing can be read afterwards."""
        self.container.close()

    def reopen(self) -> None:
        """Open the file again at its start, with new decoders."""
        if self._is_open:
            self.container.close()
        try:
            self.container = av.open(self.path, **_OPTIONS)
        except av.error.FFmpegError as error:
            raise self.error("file", f"cannot be opened ({error.strerror})") from error
        self._is_open = self.audio_decoder_is_new = True
        # ffmpeg's choice of streams; an attached picture is the cover of an album.
        flags, streams = av.stream.Disposition, self.container.streams
        videos = [s for s in streams.video if s.codec_context]
        videos = [s for s in videos if not s.disposition & flags.attached_pic]
        audios = [s for s in streams.audio if s.codec_context]
        if not videos:
            raise self.error("video", "the file has no video stream that can be decoded")
        self.video = max(
            videos, key=lambda s: (bool(s.disposition & flags.default), s.width * s.height)
        )
        self.audio = max(
            audios, key=lambda s: (bool(s.disposition & flags.default), s.channels), default=None
        )
        self.video.codec_context.thread_type = "AUTO"
        self.video.codec_context.thread_count = self.threads

    def stream(self, kind: Kind) -> av.VideoStream | av.AudioStream:
        """Return the stream of a kind; the file must have one."""
        stream = self.video if kind == "video" else self.audio
        assert stream is not None
        return stream

    def time_base(self, kind: Kind) -> Fraction:
        """Return the duration of a tick of a stream, in seconds."""
        time_base = self.stream(kind).time_base
        assert time_base is not None
        return time_base

    def packets(self, kind: Kind) -> Packets:
        """Yield all packets from the current position on; an error message blames ``kind``."""
        ends = self._packet_ends
        try:
            for packet in demux(self.container):
                if packet.dts is not None:
                    time = packet.dts if packet.pts is None else packet.pts
                    index, end = packet.stream_index, time + (packet.duration or 0)
                    ends[index] = max(end, ends.get(index, end))
                yield packet
        except av.error.FFmpegError as error:
            raise self.error(kind, f"cannot be read on ({error.strerror})") from error

    def seek(self, kind: Kind, pts: int) -> bool:
        """Seek to an I-frame near a time; return False where the format cannot seek."""
        try:
            self.container.seek(pts, stream=self.stream(kind))
            return True
        except av.error.FFmpegError:
            return False

    def decode(
        self, kind: Kind, *, after_seek: bool = False, select: Select | None = None
    ) -> Iterator[DecodedItem]:
        """Decode a stream from the current position on, as (pts, frame) or (pts, error).

        Args:
            kind: stream to decode.
            after_seek: whether the decoder must wait for an I-frame.
            select: given the packets of all streams, yields those to decode.
        """
        stream, packets = self.stream(kind), self.packets(kind)
        if kind == "video":
            self.video.codec_context.skip_frame = "DEFAULT"
        else:
            self.audio_decoder_is_new = False
        # Without an I-frame first, some decoders invent frames.
        started, time = not after_seek, 0
        for packet in select(packets) if select else packets:
            if packet.stream.index != stream.index:  # holds for the flush packet too
                continue
            started = started or packet.is_keyframe
            if not started:
                continue
            known = packet_time(packet)
            time = time if known is None else known  # a flush packet has no time
            try:
                frames = packet.decode()
            except av.error.FFmpegError as error:
                damage = self.error(kind, f"cannot be decoded ({error.strerror})", time)
                damage.__cause__ = error
                yield time, damage
                continue
            for frame in frames:
                if frame.pts is None:
                    raise self.error(kind, "has no presentation times")
                damaged = frame.is_corrupt
                yield frame.pts, self.error(kind, "is damaged", frame.pts) if damaged else frame

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

    def decode_first(self, kind: Kind) -> DecodedItem:
        """Reopen the file and return (pts, frame) of the first frame that decodes."""
        self.reopen()
        error = None
        for pts, frame in self.decode(kind):
            if not isinstance(frame, VideoDecodeError):
                return pts, frame
            error = frame
        raise self.error(kind, "not one frame can be decoded") from error

    def _look_at_first_frame(self) -> FirstFrame:
        known = (self.path, os.stat(self.path).st_mtime_ns) if os.path.isfile(self.path) else None
        if known in _FIRST_FRAMES:
            self.reopen()
            return _FIRST_FRAMES[known]
        pts, frame = self.decode_first("video")
        turns = round(frame.rotation / 90) % 4
        size = (frame.height, frame.width) if turns % 2 else (frame.width, frame.height)
        first = FirstFrame(pts, *size, turns, bool(frame.interlaced_frame))
        if len(_FIRST_FRAMES) >= _MAX_FIRST_FRAMES:
            _FIRST_FRAMES.clear()
        if known:
            _FIRST_FRAMES[known] = first
        return first

    @property
    def declared_end(self) -> Fraction | None:
        """End of the longest stream as declared, in seconds of the container's clock."""
        start, duration = self.container.start_time or 0, self.container.duration
        return None if duration is None else Fraction(start + duration, av.time_base)

    @functools.cached_property
    def duration(self) -> float:
        """Second at which the video ends, as declared.

        A live recording declares no end: it is read on to its end, which moves the position.
        """
        end = self.declared_end
        if self.video.duration is not None:
            last = (self.video.start_time or 0) + self.video.duration
            end = last * self.time_base("video")
        if end is None:
            for _ in self.packets("video"):
                pass
            end = self._end_reached()
        return float(end - self.zero)

    def check_not_truncated(self, second: Fraction) -> None:
        """Raise VideoDecodeError if the file stops long before its declared end and a time.

        Args:
            second: time on the container's clock, in seconds, at which no more packet was found.
        """
        end, reached = self.declared_end, self._end_reached()
        if end is not None and second > reached and end - reached > _TRUNCATION_TOLERANCE:
            stop, last, asked = (float(time - self.zero) for time in (reached, end, second))
            problem = f"stops at {stop:.2f} s but should last {last:.2f} s, and {asked:.2f} s was "
            raise self.error("file", problem + "asked for")

    def _end_reached(self) -> Fraction:
        """Return the latest end of a packet that was read, in seconds of the container's clock."""
        streams = self.container.streams
        ends = [Fraction(streams[i].time_base or 0) * end for i, end in self._packet_ends.items()]
        return max([Fraction(0), *ends])

    def error(
        self, kind: Literal["video", "audio", "file"], problem: str, pts: int | None = None
    ) -> VideoDecodeError:
        """Return an error that names the file, the stream and, given a pts, the time."""
        time = ""
        if pts is not None and kind != "file":
            time = f" at {float(pts * self.time_base(kind)):.3f} s"
        return VideoDecodeError(f"{self.path}: {kind}{time}: {problem}")


def packet_time(packet: av.Packet) -> int | None:
    """Return the pts of a packet, or the dts where the container stores no pts (AVI)."""
    return packet.dts if packet.pts is None else packet.pts
