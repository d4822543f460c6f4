"""Kinds of errors and confusions of boxes that are counted by hand."""

import numpy as np
import pytest

from ava_tools.report_page.errors import KINDS, analyze_errors, precision_recall
from avsf_det.evaluation.ava_map import average_precision, rank_detections
from avsf_det.structures import ActionBoxes

A, B, C = 1, 2, 3
LABELS = {A: "sit", B: "talk", C: "sing"}
LEFT, RIGHT = (0.0, 0.0, 0.4, 1.0), (0.6, 0.0, 1.0, 1.0)
HALF_OFF = (0.2, 0.0, 0.6, 1.0)  # IoU with LEFT 1 / 3, with RIGHT 0


def columns(*entries: tuple) -> ActionBoxes:
    """(second, box, action[, score]) of video "v"."""
    keyframes = list(dict.fromkeys(("v", float(e[0])) for e in entries))
    return ActionBoxes(
        keyframes,
        np.array([keyframes.index(("v", float(e[0]))) for e in entries], np.int32),
        np.array([e[1] for e in entries], np.float64).reshape(-1, 4),
        np.array([e[2] for e in entries], np.int32),
        np.array([e[3] if len(e) > 3 else 1 for e in entries], np.float64),
    )


def analyze(detections: ActionBoxes, truth: ActionBoxes):
    ranked, _ = rank_detections(detections, truth, LABELS)
    return analyze_errors(list(ranked), detections, truth)


def test_each_kind_of_error():
    truth = columns(*[(second, LEFT, A) for second in range(5)], (1, RIGHT, B), (9, LEFT, B))
    detections = columns(
        (0, LEFT, A, 0.9),  # correct
        (0, (0.0, 0.0, 0.4, 0.9), A, 0.8),  # duplicate: 0 s is matched already
        (1, RIGHT, A, 0.7),  # on the person who talks
        (2, HALF_OFF, A, 0.6),
        (3, RIGHT, A, 0.5),  # nobody there
        (4, LEFT, A, 0.4),  # correct, but behind five others, as many as there are boxes
        (3, LEFT, A, 0.3),
    )
    result = analyze(detections, truth)
    assert result.classes[0].counts.tolist() == [1, 1, 1, 1, 1]
    names = [list(KINDS)[k] for k in result.classes[0].kind]
    assert names == ["correct", "duplicate", "wrong class", "bad localisation", "background"]
    # The lowest score first, then what nothing finds.
    missed = [truth.keyframes[truth.keyframe[row]][1] for row in result.classes[0].missed]
    assert missed == [3, 4, 1, 2]
    assert result.confusions.tolist() == [[1, 0, 0], [1, 0, 0], [0, 0, 0]]  # talk taken for sit
    assert result.missed_alone.tolist() == [4, 1, 0]
    assert result.no_box.tolist() == [2, 1, 0]
    assert result.added.tolist() == [0, 0, 0]


def test_a_confusion_needs_a_missed_box():
    """The left person sits and talks; predicted are sit and sing. The right person sits; predicted
    are sit, talk and sing, and nothing was missed."""
    truth = columns((1, LEFT, A), (1, LEFT, B), (1, RIGHT, A), (2, LEFT, C), (3, LEFT, C))
    detections = columns(
        (1, LEFT, A, 0.9),
        (1, RIGHT, A, 0.8),
        (1, LEFT, C, 0.9),
        (1, RIGHT, C, 0.8),
        (1, LEFT, B, 0.1),
        (1, RIGHT, B, 0.2),
        (2, LEFT, C, 0.05),
    )
    result = analyze(detections, truth)
    # [true, predicted]: sit was matched twice; talk was predicted as sing at the left.
    assert result.confusions.tolist() == [[2, 0, 0], [0, 0, 1], [0, 0, 0]]
    assert result.added.tolist() == [0, 1, 1]  # talk and sing of the right person
    assert result.missed_alone.tolist() == [0, 0, 2]
    assert result.no_box.tolist() == [0, 0, 1]


def random_columns(rng, num: int, scored: bool) -> ActionBoxes:
    corners = rng.integers(0, 3, (num, 2)) / 4
    entries = zip(
        rng.integers(0, 12, num),
        np.hstack([corners, corners + 0.3 + rng.uniform(0, 0.1, (num, 1))]),
        rng.integers(1, 4, num),
        rng.permutation(num) / num if scored else np.ones(num),
        strict=True,
    )
    return columns(*entries)


@pytest.mark.parametrize("seed", range(3))
def test_totals_agree(seed):
    """However boxes lie: each prediction has one kind, each box is found or missed."""
    rng = np.random.default_rng(seed)
    truth, detections = random_columns(rng, 60, False), random_columns(rng, 150, True)
    result = analyze(detections, truth)
    for i, c in enumerate(result.classes):
        num = len(c.ranked.ground_truth)
        assert c.counts.sum() == len(c.kind) == min(num, len(c.ranked.detections))
        hits = int((c.ranked.found[: len(c.kind)] >= 0).sum())
        assert c.counts[0] == result.confusions[i, i] == hits
        assert len(c.missed) == len(set(c.missed.tolist())) == num - hits
        assert result.missed_alone[i] + result.confusions[i].sum() >= num


def test_area_under_the_corners_is_the_average_precision():
    rng = np.random.default_rng(0)
    truth, detections = random_columns(rng, 60, False), random_columns(rng, 150, True)
    ranked, _ = rank_detections(detections, truth, LABELS)
    for c in ranked:
        corners = precision_recall(c)
        widths = np.diff(corners[:, 0], prepend=0)
        expected = average_precision(c.found >= 0, len(c.ground_truth))
        assert widths @ corners[:, 1] == pytest.approx(expected)
        assert (np.diff(corners[:, 1]) < 0).all()
        few = precision_recall(c, max_points=3)
        np.testing.assert_array_equal(few[[0, -1]], corners[[0, -1]])
        assert len(few) == min(3, len(corners))
