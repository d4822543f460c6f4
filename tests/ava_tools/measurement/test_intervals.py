"""Bootstrap intervals and score thresholds against closed forms and copied rows."""

import numpy as np
import pytest

from ava_tools.measurement.intervals import (
    best_operating_point,
    bootstrap_ap,
    weighted_ap,
)
from avsf_det.evaluation.ava_map import RankedClass, average_precision, rank_detections
from avsf_det.structures import ActionBoxes


def boxes(videos: list[str], found: list[bool] | None = None) -> ActionBoxes:
    """One box of action 1 at second 1 of each video, moved away where it finds nothing."""
    left = [0.0 if found is None or hit else 0.6 for hit in found or [True] * len(videos)]
    return ActionBoxes(
        [(video, 1.0) for video in videos],
        np.arange(len(videos), dtype=np.int32),
        np.array([[x, 0, x + 0.4, 1] for x in left]),
        np.ones(len(videos), np.int32),
        np.linspace(0.9, 0.1, len(videos)),
    )


def intervals_of(videos: list[str], found: list[bool]):
    truth, detections = boxes(videos), boxes(videos, found)
    ranked, _ = rank_detections(detections, truth, {1: "sit", 2: "never"})
    return bootstrap_ap(list(ranked), detections, truth)


def test_weights_are_copies_of_rows():
    random = np.random.default_rng(0)
    for _ in range(20):
        hits, weights = random.random(30) < 0.5, random.integers(0, 4, 30)
        copied = average_precision(np.repeat(hits, weights), 50)
        assert weighted_ap(hits, weights, 50) == pytest.approx(copied, abs=1e-12)


def test_interval_of_a_perfect_and_of_a_mixed_class():
    videos = [f"v{i}" for i in range(8)]
    perfect = intervals_of(videos, [True] * 8)
    assert perfect.unit == "videos" and perfect.mean_ap == (1.0, 1.0)
    assert perfect.ap[0].tolist() == [1.0, 1.0] and np.isnan(perfect.ap[1]).all()
    low, high = intervals_of(videos, [True, False] * 4).mean_ap
    ap = average_precision(np.array([True, False] * 4), 8)
    assert 0 <= low < ap < high <= 1
    # With 16 times as many videos the interval is about a quarter as wide.
    many = [f"v{i:03}" for i in range(128)]
    narrow = intervals_of(many, [True, False] * 64).mean_ap
    assert 0.15 < (narrow[1] - narrow[0]) / (high - low) < 0.4


def test_few_videos_are_resampled_by_keyframe():
    assert intervals_of(["a", "b"], [True, False]).unit == "keyframes"


def test_threshold_of_best_f1():
    found = np.array([0, 1, -1, 2, -1])
    ranked = RankedClass(1, "sit", np.arange(4), np.arange(5), found)
    point = best_operating_point(ranked, np.array([0.9, 0.8, 0.7, 0.6, 0.5]))
    assert point == pytest.approx((0.6, 3 / 4, 3 / 4, 3 / 4))
    # Equal scores cannot be divided: the wrong detection at 0.6 comes along.
    tied = best_operating_point(ranked, np.array([0.9, 0.8, 0.7, 0.6, 0.6]))
    assert tied == pytest.approx((0.8, 1, 2 / 4, 2 / 3))
    assert best_operating_point(empty(), np.ones(5)) is None


def empty() -> RankedClass:
    return RankedClass(1, "sit", np.arange(0), np.arange(5), np.full(5, -1))
