"""Frames and audio of a video file, both by presentation time on one clock."""

import itertools
import math
import os
from bisect import bisect
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from typing import Any, TypeVar

import av
import numpy as np
import torch

from .audio_reader import AudioReader
from .container import MediaFile
from .convert import Window, make_converter
from .open_file import DecodedItem, Packets, VideoDecodeError

Reader = TypeVar("Reader", bound="VideoReader")


class VideoReader:
    """Reader of one video file that decodes each request on its own; use it as a context manager.

    Seconds count from the start of the earliest stream, as ffmpeg shows it: the first frame lies a
    whole number of frame periods after second 0 (see :class:`.clock.Clock`).

    Attributes:
        path: path of the file.
        width: width of frames as shown, in square pixels: after the rotation and mirroring, and
            with the shape of pixels, that the file asks for. If the size changes on the way, that
            of the first frame, to which all others are scaled.
        height: height of frames as shown, in square pixels.
        fps: average frames per second.
        has_audio: whether the file has an audio stream.
        file: the open file.
        make_converter: makes the function that converts decoded frames, see
            :func:`.convert.make_converter`.

    Args:
        path: path of the file.
        threads: number of decoding threads; 1 is best where several workers read.

    Raises:
        VideoDecodeError: there is no such file, it is no video, or no frame can be decoded.
    """

    def __init__(self, path: str | os.PathLike, *, threads: int = 1) -> None:
        self.file = MediaFile(path, threads=threads)
        self.path, self.fps = self.file.path, self.file.fps
        self.width, self.height = self.file.first_frame.width, self.file.first_frame.height
        self.has_audio = self.file.audio is not None
        self.make_converter = make_converter

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
            window: (x0, y0, x1, y1), the only part of the frames to convert, in pixels of frames
                of the file's own size; everything by default.

        Returns:
            uint8 (T, H, W, 3) RGB, equal to ffmpeg's ``-pix_fmt rgb24``.

        Raises:
            VideoDecodeError: a requested frame is damaged, or lies in the missing part of a file
                that stops before its declared end.
        """
        height, width = size if size and not window else (self.height, self.width)
        x0, y0, x1, y1 = window or (0, 0, width, height)
        limits = [self.file.clock.pts_played_at(second) for second in seconds]
        order = sorted(range(len(limits)), key=limits.__getitem__)
        ascending = self._images([limits[i] for i in order], height, width, window)
        images = np.empty((0, y1 - y0, x1 - x0, 3), np.uint8)
        for row, image in zip(order, ascending, strict=True):
            if not len(images):  # the images may have a shape of their own
                images = np.empty((len(order), *image.shape), image.dtype)
            images[row] = image
        return images

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
    """Yield the frame on screen at each time: the one with the latest pts up to it.

    Args:
        file: the file.
        decoded: (pts, frame or error) in ascending order; no more of it is taken than needed.
        limits: ascending times (pts).

    Raises:
        VideoDecodeError: a requested frame is damaged or lies in the missing part of a truncated
            file.
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
    progressive_h264 = stream.codec_context.name == "h264" and not file.first_frame.interlaced
    if progressive_h264 and None not in times:
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
