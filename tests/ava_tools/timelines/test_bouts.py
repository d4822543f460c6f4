"""Bouts of scores that are written by hand."""

import numpy as np
import pytest

from ava_tools.timelines.bouts import Bout, BoutRules, Track, find_bouts
from avsf_det.structures import AVSFError


def bouts_of(scores, rules, seconds=None, step=1.0):
    seconds = np.arange(len(scores)) if seconds is None else np.array(seconds)
    track = Track("v", "7", seconds * 1.0, np.array(scores, float)[:, None])
    return [(b.start, b.end) for b in find_bouts([track], ["wave"], rules, step)]


RULES = BoutRules(threshold=0.6, release=0.5)


def test_hysteresis():
    # Reaches 0.6 at 2 s and stays above 0.3 until 5 s. The score at 8 s never reaches 0.6.
    scores = [0.1, 0.4, 0.7, 0.9, 0.35, 0.5, 0.2, 0.1, 0.55, 0.0]
    assert bouts_of(scores, RULES) == [(0.5, 5.5)]
    (bout,) = find_bouts(
        [Track("v", "7", np.arange(10.0), np.array(scores)[:, None])], ["wave"], RULES
    )
    assert bout[:3] == ("v", "7", "wave")
    assert (bout.mean, bout.peak) == (pytest.approx(np.mean(scores[1:6])), 0.9)


def test_start_and_end_of_the_video_and_other_rates():
    assert bouts_of([0.9], RULES) == [(0.0, 0.5)]
    assert bouts_of([0.9, 0.9, 0.0, 0.9], RULES, [0, 0.2, 0.4, 0.6], step=0.2) == [
        (0.0, pytest.approx(0.3)),
        (pytest.approx(0.5), pytest.approx(0.7)),
    ]


def test_a_person_who_leaves_ends_the_bout():
    assert bouts_of([0.9, 0.9, 0.9], RULES, [1, 2, 6]) == [(0.5, 2.5), (5.5, 6.5)]


def test_gaps_are_joined_and_short_bouts_dropped():
    scores = [0.9, 0.9, 0.0, 0.9, 0.0, 0.0, 0.0, 0.9, 0.0]
    assert bouts_of(scores, RULES) == [(0.0, 1.5), (2.5, 3.5), (6.5, 7.5)]
    joined = BoutRules(threshold=0.6, release=0.5, max_gap=1.0, min_length=1.5)
    assert bouts_of(scores, joined) == [(0.0, 3.5)]


def test_smoothing_removes_a_single_keyframe():
    rules = BoutRules(threshold=0.5, release=1.0, smoothing=3)
    assert bouts_of([0, 0, 0.9, 0, 0, 0.9, 0.9, 0.9, 0], rules) == [(4.5, 7.5)]
    assert bouts_of([0.9, 0.9], BoutRules(smoothing=99)) == [(0.0, 1.5)]


def test_thresholds_per_action():
    scores = np.full((3, 2), 0.4)
    rules = BoutRules(thresholds={"sit": 0.3})
    (bout,) = find_bouts([Track("v", "0", np.arange(3.0), scores)], ["sit", "wave"], rules)
    assert bout == Bout("v", "0", "sit", 0.0, 2.5, pytest.approx(0.4), 0.4)


def test_no_keyframes():
    assert list(find_bouts([Track("v", "0", np.zeros(0), np.zeros((0, 1)))], ["sit"], RULES)) == []


@pytest.mark.parametrize(
    "wrong", [{"threshold": 0}, {"smoothing": 2}, {"max_gap": -1}, {"thresholds": {"sit": 1.5}}]
)
def test_rules_out_of_range(wrong):
    with pytest.raises(AVSFError, match="out of range"):
        BoutRules(**wrong)
