"""An open media file: its streams, its clock, its packets and what they decode to."""

import functools
import itertools
import math
import os
from collections.abc import Callable, Iterator
from fractions import Fraction
from typing import Any, Literal, NamedTuple

import av

from ...structures import AVSFError
from .clock import Clock

Kind = Literal["video", "audio"]
Packets = Iterator[av.Packet]
# pts, then an av.VideoFrame or av.AudioFrame, or a VideoDecodeError of what cannot be decoded.
DecodedItem = tuple[int, Any]

# PyAV before 19 refuses files whose metadata are not UTF-8 unless it is told otherwise; PyAV 19 has
# no such option.
_OPEN_OPTIONS: dict = (
    {"metadata_errors": "replace"} if int(av.__version__.split(".")[0]) < 19 else {}
)
# A file whose data end more seconds than this before its declared end is truncated.
_TRUNCATION_TOLERANCE = Fraction(1, 2)


class VideoDecodeError(AVSFError):
    """A file, or the requested part of it, cannot be decoded.

    The message names the file, the stream and the reason; ``__cause__`` is libav's own error.
    """


class FirstFrame(NamedTuple):
    """Facts that only a decoded frame tells.

    Attributes:
        pts: presentation time of the first frame, in ticks of the video stream.
        width: width of frames as shown, in pixels.
        height: height of frames as shown, in pixels.
        quarter_turns: counter-clockwise quarter turns that show a decoded frame upright, 0..3.
        interlaced: whether a frame consists of two fields.
    """

    pts: int
    width: int
    height: int
    quarter_turns: int
    interlaced: bool


# First frames by path and time of modification. Decoding one takes a tenth of the time of a clip,
# and a long video is opened for each of its clips.
_FIRST_FRAMES: dict[tuple[str, int], FirstFrame] = {}
_MAX_FIRST_FRAMES = 4096


class MediaFile:
    """An open file with one video stream and at most one audio stream that are used.

    Among several streams, the default one with the most pixels (or channels) is used, as in ffmpeg.

    Attributes:
        path: path of the file.
        threads: number of decoding threads.
        container: PyAV's container; replaced by ``reopen``.
        video: PyAV's video stream; replaced by ``reopen``.
        audio: PyAV's audio stream or None; replaced by ``reopen``.
        first_frame: facts about the first frame.
        fps: average frames per second.
        clock: relates seconds, pts of the video stream and the container's clock.
        zero: second 0 on the container's clock, in seconds.
        audio_decoder_is_new: whether the audio decoder has decoded nothing since it was opened.
    """

    container: av.container.InputContainer
    video: av.VideoStream
    audio: av.AudioStream | None

    def __init__(self, path: str | os.PathLike, *, threads: int = 1) -> None:
        """Open the file and look at its first frame.

        Args:
            path: path of the file.
            threads: number of decoding threads; 1 is best where several workers read.

        Raises:
            VideoDecodeError: there is no such file, it is no video, or no frame can be decoded.
        """
        self.path = str(path)
        self.threads = threads
        self.audio_decoder_is_new = True
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

    def __enter__(self) -> "MediaFile":
        return self

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
            self.container = av.open(self.path, **_OPEN_OPTIONS)
        except av.error.FFmpegError as error:
            raise self.error("file", f"cannot be opened ({error.strerror})") from error
        self._is_open = self.audio_decoder_is_new = True
        # ffmpeg's choice of streams; an attached picture is the cover of an album.
        flags = av.stream.Disposition
        videos = [
            stream
            for stream in self.container.streams.video
            if stream.codec_context and not stream.disposition & flags.attached_pic
        ]
        audios = [stream for stream in self.container.streams.audio if stream.codec_context]
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
        """Yield the packets of all streams from the current position to the end of the file.

        Args:
            kind: stream that an error message blames.
        """
        ends = self._packet_ends
        try:
            for packet in self.container.demux():
                if packet.dts is not None:
                    time = packet.dts if packet.pts is None else packet.pts
                    index, end = packet.stream_index, time + (packet.duration or 0)
                    if index not in ends or end > ends[index]:
                        ends[index] = end
                yield packet
        except av.error.FFmpegError as error:
            raise self.error(kind, f"cannot be read on ({error.strerror})") from error

    def seek(self, kind: Kind, pts: int) -> bool:
        """Seek to an I-frame near a time; return False where the format cannot seek."""
        try:
            self.container.seek(pts, stream=self.stream(kind))
        except av.error.FFmpegError:
            return False
        return True

    def decode(
        self,
        kind: Kind,
        *,
        after_seek: bool = False,
        select: Callable[[Packets], Packets] | None = None,
    ) -> Iterator[DecodedItem]:
        """Decode a stream from the current position on.

        Args:
            kind: stream to decode.
            after_seek: whether the decoder must wait for an I-frame.
            select: given the packets of all streams, yields those to decode.

        Yields:
            (pts, frame), or (pts, error) for a packet that does not decode or a damaged frame.
        """
        stream = self.stream(kind)
        packets = self.packets(kind)
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
            if started:
                known = packet_time(packet)
                time = time if known is None else known  # a flush packet has no time
                yield from self._decode_packet(kind, packet, time)

    def _decode_packet(self, kind: Kind, packet: av.Packet, time: int) -> Iterator[DecodedItem]:
        try:
            frames = packet.decode()
        except av.error.FFmpegError as error:
            damage = self.error(kind, f"cannot be decoded ({error.strerror})", time)
            damage.__cause__ = error
            yield time, damage
            return
        for frame in frames:
            if frame.pts is None:
                raise self.error(kind, "has no presentation times")
            if frame.is_corrupt:
                yield frame.pts, self.error(kind, "is damaged", frame.pts)
            else:
                yield frame.pts, frame

    def decode_from(
        self, kind: Kind, pts: int, select: Callable[[Packets], Packets] | None = None
    ) -> Iterator[DecodedItem]:
        """Decode a stream from a time on.

        The first frame lies at or before ``pts``, unless the file starts later. Seeking lands too
        late where an index is missing or counts in decoding order, and the first frames after an
        I-frame may depend on frames before it (open GOP). Seeking is then repeated further and
        further back, and finally the file is read from its start, without ``select``.
        """
        start = self.audio.start_time if kind == "audio" and self.audio else self.first_frame.pts
        back = 0
        while start is not None and pts - back > start:
            if not self.seek(kind, pts - back):
                break
            decoded = self.decode(kind, after_seek=True, select=select)
            first = next(decoded, None)
            # The first frame shows whether the seek landed early enough.
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
        # Streams state neither the rotation nor reliably the first pts: only a frame does.
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
        if self.container.duration is None:
            return None
        start = self.container.start_time or 0
        return Fraction(start + self.container.duration, av.time_base)

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
        """Raise if the file stops long before its declared end and before a time.

        Args:
            second: time on the container's clock, at which no more packet was found.
        """
        end, reached = self.declared_end, self._end_reached()
        if end is not None and second > reached and end - reached > _TRUNCATION_TOLERANCE:
            raise self.error(
                "file",
                f"stops at {float(reached - self.zero):.2f} s but should last "
                f"{float(end - self.zero):.2f} s, and {float(second - self.zero):.2f} s was "
                "asked for",
            )

    def _end_reached(self) -> Fraction:
        """Return the latest end of a packet that was read, in seconds of the container's clock."""
        reached = Fraction(0)
        for index, end in self._packet_ends.items():
            time_base = self.container.streams[index].time_base
            assert time_base is not None
            reached = max(reached, end * time_base)
        return reached

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
