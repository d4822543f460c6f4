"""Moving backgrounds: a soft, dim texture that scrolls behind the figures."""

from dataclasses import dataclass

import cv2
import numpy as np

_TILE = 256  # pixels; the texture repeats with this period in x and y


@dataclass(frozen=True)
class Background:
    """A texture and its motion.

    Attributes:
        seed: seed of the texture.
        velocity: x and y, pixels per second.
        tint: mean colour of a texture of low contrast, RGB 0..255; None for a random dim colour.
    """

    seed: int
    velocity: tuple[float, float]
    tint: tuple[int, int, int] | None = None


def render_texture(background: Background) -> np.ndarray:
    """Return blobs of several sizes in muted colours.

    Returns:
        (512, 512, 3) uint8 RGB: a tile of 256 x 256 pixels, repeated 2 x 2 times, so that each crop
        of up to one tile is contiguous.
    """
    rng = np.random.default_rng(background.seed)
    tile = np.full((_TILE, _TILE, 3), rng.uniform(90, 150, 3), np.float32)
    contrast = 1.0
    if background.tint is not None:
        tile[:], contrast = background.tint, 0.4
    for cells, strength in ((4, 26 * contrast), (12, 18 * contrast), (32, 16 * contrast)):
        grid = rng.uniform(-strength, strength, (cells, cells, 3)).astype(np.float32)
        grid = 0.4 * grid + 0.6 * grid.mean(2, keepdims=True)
        # Enlarged with a wrapped border, the tile has no visible seam.
        wrapped = cv2.copyMakeBorder(grid, 2, 2, 2, 2, cv2.BORDER_WRAP)
        scale = _TILE // cells + 1
        smooth = cv2.resize(wrapped, None, fx=scale, fy=scale, interpolation=cv2.INTER_CUBIC)
        inner = smooth[2 * scale : -2 * scale, 2 * scale : -2 * scale]
        tile += cv2.resize(inner, (_TILE, _TILE), interpolation=cv2.INTER_AREA)
    return np.tile(np.clip(tile, 0, 255).astype(np.uint8), (2, 2, 1))


def crop_background(
    texture: np.ndarray, background: Background, t: float, size: tuple[int, int]
) -> np.ndarray:
    """Return the visible part of a texture at a time.

    Args:
        texture: result of :func:`render_texture`.
        background: background of that texture.
        t: time, seconds.
        size: height and width in pixels, each at most one tile.

    Returns:
        (height, width, 3) uint8 RGB.
    """
    height, width = size
    x, y = ((speed * t) % _TILE for speed in background.velocity)
    centre = (x + (width - 1) / 2, y + (height - 1) / 2)
    return cv2.getRectSubPix(texture, (width, height), centre)
