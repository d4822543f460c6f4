"""Decoded pictures as RGB arrays: upright, and scaled or a part of them."""

from collections.abc import Callable, Sequence

import av
import numpy as np

# libav's filters that turn a picture by so many quarters, counter-clockwise.
_TURNS = {
    0: [],
    1: [("transpose", "cclock")],
    2: [("hflip", None), ("vflip", None)],
    3: [("transpose", "clock")],
}


def picture_converter(
    stream: av.VideoStream,
    height: int,
    width: int,
    *,
    quarter_turns: int = 0,
    threads: int = 1,
    filters: Sequence[tuple[str, str]] = (),
) -> Callable[[av.VideoFrame], np.ndarray]:
    """Decoded frame to uint8 (height, width, 3) RGB as shown, with ffmpeg's own filters.

    Args:
        quarter_turns: counter-clockwise, to show frames upright.
        filters: of the upright frame, before it is scaled; names and arguments.
    """
    graph = av.filter.Graph()
    # Threads of its own would make a forked loader worker that frees it wait for them forever.
    graph.threads = threads
    nodes = [
        graph.add_buffer(template=stream),
        *(graph.add(*node) for node in (*_TURNS[quarter_turns], *filters)),
        graph.add("scale", w=str(width), h=str(height), threads=str(threads)),
        graph.add("format", "rgb24"),
        graph.add("buffersink"),
    ]
    graph.link_nodes(*nodes).configure()

    def convert(frame: av.VideoFrame) -> np.ndarray:
        graph.push(frame)
        return graph.pull().to_ndarray()

    return convert


def window_converter(
    stream: av.VideoStream,
    height: int,
    width: int,
    window: tuple[int, int, int, int],
    *,
    quarter_turns: int = 0,
    threads: int = 1,
) -> Callable[[av.VideoFrame], np.ndarray]:
    """Decoded frame to the part (x0, y0, x1, y1) of what ``picture_converter`` makes of it.

    Args:
        height, width: of the whole frame, upright.
    """
    x0, y0, x1, y1 = window
    left, right = _with_margin(x0, x1, width)
    top, bottom = _with_margin(y0, y1, height)
    convert = picture_converter(
        stream,
        bottom - top,
        right - left,
        quarter_turns=quarter_turns,
        threads=threads,
        filters=[("crop", f"{right - left}:{bottom - top}:{left}:{top}:exact=1")],
    )
    return lambda frame: convert(frame)[y0 - top : y1 - top, x0 - left : x1 - left]


def _with_margin(start: int, stop: int, end: int) -> tuple[int, int]:
    """A range of pixels, widened so that its colours are those that it has in the whole, up to
    ``end``: a chroma sample is of up to 4 pixels, in some formats it is interpolated by a filter of
    4 samples, and that of an odd number of pixels is stretched."""
    if end % 2:
        return 0, end
    return max(start - 8, 0) // 4 * 4, min(-(-(stop + 8) // 4) * 4, end)
