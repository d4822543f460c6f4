"""The page in a real browser: boxes move along, a click seeks, filters hide."""

import json
import re

import numpy as np
import pytest

from ava_tools.timelines.bouts import Bout
from ava_tools.timelines.page import PersonBoxes, _ticks, write_page

from ...browser import Page, find_browser
from ...media import tone, write_video

LONG = "listen to (a person) who <b>talks</b> " * 4
BOUTS = [
    Bout("walk", "1", "stand", 0.5, 5.5, 0.8, 0.9),
    Bout("walk", "1", LONG, 2.0, 3.5, 0.5, 0.6),
    Bout("walk", "</script>&2", "sing", 1.0, 4.0, 0.7, 0.95),
]
NOW = "document.querySelector('#now').innerText"


@pytest.fixture(scope="module")
def page_path(tmp_path_factory):
    folder = tmp_path_factory.mktemp("timeline")
    video = folder / "walk.mkv"
    write_video(video, num_frames=60, fps=10, size=(96, 160), sound=tone(440, 6, 48000))
    seconds = np.arange(6.0)
    moving = np.stack([0.1 * seconds, 0 * seconds, 0.1 * seconds + 0.2, 1 + 0 * seconds], axis=1)
    there = np.array([1.0, 2.0])
    persons = [
        PersonBoxes("1", seconds, moving),
        PersonBoxes("</script>&2", there, np.tile([0.6, 0.1, 0.9, 0.9], (2, 1))),
    ]
    path = folder / "walk.html"
    write_page(path, str(video), persons, BOUTS, facts="threshold 0.5")
    return path


def test_it_is_one_file_without_a_network(page_path):
    assert [p.name for p in page_path.parent.iterdir() if p.suffix != ".mkv"] == ["walk.html"]
    html = page_path.read_text()
    assert html.count("</script>") == 2  # those that end the scripts
    sources = re.findall(r'(?:src|href)="(.{5})', html)
    assert set(sources) == {"data:"}
    (data,) = re.findall(r'id="data">(.*?)</script>', html)
    assert json.loads(data)["bouts"][2]["person"] == "</script>&2"


@pytest.mark.skipif(find_browser() is None, reason="no chromium or google-chrome on the PATH")
def test_in_a_browser(page_path, tmp_path):
    with Page(page_path, tmp_path) as page:
        page.wait_for("document.querySelector('#video').readyState >= 2")
        assert page.run("document.querySelector('#count').textContent") == "3 bouts"
        assert page.run(NOW) == ""
        # n: the next bout starts at 0.5 s; box 1 is half way between the first two keyframes.
        page.press("n")
        page.wait_for("document.querySelector('#now li')")
        assert page.run(NOW) == "Person 1: stand (0.5 to 5.5 s, peak 0.90)"
        box = "document.querySelector('#boxes rect').getAttribute('x')"
        assert float(page.run(box)) == pytest.approx(0.05)
        # A click on a bout seeks its start; the second person is visible around its keyframes.
        page.run("document.querySelector('[data-bout=\"1\"]').click()")
        page.wait_for("document.querySelectorAll('#now li').length == 3")
        assert page.run("document.querySelectorAll('#boxes rect').length") == 2
        page.press("ArrowRight")
        page.wait_for("document.querySelectorAll('#boxes rect').length == 1")
        assert page.run("document.querySelector('#video').currentTime") == pytest.approx(3.0)
        page.run("document.querySelector('#score').value = 0.9")
        page.run("document.querySelector('#score').dispatchEvent(new Event('input'))")
        assert page.run("document.querySelector('#count').textContent") == "2 of 3 bouts"
        assert page.run("document.querySelector('[data-bout=\"1\"]').hidden")
        # What the filters leave empty goes: the row of that bout, and the person without others.
        shown = "[...document.querySelectorAll('.row, .person')].filter((e) => !e.hidden).length"
        assert page.run(shown) == 2 + 2
        page.run("document.querySelector('#action').value = 'sing'")
        page.run("document.querySelector('#action').dispatchEvent(new Event('change'))")
        assert page.run(shown) == 1 + 1
        wide = "document.documentElement.scrollWidth <= innerWidth"
        for size, dark in (((390, 800), True), ((1280, 900), False)):
            page.look(size, dark)
            assert page.run(wide)
        # The video plays, with its sound.
        page.run("document.querySelector('#play').click()")
        page.wait_for("document.querySelector('#video').webkitAudioDecodedByteCount > 0")
        page.run("document.querySelector('#mute').click()")
        assert page.run("document.querySelector('#video').muted")
        assert page.problems == []


def test_times_along_the_axis():
    assert [text for _, text in _ticks(2.5)] == ["0 s", "0.5 s", "1 s", "1.5 s", "2 s"]
    assert [text for _, text in _ticks(300)] == [f"{i // 2}:{30 * (i % 2):02}" for i in range(10)]
    assert len(_ticks(1e6)) <= 11


def test_a_video_in_which_nobody_is(tmp_path):
    write_video(tmp_path / "empty.mkv", num_frames=5, fps=10, size=(96, 54))
    write_page(tmp_path / "empty.html", str(tmp_path / "empty.mkv"), [], [])
    html = (tmp_path / "empty.html").read_text()
    assert "No person was found" in html and "no audio" in html and 'id="mute"' not in html
