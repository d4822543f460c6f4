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
from .clock import Clock, FrameTimes, Timeline

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
# Formats that state when packets are decoded, not when frames are shown; so does Matroska for
# streams of AVI (those with a codec tag).
_DECODING_TIMES = ("avi", "asf", "asf_o")
# Formats whose declared duration counts from the container's 0, not from the file's first packet.
_DURATION_IS_END = ("matroska,webm", "nut", "asf", "asf_o")
# Formats of one tick whose clock may start again or jump: their packets are listed first.
_SCANNED = ("mpegts", "mpeg")
# Formats whose duration of the video stream is that of another stream, or a guess.
_DURATION_IS_GUESSED = ("asf", "asf_o", "flv")
# Packets that tell whether frames wait in the decoder; the first frame needs no more.
_FIRST_PACKETS = 16
# Frames that tell whether pts ascend, where each packet's pts is its dts in spite of B-frames.
_TRIED_FRAMES = 32


class VideoDecodeError(AVSFError):
    """A file, or the requested part of it, cannot be decoded.

    The message names the file, the stream and the reason; ``__cause__`` is libav's own error.
    """


class FirstFrame(NamedTuple):
    """Facts that only a decoded frame tells; streams do not state them reliably."""

    pts: int  # in ticks of the video stream
    width: int  # as shown, in pixels
    height: int
    quarter_turns: int  # counter-clockwise rotations by 90 degrees that show it upright, 0..3
    interlaced: bool  # it consists of two fields


class _Facts(NamedTuple):
    """What is found out once for a file."""

    first_frame: FirstFrame
    delay: int | None  # ticks that frames wait in the decoder, where pts are unusable; else None
    timeline: Timeline | None  # of a file whose clock may jump


# Facts by path and time of modification. Decoding a first frame takes a tenth of the time of a
# clip, and a long video is opened for each of its clips.
_FACTS: dict[tuple[str, int], _Facts] = {}
_MAX_FACTS = 4096


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
        self._delay: int | None = None
        self._timeline: Timeline | None = None
        self._is_open = False
        self.first_frame, self._delay, self._timeline = self._find_facts()
        rate = self.video.average_rate or self.video.guessed_rate
        assert rate is not None
        self.fps = float(rate)
        start = self.container.start_time
        if self._timeline and self._timeline.num_parts > 1:
            start = self._timeline.start * self.time_base("video") * av.time_base
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
        name, tag = self.container.format.name, self.video.codec_context.codec_tag
        self._states_decoding_times = name in _DECODING_TIMES or (
            name.startswith("matroska") and bool(tag.strip("\0"))
        )
        self._first_packets: list[tuple[Any, Any]] = []  # pts and dts of the video's
        self._forget_position(0)
        self._ticks_per_sec = {
            s.index: math.ceil(1 / s.time_base) for s in (self.video, self.audio) if s and s.time_base
        }

    def _forget_position(self, position: int) -> None:
        """Forget the packets read so far; the next lie at or after a position in the file."""
        self._position = position  # in bytes
        self._positions: dict[int, int] = {}  # stream index -> that of its latest packet
        self._latest_dts: dict[int, int] = {}  # stream index -> dts of its latest packet
        # Number of the next video packet, where these are counted; None before an I-frame.
        self._number = None if position else 0

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
            for packet in self.container.demux():
                if packet.size:
                    self._mend_times(kind, packet)
                time = packet_time(packet)
                if time is not None:
                    index, end = packet.stream_index, time + (packet.duration or 0)
                    ends[index] = max(end, ends.get(index, end))
                yield packet
        except av.error.FFmpegError as error:
            raise self.error(kind, f"cannot be read on ({error.strerror})") from error

    def _mend_times(self, kind: Kind, packet: av.Packet) -> None:
        """Give a packet its times on a continuous clock, in display order as frames expect."""
        index = packet.stream_index
        is_video = index == self.video.index
        if is_video and len(self._first_packets) < _FIRST_PACKETS:
            self._first_packets.append((packet.pts, packet.dts))
        if self._timeline is not None:
            self._mend_by_timeline(self._timeline, packet)
        elif packet.dts is not None and index in self._ticks_per_sec:
            latest = self._latest_dts.get(index, packet.dts)
            if packet.dts < latest - self._ticks_per_sec[index]:
                back = Fraction(latest - packet.dts, self._ticks_per_sec[index])
                problem = f"the clock goes back by {float(back):.2f} s; convert the file"
                raise self.error(kind, problem, latest)
            self._latest_dts[index] = packet.dts
        if is_video and self._delay is not None:
            # Without pts, a frame is shown at the dts of the packet that releases it.
            time = packet.dts if self._states_decoding_times else packet.pts
            packet.dts = None if time is None else time - self._delay
            packet.pts = None if self.video.codec_context.has_b_frames else packet.dts

    def _mend_by_timeline(self, timeline: Timeline, packet: av.Packet) -> None:
        """Give a packet its times on the continuous clock of a file."""
        index = packet.stream_index
        if timeline.counts and index == self.video.index:
            if self._number is None and packet.is_keyframe:
                self._number = timeline.first_keyframe(self._position)
            if self._number is None:
                packet.pts = packet.dts = None
            else:
                packet.pts, packet.dts = timeline.times_of(self._number)
                self._number += 1
        elif timeline.num_parts > 1:
            position = packet.pos
            if position is None:  # that of the packet before it
                position = self._positions.get(index, self._position)
            self._positions[index] = position
            offset = timeline.offset_at(position)
            packet.pts = None if packet.pts is None else packet.pts + offset
            packet.dts = None if packet.dts is None else packet.dts + offset

    def seek(self, kind: Kind, pts: int) -> bool:
        """Seek to an I-frame near a time; return False where the format cannot seek."""
        stream, position = self.stream(kind), 0
        try:
            if self._timeline and (self._timeline.num_parts > 1 or self._timeline.counts):
                position = self._timeline.position_of(stream.index, pts)
                self.container.seek(position, unsupported_byte_offset=True)
            elif self.container.format.flags & av.format.Flags.no_timestamps.value:
                return False  # a raw stream, whose frames are counted from its start
            else:
                self.container.seek(pts, stream=stream)
        except av.error.FFmpegError:
            return False
        self._forget_position(position)
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
                times = FrameTimes(None if after_seek else time + (self._delay or 0))
            try:
                frames = packet.decode()
            except av.error.FFmpegError as error:
                damage = self.error(kind, f"cannot be decoded ({error.strerror})", time)
                damage.__cause__ = error
                yield time, damage
                continue
            for frame in frames:
                pts = times.time_of(frame, self._ticks_of(frame))
                if pts is not None:
                    damaged = frame.is_corrupt
                    yield pts, self.error(kind, "is damaged", pts) if damaged else frame

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

    def _ticks_of(self, frame: av.VideoFrame | av.AudioFrame) -> int:
        """Return the usual length of a frame, in ticks of its stream."""
        if isinstance(frame, av.AudioFrame):
            return round(frame.samples / (frame.sample_rate * self.time_base("audio")))
        return self._frame_period()

    def _frame_period(self) -> int:
        """Return the average time between frames, in ticks of the video stream."""
        rate = self.video.guessed_rate or self.video.average_rate or 25
        return max(1, round(1 / (rate * self.time_base("video"))))

    def _find_facts(self) -> _Facts:
        key = (self.path, os.stat(self.path).st_mtime_ns) if os.path.isfile(self.path) else None
        if key in _FACTS:
            self.reopen()
            return _FACTS[key]
        self.reopen()
        if key and self.container.format.name in _SCANNED:
            streams = [stream for stream in (self.video, self.audio) if stream]
            tick, period = self.time_base("video"), self._frame_period()
            try:
                packets = self.container.demux(streams)
                self._timeline = Timeline(packets, self.video.index, tick, period)
            except av.error.FFmpegError as error:
                raise self.error("file", f"cannot be read on ({error.strerror})") from error
        pts, frame = self.decode_first("video")
        self._delay = self._find_delay()
        if self._delay is not None:
            pts, frame = self.decode_first("video")
        turns = round(frame.rotation / 90) % 4
        size = (frame.height, frame.width) if turns % 2 else (frame.width, frame.height)
        first = FirstFrame(pts, *size, turns, bool(frame.interlaced_frame))
        if len(_FACTS) >= _MAX_FACTS:
            _FACTS.clear()
        facts = _Facts(first, self._delay, self._timeline)
        if key:
            _FACTS[key] = facts
        return facts

    def _find_delay(self) -> int | None:
        """Return the ticks that frames wait in the decoder, if pts are unusable; else None.

        Some containers hold no pts, or one that is the dts in spite of B-frames. What libav makes
        of them is not in display order.
        """
        if not self._states_decoding_times and self._pts_ascend():
            return None
        self._delay = 0
        self.reopen()
        start = None
        for packet in self.packets("video"):
            if packet.stream_index != self.video.index:
                continue
            start = packet.dts if start is None else start
            try:
                frames = packet.decode()
            except av.error.FFmpegError:
                continue
            if frames:
                release = frames[0].dts
                return 0 if start is None or release is None else release - start
        return 0

    def _pts_ascend(self) -> bool:
        """Return whether the first frames have ascending pts; called after the first one."""
        # With B-frames, the first packet waits to be shown, and pts do not ascend in the file.
        coded = [pts for pts, _ in self._first_packets if pts is not None]
        suspect = self.video.codec_context.has_b_frames and (
            self._first_packets[0][1] in coded[:1]
            or (self.container.format.name.startswith("matroska") and coded == sorted(coded))
        )
        if not suspect:
            return True
        self.reopen()
        shown = [pts for pts, _ in itertools.islice(self.decode("video"), _TRIED_FRAMES)]
        return shown == sorted(shown)

    @property
    def declared_end(self) -> Fraction | None:
        """End of the longest stream as declared, in seconds of the container's clock."""
        if self._timeline is not None:
            return self._timeline.end * self.time_base("video")
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
        if self._timeline is not None:
            end = self._timeline.video_end
        elif self.video.duration and self.container.format.name not in _DURATION_IS_GUESSED:
            end = (self.video.start_time or 0) + self.video.duration
        else:
            end = self._find_video_end()
        return float(end * self.time_base("video") - self.zero)

    def _find_video_end(self) -> int:
        """Return the end of the last video packet, in ticks."""
        end, period = None, self._frame_period()
        declared = self.declared_end
        last = 0 if declared is None else math.ceil(declared / self.time_base("video"))
        for from_start in (not last or not self.seek("video", last), True):
            if from_start:
                self.reopen()
            for packet in self.packets("video"):
                if packet.stream_index == self.video.index and packet.size:
                    time = packet_time(packet)
                    if time is None:  # a raw stream
                        time = self.first_frame.pts if end is None else end
                    time += packet.duration or period
                    end = time if end is None else max(end, time)
            if end is not None:
                break
        if declared is not None and declared - self._end_reached() > _TRUNCATION_TOLERANCE:
            return last  # what is missing may hold frames
        return self.first_frame.pts + period if end is None else end + (self._delay or 0)

    def check_not_truncated(self, second: Fraction) -> None:
        """Raise VideoDecodeError if the file stops long before its declared end and a time.

        Args:
            second: time on the container's clock, in seconds, at which no more packet was found.
        """
        end, reached = self.declared_end, self._end_reached()
        if self._timeline is None and end is not None and second > reached and end - reached > _TRUNCATION_TOLERANCE:
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
