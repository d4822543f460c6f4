import numpy as np
import pytest

from ava_tools.charts.image_sheet import (
    BACKGROUND_COLOR,
    GAP,
    LINE,
    MARGIN,
    TEXT_FONT,
    Item,
    draw_boxes,
    draw_sheet,
    wrap_text,
)
from ava_tools.support.visualizer import COLORS


def plain(value: int, height: int, width: int) -> np.ndarray:
    return np.full((height, width, 3), value, np.uint8)


def test_positions_of_images_strips_and_colours():
    first = Item(
        "title",
        [plain(10, 30, 200), plain(20, 40, 200)],
        [[(None, "left")], [(0, "first"), (1, "second")]],
        [plain(30, 12, 7)],
    )
    sheet = np.asarray(draw_sheet([first, Item("", [plain(40, 5, 50)])]))
    top = MARGIN + LINE + GAP
    assert sheet.shape[1] == 2 * MARGIN + 400 + GAP
    assert (sheet[top : top + 30, MARGIN : MARGIN + 200] == 10).all()
    assert (sheet[top : top + 40, MARGIN + 200 + GAP : -MARGIN] == 20).all()
    strip = top + 40 + GAP
    assert (sheet[strip : strip + 12, MARGIN:-MARGIN] == 30).all()
    text = strip + 12 + GAP
    half = MARGIN + 200 + GAP // 2
    for row in range(2):
        assert sheet[text + row * LINE + 10, half + 5].tolist() == list(COLORS[row])
    assert (sheet[text : text + LINE, MARGIN : MARGIN + 100] < 100).any()  # the word "left"
    second = text + 2 * LINE + MARGIN + LINE + GAP
    assert (sheet[second : second + 5, MARGIN : MARGIN + 50] == 40).all()
    assert sheet.shape[0] == second + 5 + GAP + MARGIN
    assert (sheet[:MARGIN] == BACKGROUND_COLOR).all()


def test_boxes_without_words():
    frame = plain(77, 48, 96)
    drawn = draw_boxes(frame, np.array([[10, 10, 40, 40.0]]), 192)
    assert drawn.shape == (96, 192, 3)
    assert drawn[20, 20:80].tolist() == [list(COLORS[0])] * 60
    assert (drawn[26:74, 26:74] == 77).all()
    assert (draw_boxes(frame, np.zeros((0, 4)), 96) == 77).all()


@pytest.mark.parametrize("width", [40, 90, 300])
def test_long_lines_are_broken_between_words(width):
    text = "carry/hold (an object), talk to (e.g., self, a person, a group) 0.93"
    lines = wrap_text(text, TEXT_FONT, width)
    assert " ".join(lines) == text
    assert all(TEXT_FONT.getlength(line) <= width or " " not in line for line in lines)
