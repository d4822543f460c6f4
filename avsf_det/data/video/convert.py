"""Conversion of decoded frames to upright images of square pixels."""

from collections.abc import Callable

import av
import numpy as np

from .container import MediaFile

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


class FrameConverter:
    """Turn frames upright, scale them to one size, and convert their pixel format.

    A stream may change the size or the pixel format of its frames on the way. All are scaled to the
    one size, so that a window is the same part of each.

    Args:
        file: the file whose frames are converted.
        height: height of the converted frame, before cropping, in pixels.
        width: width of the converted frame, before cropping, in pixels.
        pix_fmt: libav's name of the pixel format of the converted frame.
        window: (x0, y0, x1, y1), the only part to convert, in pixels of the converted frame; it
            requires the file's own height and width. By default, everything.

    Attributes:
        origin: (x, y) of the converted frame in the whole, in pixels: with a window, the converted
            part is somewhat larger.
    """

    def __init__(
        self,
        file: MediaFile,
        height: int,
        width: int,
        pix_fmt: str = "rgb24",
        window: Window | None = None,
    ) -> None:
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
        upright = frame.width, frame.height
        upright = upright[::-1] if first.quarter_turns % 2 else upright
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
    """Return a function that converts a decoded frame to upright RGB, uint8 (H, W, 3).

    The arguments are those of :class:`FrameConverter`.
    """
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
