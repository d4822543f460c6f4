from pathlib import Path

import cv2
import numpy as np
import pytest

from ava_tools.sync.similarity_chart import BEST, CURVE, draw_similarity


def draw(path: Path, similarity: np.ndarray, best: float | None = None) -> np.ndarray:
    """(H, W, 3) int RGB."""
    shifts = np.linspace(-1, 1, similarity.shape[1])
    draw_similarity(shifts, similarity, str(path), title="a $ b\nno clear peak", best=best)
    return cv2.imread(str(path))[..., ::-1].astype(int)


def painted(image: np.ndarray, color: str) -> np.ndarray:
    """(N, 2) rows and columns of the pixels of about that colour."""
    rgb = [int(color[i : i + 2], 16) for i in (1, 3, 5)]
    return np.argwhere(abs(image - rgb).max(axis=2) < 8)


@pytest.fixture
def similarity() -> np.ndarray:
    """(3, 41), the peak at 0.5; some of it unknown, a whole column too."""
    shifts = np.linspace(-1, 1, 41)
    curves = np.exp(-((shifts - 0.5) ** 2) / 0.02) + np.array([[-0.1], [0.0], [0.1]])
    curves[0, 30:] = np.nan
    curves[:, 3] = np.nan
    return curves


def test_the_curve_has_its_peak_where_it_is_marked(tmp_path, similarity):
    image = draw(tmp_path / "sync.png", similarity, best=0.5)
    curve, mark = painted(image, CURVE), painted(image, BEST)
    assert len(np.unique(curve[:, 1])) > image.shape[1] / 2
    top = curve[curve[:, 0] == curve[:, 0].min(), 1].mean()
    assert mark[:, 1].mean() == pytest.approx(top, abs=image.shape[1] * 0.02)
    middle, span = curve[:, 1].min() / 2 + curve[:, 1].max() / 2, np.ptp(curve[:, 1])
    assert (mark[:, 1].mean() - middle) / span == pytest.approx(0.25, abs=0.02)


def test_nothing_is_marked_without_a_clear_peak(tmp_path, similarity):
    assert len(painted(draw(tmp_path / "sync.png", similarity), BEST)) == 0
