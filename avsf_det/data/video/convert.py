"""Conversion of decoded frames to upright RGB arrays, scaled or cropped, with ffmpeg's filters."""

from collections.abc import Callable, Sequence

import av
import numpy as np

from .container import MediaFile

Convert = Callable[[av.VideoFrame], np.ndarray]

# libav's filters that rotate a frame by a number of quarter turns, counter-clockwise.
_ROTATIONS: dict[int, list[tuple[str, str | None]]] = {
    0: [],
    1: [("transpose", "cclock")],
    2: [("hflip", None), ("vflip", None)],
    3: [("transpose", "clock")],
}


def make_converter(
    file: MediaFile, height: int, width: int, window: tuple[int, int, int, int] | None = None
) -> Convert:
    """Return a function that converts a decoded frame to RGB as shown, uint8 (H, W, 3).

    Args:
        file: the file whose frames are converted.
        height: height of the converted frame, before cropping, in pixels.
        width: width of the converted frame, before cropping, in pixels.
        window: (x0, y0, x1, y1), the only part to convert, in pixels of the converted frame; it
            requires the file's own height and width. By default, everything.
    """
    if window is None:
        return _make_scaler(file, height, width)
    x0, y0, x1, y1 = window
    left, right = _expand(x0, x1, width)
    top, bottom = _expand(y0, y1, height)
    crop = f"{right - left}:{bottom - top}:{left}:{top}:exact=1"
    convert = _make_scaler(file, bottom - top, right - left, [("crop", crop)])
    return lambda frame: convert(frame)[y0 - top : y1 - top, x0 - left : x1 - left]


def _make_scaler(
    file: MediaFile, height: int, width: int, filters: Sequence[tuple[str, str]] = ()
) -> Convert:
    """Return a function that rotates a frame upright, filters it and scales it."""
    graph = av.filter.Graph()
    # Threads of its own would block a forked loader worker that frees the graph forever.
    graph.threads = file.threads
    nodes = [
        graph.add_buffer(template=file.video),
        *(graph.add(*node) for node in (*_ROTATIONS[file.first_frame.quarter_turns], *filters)),
        graph.add("scale", w=str(width), h=str(height), threads=str(file.threads)),
        graph.add("format", "rgb24"),
        graph.add("buffersink"),
    ]
    graph.link_nodes(*nodes).configure()

    def convert(frame: av.VideoFrame) -> np.ndarray:
        graph.push(frame)
        converted = graph.pull()
        assert isinstance(converted, av.VideoFrame)
        return converted.to_ndarray()

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
