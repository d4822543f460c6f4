"""Drawings on frames in YUV 4:2:0, as decoders give and encoders take them.

A frame is uint8 (H * 3 / 2, W): the planes Y (H, W), U and V (H / 2, W / 2), one below the other,
in limited range. Neither the frame nor the drawing is converted from frame to frame.
"""

from collections.abc import Callable

import cv2
import numpy as np

from avsf_det.data.video import SequentialVideoReader
from avsf_det.data.video.container import MediaFile
from avsf_det.data.video.reader import Convert, FrameConverter, Window

BT709 = 1  # libav's number of the colour matrix of HD video
_BLUE_RED = {True: (0.0722, 0.2126), False: (0.114, 0.299)}  # weights in Y, of BT.709, BT.601
_OFFSETS = 16.0, 128.0, 128.0  # Y, U, V of black
_MIN_WIDTH = 640
_ONE = 256  # fixed-point 1 of overlays


class YUVReader(SequentialVideoReader):
    """Reader whose frames are YUV images of one size.

    Attributes:
        size: (height, width) of the frames, both even.
        matrix: (3, 3), from RGB in 0..255 to Y, U, V without their offsets.

    Args:
        path: path of the file.
        max_height: see :func:`drawn_size`.
    """

    def __init__(self, path: str, *, max_height: int = 720) -> None:
        super().__init__(path)
        self.size = drawn_size(self.height, self.width, max_height)
        self.matrix = rgb_to_yuv(self.file.video.codec_context.colorspace == BT709)
        self.make_converter = self._make_yuv_converter

    def _make_yuv_converter(
        self, file: MediaFile, height: int, width: int, window: Window | None = None
    ) -> Convert:
        converter = FrameConverter(file, *self.size, "yuv420p")
        return lambda frame: converter(frame).to_ndarray()


def drawn_size(height: int, width: int, max_height: int) -> tuple[int, int]:
    """Return the even height and width of drawn frames.

    Higher videos are scaled down to ``max_height`` rows. Narrower videos are enlarged to
    ``_MIN_WIDTH``, so that text is readable, as far as ``max_height`` allows.
    """
    scale = min(max(1.0, _MIN_WIDTH / width), max_height / height)
    return _even(height * scale), _even(width * scale)


def rgb_to_yuv(is_hd: bool) -> np.ndarray:
    """Return the matrix (3, 3) from RGB in 0..255 to Y, U, V in limited range, without offsets."""
    blue, red = _BLUE_RED[is_hd]
    luma = np.array([red, 1 - red - blue, blue])
    u = (np.array([0, 0, 1]) - luma) / (2 * (1 - blue))
    v = (np.array([1, 0, 0]) - luma) / (2 * (1 - red))
    return np.stack([219 * luma, 224 * u, 224 * v]) / 255


def planes(image: np.ndarray) -> list[np.ndarray]:
    """Return views of the planes Y (H, W), U and V (H / 2, W / 2) of an image."""
    height, width = image.shape[0] * 2 // 3, image.shape[1]
    flat, size = image.reshape(-1), height * width
    parts = flat[:size], flat[size : size * 5 // 4], flat[size * 5 // 4 :]
    sizes = (height, width), (height // 2, width // 2), (height // 2, width // 2)
    return [part.reshape(shape) for part, shape in zip(parts, sizes, strict=True)]


class Overlay:
    """Drawing that can be painted on many frames.

    Drawing functions are affine in the pixels below: canvas = keep * canvas + add. Both are found
    by drawing on black and on white; only the pixels that change are painted.

    Args:
        draw: draws into a canvas uint8 (H, W, 3) RGB, in place.
        size: (height, width) of the canvas in pixels, both even.
        matrix: see :func:`rgb_to_yuv`.
    """

    def __init__(
        self, draw: Callable[[np.ndarray], object], size: tuple[int, int], matrix: np.ndarray
    ) -> None:
        black, white = (np.full((*size, 3), level, np.uint8) for level in (0, 255))
        draw(black)
        draw(white)
        self._layers = []
        rows, columns = (np.flatnonzero(x) for x in _touched(black, white))
        if not len(rows):
            return
        # The rectangle that holds all, with even corners: a chroma sample covers 2 x 2 pixels.
        top, left = rows[0] // 2 * 2, columns[0] // 2 * 2
        part = slice(top, rows[-1] // 2 * 2 + 2), slice(left, columns[-1] // 2 * 2 + 2)
        add = black[part].astype(np.float32)
        keep = (white[part][..., 0] - add[..., 0]) / 255  # the same for R, G and B
        for channel, offset in enumerate(_OFFSETS):
            step = 1 if channel == 0 else 2
            value = add @ matrix[channel].astype(np.float32) + (1 - keep) * offset
            half = (value.shape[1] // step, value.shape[0] // step)
            kept, value = (cv2.resize(x, half, interpolation=cv2.INTER_AREA) for x in (keep, value))
            y, x = np.nonzero(kept < 1 - 1 / _ONE)
            index = (y + top // step) * (size[1] // step) + x + left // step
            factor = np.rint(kept[y, x] * _ONE).astype(np.uint16)
            # + 128 rounds; the sum stays below 2 ** 16.
            summand = np.minimum(value[y, x] * _ONE + 128, 65535 - 255.0 * factor)
            self._layers.append((index, factor, summand.astype(np.uint16)))

    def paint(self, channels: list[np.ndarray]) -> None:
        """Paint the planes of an image, in place; more rows below the canvas stay."""
        for plane, (index, keep, add) in zip(channels, self._layers, strict=False):
            flat = plane.reshape(-1)
            flat[index] = (flat[index] * keep + add) >> 8


def to_yuv(image: np.ndarray, matrix: np.ndarray) -> list[np.ndarray]:
    """Return the planes Y, U, V of an image uint8 (H, W, 3) RGB of even height and width."""
    half = image.shape[1] // 2, image.shape[0] // 2
    small = cv2.resize(image, half, interpolation=cv2.INTER_AREA)
    return [
        np.rint(rgb @ row.astype(np.float32) + offset).astype(np.uint8)
        for rgb, row, offset in zip((image, small, small), matrix, _OFFSETS, strict=True)
    ]


def _touched(black: np.ndarray, white: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return which rows and which columns of the canvases were drawn into, bool (H,) and (W,)."""
    touched = ((black != 0) | (white != 255)).reshape(len(black), -1)  # (H, 3 W)
    return touched.any(axis=1), touched.any(axis=0).reshape(-1, 3).any(axis=1)


def _even(pixels: float) -> int:
    return max(2, round(pixels / 2) * 2)
