"""An open media file: its streams, its clock, its packets and what they decode to."""

import functools
import itertools
import math
import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from fractions import Fraction
from typing import Any, Literal

import av

from ...structures import AVSFError
from .clock import Clock, FrameTimes
from .facts import TRUNCATION_TOLERANCE, find_facts, find_video_end
from .formats import open_input, printable
from .packet_times import PacketTimes, packet_time

Kind = Literal["video", "audio"]
Packets = Iterator[av.Packet]
Select = Callable[[Packets], Packets]
# pts, then an av.VideoFrame or av.AudioFrame, or a VideoDecodeError of what cannot be decoded.
DecodedItem = tuple[int, Any]

# Formats whose declared duration counts from the container's 0, not from the file's first packet.
_DURATION_IS_END = ("matroska,webm", "nut", "asf", "asf_o")
# Formats whose duration of the video stream is that of another stream, or a guess.
_DURATION_IS_GUESSED = ("asf", "asf_o", "flv")
_NO_TIMESTAMPS: Any = av.format.Flags.no_timestamps.value


class VideoDecodeError(AVSFError):
    """A file, or the requested part of it, cannot be decoded.

    The message names the file, the stream and the reason; ``__cause__`` is libav's own error.
    """


class MediaFile(AbstractContextManager["MediaFile"]):
    """An open file with one video stream and at most one audio stream that are used.

    Among several streams, the default one with the most pixels (or channels) is used, as in ffmpeg.

    Attributes:
        container: PyAV's container; like ``video`` and ``audio``, replaced by ``reopen``.
        video: PyAV's video stream.
        audio: PyAV's audio stream; None if there is none, or only declared ones without packets.
        first_frame: facts about the first frame.
        fps: average frames per second.
        clock: relates seconds, pts of the video stream and the container's clock.
        zero: second 0 on the container's clock, in seconds.
        times: gives packets their times.
        packet_ends: latest end of a packet that was read, in ticks, by stream index.
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
        self.packet_ends: dict[int, int] = {}
        self._is_open = False
        self.times = PacketTimes()
        self._empty_audio: frozenset[int] = frozenset()
        facts = find_facts(self)
        self.first_frame = facts.first_frame
        self.times.delay, self.times.timeline = facts.delay, facts.timeline
        if self.first_frame.empty_audio:
            self._empty_audio = self.first_frame.empty_audio
            self.reopen()
        rate = self.video.average_rate or self.video.guessed_rate or Fraction(25)
        self.fps = float(rate)
        start: Any = self.container.start_time
        if facts.timeline is not None and facts.timeline.num_parts > 1:
            start = facts.timeline.start * self.time_base("video") * av.time_base
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
            self.container = open_input(self.path)
        except (av.error.FFmpegError, OSError, ValueError) as error:
            problem = getattr(error, "strerror", error)
            raise self.error("file", f"cannot be opened ({problem})") from error
        self._is_open = self.audio_decoder_is_new = True
        # ffmpeg's choice of streams; an attached picture is the cover of an album.
        flags, streams = av.stream.Disposition, self.container.streams
        videos = [s for s in streams.video if s.codec_context]
        videos = [s for s in videos if not s.disposition & flags.attached_pic]
        audios = [s for s in streams.audio if s.codec_context and s.index not in self._empty_audio]
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
        self.times.start(self.container.format.name, self.video, self.audio)

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
        ends = self.packet_ends
        try:
            for packet in self.container.demux():
                if packet.size:
                    problem = self.times.mend(packet)
                    if problem is not None:
                        raise self.error(kind, problem, packet_time(packet))
                time = packet_time(packet)
                if time is not None:
                    index, end = packet.stream_index, time + (packet.duration or 0)
                    ends[index] = max(end, ends.get(index, end))
                yield packet
        except av.error.FFmpegError as error:
            raise self.error(kind, f"cannot be read on ({error.strerror})") from error

    def seek(self, kind: Kind, pts: int) -> bool:
        """Seek to an I-frame near a time; return False where the format cannot seek."""
        stream, position = self.stream(kind), 0
        try:
            if self.times.timeline is not None and self.times.seeks_by_position:
                position = self.times.timeline.position_of(stream.index, pts)
                self.container.seek(position, unsupported_byte_offset=True)
            elif int(self.container.format.flags) & _NO_TIMESTAMPS:
                return False  # a raw stream, whose frames are counted from its start
            else:
                self.container.seek(pts, stream=stream)
        except av.error.FFmpegError:
            return False
        self.times.move_to(position)
        return True

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
        times: FrameTimes | None = None
        for packet in select(packets) if select else packets:
            if packet.stream.index != stream.index:  # holds for the flush packet too
                continue
            started = started or packet.is_keyframe
            if not started:
                continue
            known = packet_time(packet)
            time = time if known is None else known  # a flush packet has no time
            if times is None:
                times = FrameTimes(None if after_seek else time + (self.times.delay or 0))
            try:
                frames = packet.decode()
            except av.error.FFmpegError as error:
                damage = self.error(kind, f"cannot be decoded ({error.strerror})", time)
                damage.__cause__ = error
                yield time, damage
                continue
            for frame in frames:
                pts = times.time_of(frame, self._length_of(frame))
                if pts is not None:
                    damaged = frame.is_corrupt
                    yield pts, self.error(kind, "is damaged", pts) if damaged else frame

    def _length_of(self, frame: av.VideoFrame | av.AudioFrame) -> int:
        """Return the usual length of a frame, in ticks of its stream."""
        if isinstance(frame, av.AudioFrame):
            return round(frame.samples / (frame.sample_rate * self.time_base("audio")))
        return self.frame_period

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

    @property
    def frame_period(self) -> int:
        """Average time between frames, in ticks of the video stream."""
        rate = self.video.guessed_rate or self.video.average_rate or 25
        return max(1, round(1 / (rate * self.time_base("video"))))

    @property
    def declared_end(self) -> Fraction | None:
        """End of the longest stream as declared, in seconds of the container's clock."""
        if self.times.timeline is not None:
            return self.times.timeline.end * self.time_base("video")
        start, duration = self.container.start_time or 0, self.container.duration
        if self.container.format.name in _DURATION_IS_END and start > 0:
            start = 0
        return None if duration is None else Fraction(start + duration, av.time_base)

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
            end = find_video_end(self)
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

    @property
    def end_reached(self) -> Fraction:
        """Latest end of a packet that was read, in seconds of the container's clock."""
        streams = self.container.streams
        ends = [Fraction(streams[i].time_base or 0) * end for i, end in self.packet_ends.items()]
        return max([Fraction(0), *ends])

    def error(
        self, kind: Literal["video", "audio", "file"], problem: str, pts: int | None = None
    ) -> VideoDecodeError:
        """Return an error that names the file, the stream and, given a pts, the time."""
        time = ""
        if pts is not None and kind != "file":
            time = f" at {float(pts * self.time_base(kind)):.3f} s"
        return VideoDecodeError(f"{printable(self.path)}: {kind}{time}: {problem}")
