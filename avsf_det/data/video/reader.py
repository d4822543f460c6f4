"""Frames and audio of a video file, both by presentation time on one clock."""

import itertools
import math
import os
from bisect import bisect
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cached_property
from typing import Any, TypeVar

import av
import numpy as np
import torch

from .audio_reader import AudioReader
from .container import MediaFile
from .open_file import DecodedItem, Packets, VideoDecodeError

Reader = TypeVar("Reader", bound="VideoReader")
Convert = Callable[[av.VideoFrame], np.ndarray]
Window = tuple[int, int, int, int]  # x0, y0, x1, y1 in pixels

# libav's filters for a number of quarter turns, counter-clockwise, then mirroring or not.
_ORIENTATIONS: dict[tuple[int, bool], list[tuple[str, str | None]]] = {
    (0, False): [],
    (1, False): [("transpose", "cclock")],
    (2, False): [("hflip", None), ("vflip", None)],
    (3, False): [("transpose", "clock")],
    (0, True): [("hflip", None)],
    (1, True): [("transpose", "clock_flip")],
    (2, True): [("vflip", None)],
    (3, True): [("transpose", "cclock_flip")],
}


class VideoReader:
    """Reader of one video file that decodes each request on its own; use it as a context manager.

    Seconds count from the start of the earliest stream, as ffmpeg shows it: the first frame lies a
    whole number of frame periods after second 0 (see :class:`.times.Clock`).

    ``width`` and ``height`` are those of frames as shown, in square pixels: after the rotation and
    mirroring, and with the shape of pixels, that the file asks for. If the size changes on the way,
    they are those of the first frame, to which all others are scaled. ``fps`` is the average. One
    thread is best where several workers read.

    Raises:
        VideoDecodeError: there is no such file, it is no video, or no frame can be decoded.
    """

    def __init__(self, path: str | os.PathLike, *, threads: int = 1) -> None:
        self.file = MediaFile(path, threads=threads)
        self.path, self.fps = self.file.path, self.file.fps
        self.width, self.height = self.file.first_frame.width, self.file.first_frame.height
        self.has_audio = self.file.audio is not None
        self.make_converter = make_converter  # makes the function that converts decoded frames

    def __enter__(self: Reader) -> Reader:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file; nothing can be read afterwards."""
        self.file.close()

    @cached_property
    def _audio_reader(self) -> AudioReader:
        return AudioReader(self.file)

    @cached_property
    def duration(self) -> float:
        """Second at which the video ends."""
        return self.file.duration

    def get_frames_played_at(
        self,
        seconds: Sequence[float],
        size: tuple[int, int] | None = None,
        window: Window | None = None,
    ) -> np.ndarray:
        """Return the frame on screen at each second: the last one presented at or before it.

        Before the first frame, that is the first one; after the last frame, the last one.

        Args:
            seconds: T times, in any order.
            size: (height, width) to scale to, in pixels as shown; the file's own by default.
            window: the only part to convert, of frames of the file's own size; default all.

        Returns:
            uint8 (T, H, W, 3) RGB, equal to ffmpeg's ``-pix_fmt rgb24``.

        Raises:
            VideoDecodeError: a requested frame is damaged, or lies in the missing part of a file
                that stops before its declared end.
        """
        height, width = size if size and not window else (self.height, self.width)
        x0, y0, x1, y1 = window or (0, 0, width, height)
        images = np.empty((0, y1 - y0, x1 - x0, 3), np.uint8)
        for i, image in self.iterate_frames_played_at(seconds, size, window):
            if not len(images):  # the images may have a shape of their own
                images = np.empty((len(seconds), *image.shape), image.dtype)
            images[i] = image
        return images

    def iterate_frames_played_at(
        self,
        seconds: Sequence[float],
        size: tuple[int, int] | None = None,
        window: Window | None = None,
    ) -> Iterator[tuple[int, np.ndarray]]:
        """Yield (index of the second, frame uint8 (H, W, 3)) of each second, in ascending order.

        They are those of :meth:`get_frames_played_at`.
        """
        height, width = size if size and not window else (self.height, self.width)
        limits = [self.file.clock.pts_played_at(second) for second in seconds]
        order = sorted(range(len(limits)), key=limits.__getitem__)
        ascending = self._images([limits[i] for i in order], height, width, window)
        return zip(order, ascending, strict=True)

    def _images(
        self, limits: Sequence[int], height: int, width: int, window: Window | None = None
    ) -> Iterator[np.ndarray]:
        """Yield the converted frame on screen at each of the ascending times (pts)."""
        convert = self.make_converter(self.file, height, width, window)
        shown, image = None, np.empty(0)
        for frame in frames_on_screen(self.file, decode_needed(self.file, limits), limits):
            if frame is not shown:  # each frame is converted once
                shown, image = frame, convert(frame)
            yield image

    def get_samples_played_in_range(
        self, start: float, stop: float, sample_rate: int
    ) -> torch.Tensor:
        """Return the audio samples between two seconds.

        Sample k is sample ``round(start * sample_rate) + k`` of the whole resampled track: windows
        agree where they overlap, whatever was read before.

        Args:
            start: start of the window in seconds; may lie before the track.
            stop: end of the window in seconds; may lie after the track.
            sample_rate: sample rate of the result, in Hz.

        Returns:
            float32 (round((stop - start) * sample_rate),), mean of the channels in -1..1, zero
            where the track has no samples.

        Raises:
            VideoDecodeError: there is no audio stream, the audio is damaged, or the file stops
                before both ``stop`` and its declared end.
        """
        return self._audio_reader.get_samples_played_in_range(start, stop, sample_rate)


def decode_needed(file: MediaFile, limits: Sequence[int]) -> Iterator[DecodedItem]:
    """Decode what is on screen at ascending times (pts), from at or before the first of them on."""
    if not limits:
        return iter(())
    return file.decode_from(
        "video", limits[0], select=lambda packets: _select_needed(file, packets, limits)
    )


def frames_on_screen(
    file: MediaFile, decoded: Iterable[DecodedItem], limits: Sequence[int]
) -> Iterator[av.VideoFrame]:
    """Yield the frame on screen at each of the ascending times (pts): the latest one up to it.

    Of what was decoded, in ascending order, no more is taken than needed.

    Raises:
        VideoDecodeError: a requested frame is damaged or missing in a truncated file.
    """
    waiting = list(reversed(limits))
    shown: Any = None
    damage: tuple[float, VideoDecodeError] | None = None
    end: Any = (math.inf, None)
    for pts, frame in itertools.chain(decoded, [end]) if limits else ():
        if isinstance(frame, VideoDecodeError):
            damage = damage or (pts, frame)
            continue
        # ``shown`` stays on screen until this frame is presented.
        while waiting and waiting[-1] < pts:
            limit = waiting.pop()
            if frame is None:  # the file ended before this time
                file.check_not_truncated(limit * file.time_base("video"))
            if damage is not None and damage[0] <= limit:
                raise damage[1]
            yield shown
        if not waiting:
            return
        # Damage ends at the next I-frame: nothing after it depends on what was before.
        if damage is not None and frame.key_frame and damage[0] < pts:
            damage = None
        shown = frame


def can_skip_frames(file: MediaFile) -> bool:
    """Return whether the decoder can skip non-reference frames: of progressive H.264."""
    return file.video.codec_context.name == "h264" and not file.first_frame.interlaced


def _select_needed(file: MediaFile, packets: Packets, limits: Sequence[int]) -> Packets:
    """Yield the packets that the frames at ascending times (pts) depend on, then a flush packet.

    These are the video packets up to the last time, reference frames included. For progressive
    H.264, the decoder skips non-reference frames that are on screen at none of the times.
    """
    stream, read = file.video, []
    for packet in packets:
        if packet.stream.index == stream.index and packet.size:
            # dts <= pts: no later packet holds a frame that is on screen by then.
            late = packet.dts is not None and packet.dts > limits[-1]
            # Without pts, the packet after the last time states when the next frame is shown.
            if not late or packet.pts is None:
                read.append(packet)
            if late:
                break
    times: list[Any] = [packet.pts for packet in read]
    if can_skip_frames(file) and None not in times:
        ascending = sorted(times)
        shown = {ascending[max(bisect(ascending, limit) - 1, 0)] for limit in limits if times}
        # Packets behind the last requested one in decoding order serve no requested frame.
        while times and times[-1] not in shown:
            times.pop()
        for pts, packet in zip(times, read, strict=False):
            stream.codec_context.skip_frame = "DEFAULT" if pts in shown else "NONREF"
            yield packet
    else:
        yield from read
    flush = av.Packet()  # makes the decoder return the frames that it still holds
    flush.stream = stream
    yield flush


class FrameConverter:
    """Turn frames upright, scale them to one size, and convert their pixel format.

    A stream may change the size or the pixel format of its frames on the way. All are scaled to the
    one size, so that a window is the same part of each.

    Height and width are those of the converted frame before cropping, in pixels. ``window`` is the
    only part to convert, which requires the file's own size. ``pix_fmt`` is libav's name.
    """

    def __init__(
        self,
        file: MediaFile,
        height: int,
        width: int,
        pix_fmt: str = "rgb24",
        window: Window | None = None,
    ) -> None:
        # (x, y) in the whole of what is converted: somewhat more than a window.
        self.origin = 0, 0
        self._file, self._size, self._pix_fmt, self._window = file, (width, height), pix_fmt, window
        self._source: tuple[int, int, str] | None = None  # width, height, format of frames
        self._graph = av.filter.Graph()

    def __call__(self, frame: av.VideoFrame) -> av.VideoFrame:
        """Convert a frame."""
        source = frame.width, frame.height, frame.format.name
        if source != self._source:
            self._source, self._graph = source, self._make_graph(frame)
        self._graph.push(frame)
        converted = self._graph.pull()
        assert isinstance(converted, av.VideoFrame)
        return converted

    def _make_graph(self, frame: av.VideoFrame) -> av.filter.Graph:
        """Return the filters for frames of the size and format of this one."""
        first, (width, height) = self._file.first_frame, self._size
        filters = [*_ORIENTATIONS[first.quarter_turns, first.mirrored]]
        upright = (frame.width, frame.height)[:: -1 if first.quarter_turns % 2 else 1]
        self.origin = 0, 0
        # A window is in pixels as shown: it can be cut out of frames that are not scaled.
        if self._window and upright == self._size:
            x0, y0, x1, y1 = self._window
            (left, right), (top, bottom) = _expand(x0, x1, width), _expand(y0, y1, height)
            width, height, self.origin = right - left, bottom - top, (left, top)
            filters.append(("crop", f"{width}:{height}:{left}:{top}:exact=1"))
        # YUV is in limited range, whatever the file's.
        colors = {} if self._pix_fmt.startswith("rgb") else {"out_range": "tv"}
        graph, threads = av.filter.Graph(), self._file.threads
        # Threads of its own would block a forked loader worker that frees the graph forever.
        graph.threads = threads
        nodes = [
            graph.add_buffer(
                width=frame.width,
                height=frame.height,
                format=frame.format,
                time_base=self._file.time_base("video"),
            ),
            *(graph.add(*node) for node in filters),
            graph.add("scale", w=str(width), h=str(height), threads=str(threads), **colors),
            graph.add("format", self._pix_fmt),
            graph.add("buffersink"),
        ]
        graph.link_nodes(*nodes).configure()
        return graph


def make_converter(
    file: MediaFile, height: int, width: int, window: Window | None = None
) -> Convert:
    """Return a function from a decoded frame to upright RGB; see :class:`FrameConverter`."""
    x0, y0, x1, y1 = window or (0, 0, width, height)
    converter = FrameConverter(file, height, width, window=window)

    def convert(frame: av.VideoFrame) -> np.ndarray:
        image = converter(frame).to_ndarray()
        left, top = converter.origin
        return image[y0 - top : y1 - top, x0 - left : x1 - left]

    return convert


def _expand(start: int, stop: int, end: int) -> tuple[int, int]:
    """Expand a crop range so that chroma upsampling gives the RGB of the whole frame.

    The range grows by 8 pixels and to multiples of 4: a chroma sample covers up to 4 pixels, and
    some formats interpolate it from 4 samples. A frame of odd size ``end`` is converted whole,
    because swscale stretches its chroma plane.
    """
    if end % 2:
        return 0, end
    return max(start - 8, 0) // 4 * 4, min(-(-(stop + 8) // 4) * 4, end)
