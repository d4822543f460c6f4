"""AP and F1 of spans and tubes that are counted by hand."""

import numpy as np
import pytest

from ava_tools.measurement.span_map import (
    Detected,
    Tube,
    span_ap,
    span_f1,
    time_iou,
    tube_iou,
)


def test_overlap_in_time():
    assert time_iou((0, 4), (2, 6)) == pytest.approx(2 / 6)
    assert time_iou((0, 1), (1, 2)) == 0
    assert time_iou((1, 3), (1, 3)) == 1


def test_overlap_of_tubes():
    box, moved = [0.0, 0.0, 0.4, 1.0], [0.2, 0.0, 0.6, 1.0]  # IoU 1/3
    a = Tube(np.arange(4.0), np.array([box] * 4))
    b = Tube(np.arange(2.0, 6.0), np.array([box, moved, box, box]))
    # 2 common times of 6; there the boxes overlap by 1 and 1/3.
    assert tube_iou(a, b) == pytest.approx(2 / 6 * (1 + 1 / 3) / 2)
    assert tube_iou(a, a) == 1
    assert tube_iou(a, Tube(np.array([9.0]), np.array([box]))) == 0


TRUTH = [
    Detected("v", "wave", (0, 4)),
    Detected("v", "wave", (10, 14)),
    Detected("w", "wave", (0, 4)),
    Detected("v", "sit", (0, 10)),
]
FOUND = [
    Detected("v", "wave", (0, 3.5), 0.9),  # IoU 0.875
    Detected("v", "wave", (0, 4), 0.8),  # a second one of the same bout
    Detected("w", "wave", (10, 14), 0.7),  # nothing there in this video
    Detected("v", "wave", (11, 15), 0.6),  # IoU 3 / 5
    Detected("v", "sing", (0, 4), 0.9),  # not annotated
]


@pytest.mark.parametrize(
    ("threshold", "wave"),
    # Hits by rank: 1 0 0 1 -> precision 1 and 2/4; at 0.7: 1 0 0 0; at 0.9: 0 1 0 0.
    [(0.5, (1 + 1 / 2) / 3), (0.7, 1 / 3), (0.9, (1 / 2) / 3)],
)
def test_ap_of_spans(threshold, wave):
    result = span_ap(FOUND, TRUTH, time_iou, threshold)
    assert result == pytest.approx({"sit": 0.0, "wave": wave})


def test_f1_of_spans():
    result = span_f1(FOUND, TRUTH, time_iou, 0.5)
    assert result == pytest.approx({"sit": 0.0, "wave": 2 * 2 / (4 + 3)})


def test_perfect_tubes():
    tube = Tube(np.arange(3.0), np.tile([0.0, 0, 1, 1], (3, 1)))
    truth = [Detected("v", "sit", tube)]
    assert span_ap(truth, truth, tube_iou, 1.0) == {"sit": 1.0}
    assert span_ap([], truth, tube_iou, 0.5) == {"sit": 0.0}
