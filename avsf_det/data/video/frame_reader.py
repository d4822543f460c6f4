"""Frames of a media file by the time at which they are on screen."""

import itertools
import math
from bisect import bisect
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import av
import numpy as np

from .container import MediaFile, Packets, VideoDecodeError
from .convert import make_converter

Decoded = tuple[int, av.VideoFrame | VideoDecodeError]  # pts and what was decoded there


class FrameReader:
    """Decodes the frames of each request on its own, after a seek.

    Attributes:
        make_converter: makes the function that converts decoded frames; as in ``convert``.
    """

    def __init__(self, file: MediaFile) -> None:
        """Read from ``file``."""
        self.make_converter = make_converter
        self._file = file

    def get_frames_played_at(
        self,
        seconds: Sequence[float],
        size: tuple[int, int] | None = None,
        window: tuple[int, int, int, int] | None = None,
    ) -> np.ndarray:
        """Return the frame on screen at each second, as ``VideoReader`` specifies."""
        first = self._file.first_frame
        height, width = size if size and not window else (first.height, first.width)

        def read(limits: Sequence[int]) -> Iterator[np.ndarray]:
            convert = self.make_converter(self._file, height, width, window)
            shown, image = None, np.empty(0)
            for frame in frames_on_screen(self._file, decode_needed(self._file, limits), limits):
                if frame is not shown:  # each frame is converted once
                    shown, image = frame, convert(frame)
                yield image

        return stack_frames(self._file, seconds, read, window or (0, 0, width, height))


def stack_frames(
    file: MediaFile,
    seconds: Sequence[float],
    read: Callable[[Sequence[int]], Iterable[np.ndarray]],
    window: tuple[int, int, int, int],
) -> np.ndarray:
    """Read frames in ascending order and stack them in the requested order.

    Args:
        file: the file.
        seconds: T times in any order.
        read: given ascending times (pts), yields the image on screen at each.
        window: (x0, y0, x1, y1); the shape of the result where T = 0.

    Returns:
        uint8 (T, H, W, 3).
    """
    limits = [file.clock.pts_played_at(second) for second in seconds]
    order = sorted(range(len(limits)), key=limits.__getitem__)
    images = np.empty((0, window[3] - window[1], window[2] - window[0], 3), np.uint8)
    for row, image in zip(order, read([limits[i] for i in order]), strict=True):
        if not len(images):
            images = np.empty((len(order), *image.shape), image.dtype)
        images[row] = image
    return images


def decode_needed(file: MediaFile, limits: Sequence[int]) -> Iterator[Decoded]:
    """Decode what is on screen at ascending times (pts), from at or before the first of them on."""
    if not limits:
        return iter(())
    return file.decode_from(
        "video", limits[0], select=lambda packets: _select_needed(file, packets, limits)
    )


def frames_on_screen(
    file: MediaFile, decoded: Iterable[Decoded], limits: Sequence[int]
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
            if packet.dts is not None and packet.dts > limits[-1]:
                break
            read.append(packet)
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
    flush = av.Packet()
    flush.stream = stream
    yield flush
