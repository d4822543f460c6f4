from pathlib import Path

import cv2
import numpy as np
import pytest

from ava_tools.charts.class_differences import draw_class_differences


def draw(path: Path, points: list[float], **kwargs) -> np.ndarray:
    """(H, W, 3) int RGB."""
    names = [f"class ${i}$" for i in range(len(points))]
    draw_class_differences(names, points, str(path), title="after minus before", **kwargs)
    return cv2.imread(str(path))[..., ::-1].astype(int)


def painted(image: np.ndarray, color: str) -> np.ndarray:
    """Number of pixels of about that colour in each row."""
    rgb = [int(color[i : i + 2], 16) for i in (1, 3, 5)]
    return (abs(image - rgb).max(axis=2) < 8).sum(axis=1)


def test_gains_are_on_top_and_bars_are_as_long_as_their_points(tmp_path: Path):
    image = draw(tmp_path / "a.png", [-5, 20, 10])
    better, worse = painted(image, "#2a9d8f"), painted(image, "#d1495b")
    assert np.flatnonzero(better).max() < np.flatnonzero(worse).min()
    lengths = sorted(set(better[better > better.max() * 0.1].tolist()))
    assert lengths[-1] / lengths[0] == pytest.approx(2, rel=0.1)
    assert better.max() / worse.max() == pytest.approx(4, rel=0.1)


def test_only_the_greatest_differences_are_drawn(tmp_path: Path):
    points = [float(i - 50) for i in range(100)]
    few = draw(tmp_path / "few.png", points, max_bars=3)
    same = draw(tmp_path / "same.png", points[:3] + points[-3:], max_bars=3)
    everything = draw(tmp_path / "all.png", points, max_bars=50)
    assert len(few) == len(same) < len(everything)
    assert painted(few, "#2a9d8f").any() and painted(few, "#d1495b").any()
