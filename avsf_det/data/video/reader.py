"""Frames and sound of a video file, both by presentation time on one clock, read with PyAV."""

import functools
import itertools
import math
import os
from bisect import bisect
from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction
from types import TracebackType

import av
import numpy as np
import torch

from ...structures import AVSFError
from ..audio import resample
from .convert import picture_converter, window_converter

# PyAV before 19 refuses files whose metadata are not UTF-8, unless told; 19 takes no such word.
_OPEN_OPTIONS = {"metadata_errors": "replace"} if int(av.__version__.split(".")[0]) < 19 else {}
# Sound is decoded in pieces that start at whole multiples of so many seconds, always by a fresh
# decoder: some decoders make noise up (AAC's noise substitution), and what they make up hangs on
# all that they decoded before.
_AUDIO_PIECE = 8
# Seconds of sound decoded before a piece, for codecs whose packets lean on earlier ones, which is
# also more than a packet lasts; seconds around a window that the resampling filter gets to see.
_AUDIO_PREROLL = Fraction(1, 2)
_AUDIO_CONTEXT = Fraction(1, 10)
# What the first frames of files tell, by path and time of modification. To decode one takes as long
# as a tenth of a clip, and a movie is opened for each of its clips.
_FIRST_FRAMES: dict[tuple[str, int], tuple[int, int, int, int, bool]] = {}
_MAX_FIRST_FRAMES = 4096
# A file whose data end so many seconds before its declared end is truncated.
_TRUNCATION_SLACK = Fraction(1, 2)


class VideoDecodeError(AVSFError):
    """A file, or the part of it that was asked for, cannot be decoded.

    The message names the file, the stream and the reason; ``__cause__`` is libav's own error.
    """


class VideoReader:
    """Reads one video file; use it as a context manager.

    Seconds count from the start of the file, that of its earliest stream, as ffmpeg shows it: the
    first picture lies a whole number of frame periods after second 0. A gap of less than one period
    (the sound codec's priming, a millisecond clock's rounding) counts as none.

    Of several streams the default one with the most pixels (or channels) is read, as ffmpeg does.

    Attributes:
        width, height: of the frames as shown, after the rotation that the file asks for. Pixels.
        fps: average frames per second.
        has_audio: whether there is a sound track.
    """

    def __init__(self, path: str, *, threads: int = 1):
        """
        Args:
            threads: decoding threads; one is best where several workers read.

        Raises:
            VideoDecodeError: no such file, not a video, or not one frame of it can be decoded.
        """
        self.path = str(path)
        self._threads = threads
        self._container = None
        self._ends: dict[int, int] = {}  # stream index: latest end of a packet, in its ticks
        self._heard = False  # whether the sound decoder has worked since the file was opened
        self._second_frame = None
        first = self._remembered_first_frame()
        self._first_pts, self.width, self.height, self._quarter_turns, self._interlaced = first
        self.fps = float(self._video.average_rate or self._video.guessed_rate)
        self.has_audio = self._audio is not None

        self._zero = self._second_zero()

    def __enter__(self) -> "VideoReader":
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the file; nothing can be read afterwards."""
        self._container.close()

    @property
    def duration(self) -> float:
        """Second at which the video ends, as the file declares it."""
        end = self._declared_end()
        if self._video.duration is not None:
            end = ((self._video.start_time or 0) + self._video.duration) * self._video.time_base
        if end is None:  # a live recording: only reading it through tells
            for _ in self._packets("video"):
                pass
            end = self._reached()
        return float(end - self._zero)

    def get_frames_played_at(
        self,
        seconds: Sequence[float],
        size: tuple[int, int] | None = None,
        window: tuple[int, int, int, int] | None = None,
    ) -> np.ndarray:
        """The frame on screen at each second: the last one presented at or before it.

        Before the first frame that is the first, after the last frame the last.

        Args:
            seconds: T times, in any order.
            size: (height, width) to scale to, as shown; the file's own by default.
            window: (x0, y0, x1, y1), the part of frames of their own size that is wanted, in
                pixels; no other is converted. All by default.

        Returns:
            uint8 (T, H, W, 3), RGB, equal to ffmpeg's ``-pix_fmt rgb24``.

        Raises:
            VideoDecodeError: a frame asked for is damaged, or lies in the missing part of a file
                that stops before its declared end.
        """
        height, width = size or (self.height, self.width)
        limits = [self._last_pts_at(second) for second in seconds]
        order = sorted(range(len(limits)), key=limits.__getitem__)
        ascending = [limits[i] for i in order]
        if window is None:
            shown = self._images(ascending, height, width)
        else:
            height, width = window[3] - window[1], window[2] - window[0]
            shown = self._images(ascending, height, width, window)
        images = np.empty((0, height, width, 3), np.uint8)
        for row, image in zip(order, shown, strict=True):
            if not len(images):
                images = np.empty((len(order), *image.shape), image.dtype)
            images[row] = image
        return images

    def get_samples_played_in_range(
        self, start: float, end: float, sample_rate: int
    ) -> torch.Tensor:
        """The sound between two seconds of the frames' clock.

        Sample k is sample ``round(start * sample_rate) + k`` of the whole resampled track: windows
        agree where they overlap, whatever was read before.

        Args:
            start, end: seconds; may reach beyond the track.
            sample_rate: Hz, of the result.

        Returns:
            float32 (round((end - start) * sample_rate),): mean of the channels, in [-1, 1], zero
            where the track has no samples.

        Raises:
            VideoDecodeError: no sound track, damaged sound, or a file that stops before both
                ``end`` and its declared end.
        """
        if self._audio is None:
            raise self._error("audio", "the file has no sound track")
        rate = self._audio.codec_context.sample_rate
        first = round(start * sample_rate)
        count = round((end - start) * sample_rate)
        # Native sample block * down is sample block * up of the resampled track.
        up, down = Fraction(sample_rate, rate).as_integer_ratio()
        context = math.ceil(_AUDIO_CONTEXT * rate)
        block = (first * down // up - context) // down
        native = self._native_samples(block * down, (first + count) * down // up + context, rate)
        return resample(native, rate, sample_rate)[first - block * up :][:count]

    # Opening and decoding

    def _open(self) -> None:
        """Open the file, anew and at its start."""
        if self._container is not None:
            self._container.close()
        try:
            self._container = av.open(self.path, **_OPEN_OPTIONS)
        except av.error.FFmpegError as error:
            raise self._error("file", f"cannot be opened ({error.strerror})") from error
        self._heard = False
        flags = av.stream.Disposition
        pictures = [
            stream
            for stream in self._container.streams.video
            if stream.codec_context and not stream.disposition & flags.attached_pic
        ]
        sounds = [stream for stream in self._container.streams.audio if stream.codec_context]
        if not pictures:
            raise self._error("video", "the file has no video stream that can be decoded")
        self._video = max(
            pictures, key=lambda s: (bool(s.disposition & flags.default), s.width * s.height)
        )
        self._audio = max(
            sounds, key=lambda s: (bool(s.disposition & flags.default), s.channels), default=None
        )
        self._video.codec_context.thread_type = "AUTO"
        self._video.codec_context.thread_count = self._threads

    def _packets(self, kind: str) -> Iterator[av.Packet]:
        """The packets of all streams from where the file stands, to its end."""
        ends = self._ends
        try:
            for packet in self._container.demux():
                if packet.dts is not None:
                    index, end = packet.stream_index, _pts(packet) + (packet.duration or 0)
                    if index not in ends or end > ends[index]:
                        ends[index] = end
                yield packet
        except av.error.FFmpegError as error:
            raise self._error(kind, f"cannot be read on ({error.strerror})") from error

    def _decode(
        self, kind: str, after_seek: bool = False, limits: Sequence[int] = ()
    ) -> Iterator[tuple[int, av.frame.Frame | VideoDecodeError]]:
        """Decode on from where the file stands.

        Args:
            limits: ascending times (pts); if given, only frames that are on screen at these need
                be among what is yielded.

        Yields:
            (pts, frame), or (pts, error) of a packet that does not decode or a damaged frame.
        """
        stream = self._stream(kind)
        self._heard |= kind == "audio"
        # Without a key frame first, some decoders make pictures up.
        started = not after_seek
        packets = self._packets(kind)
        if kind == "video":
            stream.codec_context.skip_frame = "DEFAULT"
            packets = self._needed_packets(packets, limits) if limits else packets
        for packet in packets:
            if packet.stream.index != stream.index:  # also right for the packet that flushes
                continue
            started = started or packet.is_keyframe
            if not started:
                continue
            try:
                frames = packet.decode()
            except av.error.FFmpegError as error:
                problem = f"cannot be decoded ({error.strerror})"
                damage = self._error(kind, problem, _pts(packet))
                damage.__cause__ = error
                yield _pts(packet), damage
                continue
            for frame in frames:
                if frame.pts is None:
                    raise self._error(kind, "has no presentation times")
                if frame.is_corrupt:
                    yield frame.pts, self._error(kind, "is damaged", frame.pts)
                else:
                    yield frame.pts, frame

    def _needed_packets(
        self, packets: Iterator[av.Packet], limits: Sequence[int]
    ) -> Iterator[av.Packet]:
        """Those packets of video that show what is on screen at ascending times (pts), those before
        that they lean on, and one that makes the decoder give all it has.

        Of H.264 without fields it is known for sure which frames no other leans on: the decoder is
        told to leave those of them out that are on screen at none of the times.
        """
        stream, read = self._video, []
        for packet in packets:
            if packet.stream.index == stream.index and packet.size:
                if packet.dts is not None and packet.dts > limits[-1]:
                    break
                read.append(packet)
        times = [packet.pts for packet in read]
        if stream.codec_context.name == "h264" and not self._interlaced and None not in times:
            ascending = sorted(times)
            shown = {ascending[max(bisect(ascending, limit) - 1, 0)] for limit in limits if times}
            while times and times[-1] not in shown:
                times.pop()
            for pts, packet in zip(times, read, strict=False):
                stream.codec_context.skip_frame = "DEFAULT" if pts in shown else "NONREF"
                yield packet
        else:
            yield from read
        end = av.Packet()
        end.stream = stream
        yield end

    def _decode_from(
        self, kind: str, pts: int, limits: Sequence[int] = ()
    ) -> Iterator[tuple[int, av.frame.Frame | VideoDecodeError]]:
        """As ``_decode``, beginning at or before a time; else at the file's first frame.

        Seeking lands late where an index is missing or counts in decoding order, and the first
        frames after it may lean on ones before it (open GOP): then it is repeated further and
        further back, in the end from the start of the file.
        """
        stream = self._stream(kind)
        start = stream.start_time if kind == "audio" else self._first_pts
        back = 0
        while start is not None and pts - back > start:
            try:
                self._container.seek(pts - back, stream=stream)
            except av.error.FFmpegError:  # a format that cannot seek
                break
            decoded = self._decode(kind, after_seek=True, limits=limits)
            first = next(decoded, None)
            if first is not None and first[0] <= pts:
                return itertools.chain([first], decoded)
            back = 2 * back or math.ceil(1 / stream.time_base)
        self._open()
        return self._decode(kind)

    def _first_frame(self, kind: str) -> tuple[int, av.frame.Frame]:
        """(pts, frame) of the first frame that decodes."""
        self._open()
        error = None
        for pts, frame in self._decode(kind):
            if not isinstance(frame, VideoDecodeError):
                return pts, frame
            error = frame
        raise self._error(kind, "not one frame can be decoded") from error

    def _remembered_first_frame(self) -> tuple[int, int, int, int, bool]:
        """Open the file. The pts of its first frame; width and height as shown; quarter turns to
        show it so; whether a frame is two fields."""
        known = os.path.isfile(self.path) and (self.path, os.stat(self.path).st_mtime_ns)
        if known in _FIRST_FRAMES:
            self._open()
            return _FIRST_FRAMES[known]
        pts, frame = self._first_frame("video")
        turns = round(frame.rotation / 90) % 4
        size = (frame.height, frame.width) if turns % 2 else (frame.width, frame.height)
        if len(_FIRST_FRAMES) >= _MAX_FIRST_FRAMES:
            _FIRST_FRAMES.clear()
        if known:
            _FIRST_FRAMES[known] = (pts, *size, turns, frame.interlaced_frame)
        return pts, *size, turns, frame.interlaced_frame

    def _images(
        self,
        limits: Sequence[int],
        height: int,
        width: int,
        window: tuple[int, int, int, int] | None = None,
    ) -> Iterator[np.ndarray]:
        """What ``_on_screen`` gives, scaled or a window of it, each frame converted once."""
        convert = self._window_converter(window) if window else self._converter(height, width)
        shown, image = None, None
        for frame in self._on_screen(limits):
            if frame is not shown:
                shown, image = frame, convert(frame)
            yield image

    def _frames_for(
        self, limits: Sequence[int]
    ) -> Iterator[tuple[int, av.VideoFrame | VideoDecodeError]]:
        """As ``_decode_from`` gives them, from the one on screen at the first of the times on."""
        return self._decode_from("video", limits[0], limits)

    def _on_screen(self, limits: Sequence[int]) -> Iterator[av.VideoFrame]:
        """For each of the ascending times (pts), the frame with the latest pts up to it."""
        waiting = list(reversed(limits))
        shown, damage = None, None
        frames = self._frames_for(limits) if limits else ()
        for pts, frame in itertools.chain(frames, [(math.inf, None)]):
            if isinstance(frame, VideoDecodeError):
                damage = damage or (pts, frame)
                continue
            while waiting and waiting[-1] < pts:
                limit = waiting.pop()
                if frame is None:
                    self._check_not_truncated(limit * self._video.time_base)
                if damage is not None and damage[0] <= limit:
                    raise damage[1]
                yield shown
            if not waiting:
                return
            # Whatever was damaged before, nothing after a key frame leans on it.
            if damage is not None and frame.key_frame and damage[0] < pts:
                damage = None
            shown = frame

    def _converter(self, height: int, width: int) -> Callable[[av.VideoFrame], np.ndarray]:
        """Decoded frame to uint8 (height, width, 3) RGB as shown."""
        how = {"quarter_turns": self._quarter_turns, "threads": self._threads}
        return picture_converter(self._video, height, width, **how)

    def _window_converter(
        self, window: tuple[int, int, int, int]
    ) -> Callable[[av.VideoFrame], np.ndarray]:
        """The same for a part of the frame."""
        how = {"quarter_turns": self._quarter_turns, "threads": self._threads}
        return window_converter(self._video, self.height, self.width, window, **how)

    def _native_samples(self, first: int, last: int, rate: int) -> torch.Tensor:
        """float32 (last - first,): samples first..last-1 at the track's own rate, mono."""
        samples = np.zeros(last - first, np.float32)
        time_base = self._audio.time_base
        scale, offset = time_base * rate, self._zero * rate
        tolerance = float(max(2 * time_base, Fraction(1, 1000)) * rate)
        samples_per_tick, zero = float(scale), float(offset)
        second_frame = self._second_sound_frame()
        position = None
        for pts, frame in self._sound_from(Fraction(first, rate) - _AUDIO_PREROLL):
            stated = pts * samples_per_tick - zero
            if stated >= last:
                break
            if isinstance(frame, VideoDecodeError):
                if stated >= first:
                    raise frame
                continue
            if frame.sample_rate != rate:
                raise self._error("audio", f"changes from {rate} to {frame.sample_rate} Hz", pts)
            if position is None or abs(stated - position) > tolerance:
                stated = pts * scale - offset  # exactly, so that all windows round alike
                position = round(stated)
                if second_frame is not None:
                    count = round((stated - second_frame) / frame.samples)
                    whole = second_frame + count * frame.samples
                    position = whole if abs(stated - whole) <= time_base * rate + 1 else position
            begin, end = max(position, first), min(position + frame.samples, last)
            if begin < end:
                samples[begin - first : end - first] = frame.mono[begin - position : end - position]
            position += frame.samples
        else:
            self._check_not_truncated(self._zero + Fraction(last, rate) - _AUDIO_CONTEXT)
        return torch.from_numpy(samples)

    def _sound_from(
        self, second: Fraction
    ) -> Iterator[tuple[int, "_SoundFrame | VideoDecodeError"]]:
        """Sound from a second, or the start of the piece that it lies in, to the end."""
        for index in itertools.count(max(0, second // _AUDIO_PIECE)):
            for pts, frame in self._sound_piece(index):
                if frame is None:
                    return
                yield pts, frame

    def _sound_piece(
        self, index: int
    ) -> Iterator[tuple[int, "_SoundFrame | VideoDecodeError | None"]]:
        """The frames that begin in a piece, always alike; None instead of one at the file's end.

        The first piece has those before second 0, too.
        """
        if self._heard:
            self._open()
        ticks = 1 / self._audio.time_base
        begin = math.ceil((self._zero + index * _AUDIO_PIECE) * ticks)
        end = math.ceil((self._zero + (index + 1) * _AUDIO_PIECE) * ticks)
        for pts, frame in self._decode_from("audio", begin - math.ceil(_AUDIO_PREROLL * ticks)):
            if pts >= end:
                return
            if pts >= begin or not index:
                damaged = isinstance(frame, VideoDecodeError)
                yield pts, frame if damaged else _SoundFrame(frame)
        yield end, None

    def _second_sound_frame(self) -> int | None:
        """Index of the sample that begins the track's second frame; None if it need not be known.

        A clock that does not count samples (Matroska: milliseconds) states times up to half a tick
        off. After a seek, a frame in truth begins whole frames away from this one.
        """
        rate, time_base = self._audio.codec_context.sample_rate, self._audio.time_base
        if (1 / time_base) % rate == 0:
            return None
        if self._second_frame is None:
            pts, frame = self._first_frame("audio")
            self._second_frame = round((pts * time_base - self._zero) * rate) + frame.samples
        return self._second_frame

    # Time, and what is said about it

    def _second_zero(self) -> Fraction:
        """Second 0 on the container's clock, in seconds."""
        first = self._first_pts * self._video.time_base
        start = self._container.start_time
        if start is None:
            return first
        frame_rate = self._video.guessed_rate or self._video.average_rate
        frames_late = (first - Fraction(start, av.time_base)) * frame_rate
        return first - (round(frames_late) if frames_late >= 1 else 0) / frame_rate

    def _last_pts_at(self, second: float) -> int:
        """The latest presentation time, in ticks, that is reached at a second."""
        shift, unit, ticks, base = self._pts_ratios
        n, d = second.as_integer_ratio()
        return max((n * unit + shift * d) * ticks // (d * unit * base), self._first_pts)

    @functools.cached_property
    def _pts_ratios(self) -> tuple[int, int, int, int]:
        """(a, b, c, d): at second s, pts are up to (s + a / b) * c / d, exactly. Computing with
        fractions took longer than scaling a frame."""
        tick = self._video.time_base
        # Milliseconds are frame times rounded by up to half a tick; coarse ticks are whole frames.
        tolerance = tick / 2 if tick <= Fraction(1, 1000) else Fraction(1, 10**6)
        return (*(tolerance + self._zero).as_integer_ratio(), *(1 / tick).as_integer_ratio())

    def _reached(self) -> Fraction:
        """The latest end of a packet read, in seconds of the container's clock."""
        streams = self._container.streams
        ends = (end * streams[index].time_base for index, end in self._ends.items())
        return max(ends, default=Fraction(0))

    def _declared_end(self) -> Fraction | None:
        """Of the longest stream, in seconds of the container's clock."""
        if self._container.duration is None:
            return None
        return Fraction((self._container.start_time or 0) + self._container.duration, av.time_base)

    def _check_not_truncated(self, second: Fraction) -> None:
        """For a second of the container's clock that lies behind the last packet read."""
        end, reached = self._declared_end(), self._reached()
        if end is not None and second > reached and end - reached > _TRUNCATION_SLACK:
            raise self._error(
                "file",
                f"stops at {float(reached - self._zero):.2f} s but should last "
                f"{float(end - self._zero):.2f} s, and {float(second - self._zero):.2f} s was "
                "asked for",
            )

    def _stream(self, kind: str) -> av.stream.Stream:
        return self._video if kind == "video" else self._audio

    def _error(self, kind: str, problem: str, pts: int | None = None) -> VideoDecodeError:
        """``kind`` is "video", "audio" or "file"."""
        time = "" if pts is None else f" at {float(pts * self._stream(kind).time_base):.3f} s"
        return VideoDecodeError(f"{self.path}: {kind}{time}: {problem}")


def _pts(packet: av.Packet) -> int | None:
    """A packet's presentation time; AVI knows the decoding time only."""
    return packet.dts if packet.pts is None else packet.pts


class _SoundFrame:
    """A decoded packet of sound: its rate in Hz and its number of samples."""

    def __init__(self, frame: av.AudioFrame):
        self.sample_rate = frame.sample_rate
        self.samples = frame.samples
        self._frame = frame

    @functools.cached_property
    def mono(self) -> np.ndarray:
        """float32 (samples,): mean of the channels, in [-1, 1]."""
        if self._frame.format.name == "fltp":  # most codecs; ten times faster than the general way
            planes = self._frame.planes
            channels = [np.frombuffer(plane, np.float32, self.samples) for plane in planes]
            return functools.reduce(np.add, channels) / np.float32(len(channels))
        samples = self._frame.to_ndarray()
        if not self._frame.format.is_planar:
            samples = samples.reshape(self.samples, -1).T
        if samples.dtype.kind != "f":
            bits = np.iinfo(samples.dtype)
            middle = 0 if bits.min < 0 else 2 ** (bits.bits - 1)
            samples = (samples.astype(np.float32) - middle) / 2 ** (bits.bits - 1)
        return samples.astype(np.float32, copy=False).mean(axis=0)
