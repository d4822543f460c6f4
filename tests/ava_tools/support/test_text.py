"""Names in any script: from a font that has the characters, in the right place, or reported."""

import logging

import cv2
import numpy as np
import pytest
from detectron2.structures import Boxes, Instances
from PIL import Image, ImageDraw
from torch import tensor

from ava_tools.support import text as text_module
from ava_tools.support.text import TextFont, draw_text, find_font_files, measure_text
from ava_tools.support.visualizer import draw_clip_frame

CHINESE = "\u8d70\u8def"
HINDI = "\u0939\u093f"
NAMES = {
    "Cyrillic": "\u0411\u0435\u0433 \u0438 \u043f\u0440\u044b\u0436\u043e\u043a",
    "Greek": "\u03c4\u03c1\u03ad\u03c7\u03c9",
    "Arabic": "\u062a\u062d\u062f\u062b",
    "Latin": "\u00e9\u00df\u0142\u0151",
}


@pytest.fixture(autouse=True)
def nothing_found_yet(monkeypatch):
    monkeypatch.setattr(text_module, "_file_of", {})
    monkeypatch.setattr(text_module, "_reported", set())
    for function in vars(text_module).values():
        if hasattr(function, "cache_clear"):
            function.cache_clear()


@pytest.fixture
def only_dejavu(monkeypatch):
    """OpenCV 4 on a system without fonts."""
    monkeypatch.delattr(cv2, "FontFace", raising=False)
    monkeypatch.setattr(text_module, "_installed_files", lambda: [])


def drawn(text: str, scale: float = 1.0) -> np.ndarray:
    """Mask of the text's pixels, (60, 400)."""
    image = np.zeros((60, 400, 3), np.uint8)
    draw_text(image, text, (10, 40), scale, (255, 128, 0))
    assert not (image[..., 2]).any()
    return image[..., 0]


@pytest.mark.parametrize("name", NAMES.values(), ids=NAMES)
def test_each_character_is_drawn_by_the_font_that_comes_with_matplotlib(only_dejavu, caplog, name):
    letters = [c for c in name if c != " "]
    masks = {drawn(letter).tobytes() for letter in letters}
    assert len(masks) == len(set(letters))
    assert drawn("\u25a1").tobytes() not in masks  # none is the square of a missing one
    assert caplog.records == []


@pytest.mark.parametrize("text", ["sit 0.93", "\u0411\u0435\u0433 0.93", CHINESE])
@pytest.mark.parametrize("scale", [0.5, 1.0, 1.3])
def test_measured_size_holds_what_is_drawn(text, scale):
    width, above, below = measure_text(text, scale)
    rows, columns = drawn(text, scale).nonzero()
    # OpenCV widens some letters by its smoothing.
    assert 40 - above - 2 <= rows.min() and rows.max() <= 40 + below + 1
    assert 10 - 2 <= columns.min() and columns.max() <= 10 + width + 2
    assert columns.max() - columns.min() > 0.6 * width


def test_capitals_are_as_high_as_those_of_opencv():
    heights = []
    for text in ("H", "\u041d"):  # the second is Cyrillic
        rows = drawn(text).max(axis=1).nonzero()[0]
        heights.append(rows.max() - rows.min())
    assert heights[1] == pytest.approx(heights[0], abs=3)


@pytest.mark.parametrize("origin", [(-5, 10), (390, 5), (10, 70), (5000, 5000), (-500, -500)])
def test_text_is_cut_at_the_edge(origin):
    image = np.zeros((60, 400, 3), np.uint8)
    draw_text(image, NAMES["Cyrillic"], origin, 1.0, (255, 255, 255))
    whole = np.zeros((3000, 3000, 3), np.uint8)
    draw_text(whole, NAMES["Cyrillic"], (origin[0] + 1000, origin[1] + 1000), 1.0, (255, 255, 255))
    if max(origin) < 1000:
        np.testing.assert_array_equal(image, whole[1000:1060, 1000:1400])
    else:
        assert not image.any()


@pytest.mark.skipif(not hasattr(cv2, "FontFace"), reason="OpenCV 4 has no font of its own")
def test_chinese_by_opencv_5(monkeypatch, caplog):
    monkeypatch.setattr(text_module, "_installed_files", lambda: [])
    first, second = drawn(CHINESE[0]), drawn(CHINESE[1])
    assert first.any() and second.any() and (first != second).any()
    assert caplog.records == []


def test_chinese_by_the_package(monkeypatch, caplog):
    pytest.importorskip("noto_cjk_sans_otc")
    monkeypatch.delattr(cv2, "FontFace", raising=False)
    assert (drawn(CHINESE[0]) != drawn(CHINESE[1])).any()
    assert find_font_files([CHINESE])[1].endswith("NotoSansCJK-Regular.ttc")
    assert caplog.records == []


def test_a_script_without_a_font_is_reported_once_in_one_line(only_dejavu, caplog):
    with caplog.at_level(logging.WARNING):
        for text in (CHINESE, CHINESE + "x", "\u3042", HINDI, HINDI[0]):
            assert drawn(text).any()
    messages = [record.getMessage() for record in caplog.records]
    assert [("CJK" in m, "DEVANAGARI" in m) for m in messages] == [(True, False), (False, True)]
    assert "U+8D70" in messages[0] and "pip install noto-cjk-sans-otc" in messages[0]
    assert all(m.isascii() and "\n" not in m and len(m) < 200 for m in messages)


def test_a_text_with_a_missing_character_keeps_the_others(only_dejavu):
    whole, square = drawn(f"\u0411{CHINESE[0]}\u0433"), drawn("\u0411\u25a1\u0433")
    np.testing.assert_array_equal(whole, square)


@pytest.mark.parametrize("text", ["a\nb", "\u0411\tb", "\x00", "\u0411\u200d\u0433", "\ud800", ""])
def test_characters_that_are_no_letters(text):
    assert measure_text(text, 0.5)[1] >= 0
    drawn(text)


def test_broken_and_bitmap_fonts_are_passed_over(monkeypatch, tmp_path):
    broken = tmp_path / "broken.ttf"
    broken.write_bytes(b"\x00\x01\x00\x00" + bytes(100))
    files = [str(broken), str(tmp_path / "gone.ttf")]
    monkeypatch.delattr(cv2, "FontFace", raising=False)
    monkeypatch.setattr(text_module, "_installed_files", lambda: files)
    assert len(find_font_files([CHINESE])) == 1


def test_sheets_and_frames_draw_the_same_letters():
    font, image = TextFont(30), Image.new("L", (400, 60))
    font.draw(ImageDraw.Draw(image), (10, 40), NAMES["Cyrillic"], 255)
    np.testing.assert_array_equal(np.asarray(image), drawn(NAMES["Cyrillic"]))
    assert font.getlength("ab") == pytest.approx(font.getlength("a") + font.getlength("b"), abs=1)


def test_class_names_in_a_frame():
    persons = Instances((480, 640))
    persons.pred_boxes = Boxes(tensor([[100.0, 200, 300, 400]]))
    persons.action_scores = tensor([[0.9]])
    frame = np.zeros((480, 640, 3), np.uint8)
    # With OpenCV 4, Chinese needs a font of the system.
    names = [*NAMES.values(), *(CHINESE if hasattr(cv2, "FontFace") else "")]
    pictures = {draw_clip_frame(frame, persons, [name]).tobytes() for name in names}
    assert len(pictures) == len(names)
