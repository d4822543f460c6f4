"""An open media file: its streams, its packets, and what they decode to."""

import math
import os
import stat
from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction
from typing import Any, Literal

import av

from ...structures import AVSFError
from ...structures.addresses import HTTP, TIMEOUT_SEC, is_address, local_path
from .formats import FORMATS, printable
from .times import FrameTimes, PacketTimes, as_fraction, packet_time

Kind = Literal["video", "audio"]
Packets = Iterator[av.Packet]
Select = Callable[[Packets], Packets]
# pts, then an av.VideoFrame or av.AudioFrame, or a VideoDecodeError of what cannot be decoded.
DecodedItem = tuple[int, Any]

# Formats whose declared duration counts from the container's 0, not from the file's first packet.
_DURATION_IS_END = ("matroska,webm", "nut", "asf", "asf_o")
_NO_TIMESTAMPS: Any = av.format.Flags.no_timestamps.value
# PyAV before 19 refuses files whose metadata are not UTF-8 unless it is told otherwise; PyAV 19 has
# no such option.
_METADATA: dict = {"metadata_errors": "replace"} if int(av.__version__.split(".")[0]) < 19 else {}
_KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a named pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


class VideoDecodeError(AVSFError):
    """A file, or the requested part of it, cannot be decoded.

    The message names the file, the stream and the reason.
    """


class OpenFile:
    """An open file with one video stream and at most one audio stream that are used.

    Among several streams, the default one with the most pixels (or channels) is used, as in ffmpeg.

    PyAV's ``container`` and the streams ``video`` and ``audio`` are replaced by ``reopen``; audio
    is None if there is none, or only declared ones without packets.
    """

    def __init__(self, path: str | os.PathLike, threads: int) -> None:
        self.path = str(path)
        self.threads = threads
        self.times = PacketTimes()
        # Latest end of a packet that was read, in ticks, by stream index.
        self.packet_ends: dict[int, int] = {}
        self.empty_streams: frozenset[int] = (
            frozenset()
        )  # declared without packets, as far as known
        self.sample_rate = 0  # of the start of the audio stream, in Hz; 0 without audio
        self.container: av.container.InputContainer | Any = None
        self.reopen()

    def close(self) -> None:
        """Close the file; nothing can be read afterwards."""
        self.container.close()

    def reopen(self) -> None:
        """Open the file again at its start, with new decoders."""
        if self.container is not None:
            self.container.close()
        try:
            self.container = open_input(self.path)
        except (av.error.FFmpegError, OSError, ValueError) as error:
            problem = getattr(error, "strerror", None) or error
            raise self.error("file", f"cannot be opened ({problem})") from error
        self.audio_decoder_is_new = True  # it has decoded nothing
        # ffmpeg's choice of streams; an attached picture is the cover of an album.
        flags, streams = av.stream.Disposition, self.container.streams

        def best(kind: Any, size: Callable[[Any], int]) -> Any:
            known = (s for s in kind if s.codec_context and s.index not in self.empty_streams)
            known = (s for s in known if not s.disposition & flags.attached_pic)
            return max(
                known, key=lambda s: (bool(s.disposition & flags.default), size(s)), default=None
            )

        self.video: av.VideoStream = best(streams.video, lambda s: s.width * s.height)
        self.audio: av.AudioStream | None = best(streams.audio, lambda s: s.channels)
        if not self.video:
            raise self.error("video", "the file has no video stream that can be decoded")
        # The decoder's own rate follows the frames, which may change on the way.
        self._audio_decoder = codec = self.audio.codec_context if self.audio else None
        # A new one takes a twentieth of the time of opening the file. It needs to know nothing but
        # the extradata. The profile may be another one after the first frame.
        self.renews_audio_decoder = codec and (codec.name, codec.profile) == ("aac", "LC")
        rate = codec.sample_rate if codec else 0
        self.sample_rate = rate or self.sample_rate
        self.video.codec_context.thread_type = "AUTO"
        self.video.codec_context.thread_count = self.threads
        self.times.start(self.container.format.name, self.video, self.audio)

    def renew_audio_decoder(self) -> None:
        """Replace the audio decoder, unless it has decoded nothing, by one without a history."""
        if self.audio_decoder_is_new:
            return
        if not self.renews_audio_decoder:
            self.reopen()
            return
        codec = self.stream("audio").codec_context
        self._audio_decoder = av.CodecContext.create(codec.codec, "r")
        self._audio_decoder.extradata = codec.extradata
        self.audio_decoder_is_new = True

    def stream(self, kind: Kind) -> av.VideoStream | av.AudioStream:
        """Return the stream of a kind; the file must have one."""
        stream: Any = self.video if kind == "video" else self.audio
        return stream

    def time_base(self, kind: Kind) -> Fraction:
        """Return the duration of a tick of a stream, in seconds."""
        return as_fraction(self.stream(kind).time_base)

    def packets(self, kind: Kind) -> Packets:
        """Yield all packets from the current position on; an error message blames ``kind``."""
        ends, times, video = self.packet_ends, self.times, self.video.index
        ticks_per_sec = {} if times.timeline else times.ticks_per_sec
        latest: dict[int, int] = {}  # dts by stream index
        try:
            for packet in demux(self.container):
                index = packet.stream_index
                if (index == video or times.timeline) and packet.size:
                    times.mend(packet)
                time, dts = packet.pts, packet.dts
                if dts is not None:
                    before = latest.get(index, dts)
                    # The clock starts again if dts falls by more than a second.
                    if dts < before and dts < before - ticks_per_sec.get(index, math.inf):
                        problem = "the clock goes back after this; convert the file to read on"
                        raise self.error("video" if index == video else "audio", problem, before)
                    latest[index] = dts
                    time = dts if time is None else time
                if time is not None:
                    end = time + (packet.duration or 0)
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
        if self._audio_decoder:
            self._audio_decoder.flush_buffers()  # PyAV does it to those of the container alone
        self.times.move_to(position)
        return True

    def decode(
        self, kind: Kind, *, after_seek: bool = False, select: Select | None = None
    ) -> Iterator[DecodedItem]:
        """Decode a stream from the current position on, as (pts, frame) or (pts, error).

        ``after_seek`` makes the decoder wait for an I-frame. ``select`` is given the packets of all
        streams and yields those to decode.
        """
        packets, index = self.packets(kind), self.stream(kind).index
        decoder: Any = self.video.codec_context if kind == "video" else self._audio_decoder
        if kind == "video":
            self.video.codec_context.skip_frame = "DEFAULT"
        else:
            self.audio_decoder_is_new = False
        # Without an I-frame first, some decoders invent frames.
        started, time = not after_seek, 0
        times: FrameTimes | None = None
        for packet in select(packets) if select else packets:
            if packet.stream.index != index:  # holds for the flush packet too
                continue
            started = started or packet.is_keyframe
            if not started:
                continue
            known = packet_time(packet)
            time = time if known is None else known  # a flush packet has no time
            if times is None:
                first = None if after_seek else time + (self.times.delay or 0)
                times = FrameTimes(first, self._length_of)
            try:
                frames = decoder.decode(packet)
            except av.error.FFmpegError as error:
                damage = self.error(kind, f"cannot be decoded ({error.strerror})", time)
                damage.__cause__ = error
                yield time, damage
                continue
            for frame in frames:
                pts = times.time_of(frame)
                if times.contradicted:
                    raise self.error(kind, "has no presentation times before", pts)
                if pts is not None:
                    damaged = frame.is_corrupt
                    yield pts, self.error(kind, "is damaged", pts) if damaged else frame

    def _length_of(self, frame: av.VideoFrame | av.AudioFrame) -> int:
        """Return the usual length of a frame, in ticks of its stream."""
        if isinstance(frame, av.AudioFrame):
            return round(frame.samples / (frame.sample_rate * self.time_base("audio")))
        return self.frame_period

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

    @property
    def end_reached(self) -> Fraction:
        """Latest end of a packet that was read, in seconds of the container's clock."""
        streams = self.container.streams
        ends = [as_fraction(streams[i].time_base or 0) * end for i, end in self.packet_ends.items()]
        return max([Fraction(0), *ends])

    def error(
        self, kind: Literal["video", "audio", "file"], problem: str, pts: int | None = None
    ) -> VideoDecodeError:
        """Return an error that names the file, the stream and, given a pts, the time."""
        time = ""
        if pts is not None and kind != "file":
            time = f" at {float(pts * self.time_base(kind)):.3f} s"
        return VideoDecodeError(f"{printable(self.path)}: {kind}{time}: {problem}")


def libav_path(path: str | os.PathLike) -> str:
    """Return a path as libav takes it: a file, whatever colons its name holds (``cam1:0.mp4``)."""
    return f"file:{os.fspath(path)}"


def source_of(path: str) -> str:
    """Return what libav reads: an address of http, by ranges, or else a local file."""
    if "://" not in path:
        return path
    return path if path.startswith(HTTP) and is_address(path) else local_path(path)


def open_input(path: str) -> av.container.InputContainer:
    """Open a file to read, or that of an address.

    Raises:
        OSError: there is no such file, or it is none of the formats above; av.error.FFmpegError
            if libav says so, which need not be an OSError.
        ValueError: the path holds a null byte.
    """
    if "\0" in path:  # libav would open what comes before it
        raise ValueError("its name holds a null byte")
    source = source_of(path)
    exists = os.path.exists(source)
    # Opening a named pipe would wait for a writer.
    if exists and (kind := _KINDS.get(stat.S_IFMT(os.stat(source).st_mode))):
        raise OSError(None, f"it is {kind}, not a file")
    is_remote = source.startswith(HTTP) and not exists
    options = {"format_whitelist": ",".join(FORMATS), "protocol_whitelist": "file"}
    if is_remote:
        # libav reuses connections. Without asking to keep them, the server may have closed one, and
        # libav silently drops the first packets of the file.
        options |= {"protocol_whitelist": "http,https,tcp,tls", "multiple_requests": "1"}
    try:
        return av.open(
            source if is_remote else libav_path(source),
            options=options,
            timeout=TIMEOUT_SEC if is_remote else None,
            **_METADATA,
        )
    except av.error.ArgumentError as error:
        problem = "it is no video but, for example, a playlist, an image or subtitles"
        raise OSError(None, problem) from error
    except av.error.ExitError as error:
        raise OSError(f"no answer within {TIMEOUT_SEC} s; try again, or download it") from error


def demux(
    container: av.container.InputContainer, streams: Sequence[av.stream.Stream] = ()
) -> Iterator[av.Packet]:
    """Yield the packets of given streams, by default of all that the file had when it was opened.

    A transport stream or an flv file may begin another stream later. PyAV's ``demux`` ends with an
    IndexError at its first packet; that packet is read then, so that a new ``demux`` goes on
    behind it.
    """
    while True:
        try:
            yield from container.demux(*streams)
            return
        except IndexError:
            pass
