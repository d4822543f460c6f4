"""Moving backgrounds: a soft, dim texture that scrolls behind the figures."""

from dataclasses import dataclass

import cv2
import numpy as np

_TILE = 256  # pixels; the texture repeats with this period in x and y


@dataclass(frozen=True)
class Backdrop:
    """A texture and its motion. ``velocity`` (x, y) in pixels / second; ``tint`` RGB, 0..255, the
    mean colour of a calmer texture, or None: a random dim one."""

    seed: int
    velocity: tuple[float, float]
    tint: tuple[int, int, int] | None = None


def paint_texture(backdrop: Backdrop) -> np.ndarray:
    """Blobs of several sizes in muted colours: (512, 512, 3) uint8 RGB, the tile 2 x 2 times."""
    rng = np.random.default_rng(backdrop.seed)
    tile = np.full((_TILE, _TILE, 3), rng.uniform(90, 150, 3), np.float32)
    contrast = 1.0
    if backdrop.tint is not None:
        tile[:], contrast = backdrop.tint, 0.4
    for cells, strength in ((4, 26 * contrast), (12, 18 * contrast), (32, 16 * contrast)):
        grid = rng.uniform(-strength, strength, (cells, cells, 3)).astype(np.float32)
        grid = 0.4 * grid + 0.6 * grid.mean(2, keepdims=True)
        wrapped = cv2.copyMakeBorder(grid, 2, 2, 2, 2, cv2.BORDER_WRAP)
        scale = _TILE // cells + 1
        smooth = cv2.resize(wrapped, None, fx=scale, fy=scale, interpolation=cv2.INTER_CUBIC)
        inner = smooth[2 * scale : -2 * scale, 2 * scale : -2 * scale]
        tile += cv2.resize(inner, (_TILE, _TILE), interpolation=cv2.INTER_AREA)
    return np.tile(np.clip(tile, 0, 255).astype(np.uint8), (2, 2, 1))


def view(texture: np.ndarray, backdrop: Backdrop, t: float, size: tuple[int, int]) -> np.ndarray:
    """The background at ``t`` seconds, (height, width, 3) uint8; ``size`` = (height, width), at
    most one tile."""
    height, width = size
    x, y = ((speed * t) % _TILE for speed in backdrop.velocity)
    centre = (x + (width - 1) / 2, y + (height - 1) / 2)
    return cv2.getRectSubPix(texture, (width, height), centre)
