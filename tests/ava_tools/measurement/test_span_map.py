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


def simple_video_ap(found, truth, threshold):
    """Video-AP of one action as ACT-detector, MOC and YOWO count it: frames, and free tubes only.

    A tube is (video, score, {frame: box}); of the truth without score.
    """
    free, hits = list(truth), []
    for video, _, tube in sorted(found, key=lambda f: -f[1]):
        best, which = 0.0, None
        for candidate in (c for c in free if c[0] == video):
            both = set(tube) & set(candidate[1])
            ious = []
            for frame in both:
                (a, b, c, d), (e, f, g, h) = tube[frame], candidate[1][frame]
                inner = max(0, min(c, g) - max(a, e)) * max(0, min(d, h) - max(b, f))
                ious.append(inner / ((c - a) * (d - b) + (g - e) * (h - f) - inner))
            union = len(set(tube) | set(candidate[1]))
            overlap = len(both) / union * sum(ious) / len(ious) if both else 0.0
            if overlap > best:
                best, which = overlap, candidate
        hits.append(best >= threshold)
        if hits[-1]:
            free.remove(which)
    points = [(sum(hits[: i + 1]), i + 1) for i in range(len(hits))]
    total = 0.0  # each found tube adds the best precision at its recall or above
    for recalled in range(1, sum(hits) + 1):
        total += max(tp / n for tp, n in points if tp >= recalled) / len(truth)
    return total


@pytest.mark.parametrize("seed", range(5))
def test_video_ap_of_generated_tubes(seed):
    random = np.random.default_rng(seed)
    truth, found = [], []
    for video in "pqr":
        for k in range(random.integers(1, 4)):
            start, length = random.integers(0, 20), random.integers(2, 12)
            corner = np.array([0.3 * k, 0.1, 0.3 * k + 0.25, 0.8])
            box = corner + random.normal(0, 0.01, (length, 4))
            truth.append((video, {int(start + i): b for i, b in enumerate(box)}))
            for _ in range(random.integers(0, 3)):
                first, num = start + random.integers(-2, 3), length + random.integers(0, 4)
                moved = corner + random.normal(0, 0.04, 4)
                boxes = moved + random.normal(0, 0.01, (num, 4))
                tube = {int(first + i): b for i, b in enumerate(boxes)}
                found.append((video, random.random(), tube))

    def as_tube(tube):
        return Tube(np.array(list(tube), float), np.array(list(tube.values())))

    ours = [Detected(v, "sit", as_tube(t), s) for v, s, t in found]
    annotated = [Detected(v, "sit", as_tube(t)) for v, t in truth]
    for threshold in (0.2, 0.5, 0.7):
        (ap,) = span_ap(ours, annotated, tube_iou, threshold).values()
        assert ap == pytest.approx(simple_video_ap(found, truth, threshold), abs=1e-12)
