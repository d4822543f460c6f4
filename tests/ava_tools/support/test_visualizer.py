"""Boxes, labels, spectrogram and playhead are at the right pixels."""

import math

import numpy as np
import pytest
import torch
from detectron2.structures import Boxes, Instances

from ava_tools.support.visualizer import COLORS, _overlap, _place, draw_clip_frame, draw_logmel

NAMES = ["sit", "stand", "talk to (a person)"]
SILENCE = np.full((32, 20), math.log(1e-8), np.float32)  # (T_a, F)


def persons(image_size, boxes, scores) -> Instances:
    instances = Instances(image_size)
    instances.pred_boxes = Boxes(torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4))
    instances.action_scores = torch.tensor(scores).reshape(-1, len(NAMES))
    return instances


def is_color(pixels: np.ndarray, color: tuple[int, int, int]) -> np.ndarray:
    return (pixels == np.array(color, np.uint8)).all(axis=-1)


@pytest.mark.parametrize(
    ("frame_size", "drawn_size"),
    [
        ((90, 160), (360, 640)),
        ((480, 720), (480, 720)),
        ((33, 65), (330, 650)),
        ((9, 641), (10, 642)),
    ],
)
def test_size_and_strip(frame_size, drawn_size):
    frame = np.zeros((*frame_size, 3), np.uint8)
    assert draw_clip_frame(frame, None, NAMES).shape == (*drawn_size, 3)
    drawn = draw_clip_frame(frame, None, NAMES, SILENCE)
    strip = max(64, drawn_size[0] // 5)
    assert drawn.shape == (drawn_size[0] + strip, drawn_size[1], 3)
    assert drawn.dtype == np.uint8
    assert not drawn[: drawn_size[0]].any()
    np.testing.assert_array_equal(
        drawn[drawn_size[0] :], draw_logmel(SILENCE, drawn_size[1], strip)
    )


def test_nothing_is_changed_that_was_given():
    frame = np.random.default_rng(0).integers(0, 256, (480, 640, 3), np.uint8)
    boxes = [[100, 100, 200, 300]]
    instances = persons((480, 640), boxes, [[0.1, 0.9, 0.5]])
    before = frame.copy()
    drawn = draw_clip_frame(frame, instances, NAMES)
    assert (drawn != before).any()
    np.testing.assert_array_equal(frame, before)
    np.testing.assert_array_equal(instances.pred_boxes.tensor, torch.tensor(boxes))


@pytest.mark.parametrize("image_size", [(120, 160), (60, 80)])
def test_box_edges(image_size):
    """Boxes are in pixels of the frame, or of an image of half its size."""
    frame = np.full((120, 160, 3), 77, np.uint8)
    unit = image_size[0] / 120
    boxes = np.array([[20, 30, 60, 90], [100, 50, 140, 110]]) * unit
    drawn = draw_clip_frame(frame, persons(image_size, boxes, [[0.0] * 3] * 2), NAMES)
    assert drawn.shape == (480, 640, 3)
    for (x1, y1, x2, y2), color in zip(boxes / unit * 4, COLORS, strict=False):
        x1, y1, x2, y2 = int(x1), int(y1), int(x2), int(y2)
        for edge in (
            drawn[y1, x1 : x2 + 1],
            drawn[y2, x1 : x2 + 1],
            drawn[y1 : y2 + 1, x1],
            drawn[y1 : y2 + 1, x2],
        ):
            assert is_color(edge, color).all()
        assert (drawn[y1 + 4 : y2 - 4, x1 + 4 : x2 - 4] == 77).all()  # no score, no label
    background = ~(is_color(drawn, COLORS[0]) | is_color(drawn, COLORS[1]))
    assert (drawn[background] == 77).all()


def test_a_box_that_leaves_the_frame_is_drawn_at_its_border():
    frame = np.zeros((480, 640, 3), np.uint8)
    drawn = draw_clip_frame(frame, persons((480, 640), [[-50, -9, 700, 500]], [[0.0] * 3]), NAMES)
    for edge in (drawn[0], drawn[-1], drawn[:, 0], drawn[:, -1]):
        assert is_color(edge, COLORS[0]).all()


def test_labels_hold_the_top_actions_only():
    frame = np.full((480, 640, 3), 200, np.uint8)

    def label_pixels(scores, **kwargs):
        instances = persons((480, 640), [[200, 200, 400, 400]], [scores])
        drawn = draw_clip_frame(frame, instances, NAMES, **kwargs)
        return np.count_nonzero((drawn == 50).all(axis=-1))  # the panel: a quarter of 200

    none = label_pixels([0.1, 0.2, 0.29])
    one, two = label_pixels([0.1, 0.9, 0.2]), label_pixels([0.5, 0.9, 0.2])
    assert none == 0
    assert one > 500
    assert two > 1.5 * one
    assert label_pixels([0.5, 0.9, 0.2], max_actions=1) == one
    assert label_pixels([0.1, 0.9, 0.2], min_score=0.95) == 0


def test_labels_avoid_other_persons_and_labels():
    def place(person, others=(), labels=()):
        costs = [(1, person), *((2, other) for other in others), *((10, x) for x in labels)]
        return _place(person, 60, 40, 640, 480, costs)

    alone = place((100, 100, 200, 300))
    assert alone == (100, 60, 160, 100)  # above
    above = (90, 0, 300, 99)
    below = place((100, 100, 200, 300), [above])
    assert below == (100, 300, 160, 340)
    beside = place((100, 100, 200, 300), [above], [below])
    assert beside == (200, 100, 260, 140)
    # A person who fills the frame: inside the own box, and inside the frame.
    assert place((0, 0, 640, 480)) == (0, 0, 60, 40)


def test_overlap():
    assert _overlap((0, 0, 10, 10), (5, 8, 20, 20)) == 5 * 2
    assert _overlap((0, 0, 10, 10), (10, 0, 20, 10)) == 0


def test_spectrogram_orientation_and_scale():
    logmel = SILENCE.copy()
    logmel[16:, 0] = 4.0  # the lowest band, in the second half
    strip = draw_logmel(torch.from_numpy(logmel), 320, 200).astype(int).sum(axis=-1)
    dark = draw_logmel(SILENCE, 8, 8).astype(int).sum(axis=-1)
    assert dark.max() < 30
    assert strip[-1, 170:].min() > 450
    assert strip[-1, :150].max() == strip[:180].max() == dark.max()
    np.testing.assert_array_equal(draw_logmel(SILENCE - 50, 8, 8), draw_logmel(SILENCE, 8, 8))


@pytest.mark.parametrize(("playhead", "column"), [(0.0, 0), (0.5, 160), (1.0, 319), (7.0, 319)])
def test_playhead(playhead, column):
    strip = draw_logmel(SILENCE, 320, 64, playhead)
    assert (strip[:, column] == 255).all()
    assert np.count_nonzero((strip[0] == 255).all(axis=-1)) <= 3


def test_no_person_in_the_frame():
    frame = np.full((480, 640, 3), 9, np.uint8)
    np.testing.assert_array_equal(draw_clip_frame(frame, persons((480, 640), [], []), NAMES), frame)
