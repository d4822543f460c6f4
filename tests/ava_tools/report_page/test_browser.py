"""The report in a real browser: does it sort, filter and play, with the keyboard alone?"""

import pytest

from ...browser import Page, find_browser

pytestmark = pytest.mark.skipif(
    find_browser() is None, reason="no chromium or google-chrome on the PATH"
)
NAMES = "[...document.querySelectorAll('#ap tbody tr:not([hidden]) th')].map(x => x.innerText)"
FOCUSED = "document.activeElement.innerText || document.activeElement.id"


@pytest.fixture(scope="module")
def page(report, tmp_path_factory):
    with Page(report, tmp_path_factory.mktemp("profile")) as page:
        yield page
        assert page.problems == []


def shown(page: Page, selector: str) -> int:
    return page.run(
        f"[...document.querySelectorAll({selector!r})].filter(x => x.checkVisibility()).length"
    )


def test_sorts_by_keyboard(page):
    page.run("document.querySelector('#ap thead button').focus()")
    page.press("Enter")
    assert page.run(NAMES) == ["never", "sing", "sit", 'talk <to> & "fro"']
    page.press(" ")
    assert page.run(NAMES) == ['talk <to> & "fro"', "sit", "sing", "never"]
    assert page.run("document.querySelector('#ap th').ariaSort") == "descending"
    page.press("Tab", "Enter")  # boxes, the most first; unknown numbers would stay below
    counts = "[...document.querySelectorAll('#ap tbody td:nth-child(2)')].map(x => x.innerText)"
    assert page.run(counts) == ["16", "4 ?", "4 ?", "0"]
    page.press("Tab", "Enter", "Enter")  # AP ascending: the class without AP is still last
    assert page.run(NAMES)[-1] == "never"


def test_filters_and_chooses_by_keyboard(page):
    page.press("/", "s")
    assert page.run(FOCUSED) == "filter" and page.run("filter.value") == "s"
    assert sorted(page.run(NAMES)) == ["sing", "sit"]
    assert page.run("filtered.textContent") == "2 of 4 classes"
    page.press("ArrowDown", "ArrowDown")
    chosen = page.run(FOCUSED)
    assert chosen == page.run(NAMES)[1]
    assert shown(page, ".curve-of") == 1
    figure = "[...document.querySelectorAll('.curve-of')].find(x => !x.hidden).innerText"
    assert page.run(figure).startswith(chosen)
    page.press("/", "Escape")
    assert len(page.run(NAMES)) == 4
    outline = "getComputedStyle(document.activeElement).outlineStyle"
    assert page.run(outline) == "solid"


def test_precision_and_recall_at_a_chosen_score(page):
    row = "document.querySelector('#thresholds tbody tr[data-num=\"16\"]').innerText.split('\\t')"
    assert page.run(row)[-3:] == ["15", "1.00", "0.94"]
    page.run("document.querySelector('#chosen input').focus()")
    page.press("End")
    assert page.run("document.querySelector('#chosen output').textContent") == "1.00"
    assert page.run(row)[-3:] == ["0", "\N{EN DASH}", "0.00"]


def test_one_run_at_a_time(page):
    assert shown(page, ".kinds") == 1
    page.run("document.querySelector('[name=errors-run]').focus()")
    page.press("ArrowRight")
    assert shown(page, ".kinds") == 1
    assert shown(page, ".kinds[data-value='1']") == 1


def test_examples_are_filtered(page):
    every = shown(page, "article")
    page.run("document.querySelector('[name=outcome]').focus()")
    page.press("ArrowRight")
    correct = shown(page, "article")
    assert 0 < correct < every and correct == shown(page, "article[data-outcome=correct]")
    page.press("ArrowLeft")
    assert shown(page, "article") == every
    page.run("document.querySelector(`#ap tr[data-class='2'] .pick`).click()")
    page.run("document.querySelector('#to-examples').focus()")
    page.press("Enter")
    of_class = shown(page, "article")
    assert 0 < of_class == shown(page, "article[data-class='2']") < every
    assert page.run("shown.textContent") == f"{of_class} of {every} examples"


def test_clips_play_with_audio_and_the_line_follows(page):
    page.run(
        "window.article = [...document.querySelectorAll('article')]"
        ".find(x => !x.innerText.includes('no audio track'));"
        "window.video = article.querySelector('video');"
        "article.querySelector('.play').focus()"
    )
    page.press("Enter")
    page.wait_for("video.readyState >= 2 && video.currentTime > 0.2")
    assert page.run("article.querySelector('.play').ariaLabel") == "Pause"
    assert page.run("video.duration") == pytest.approx(2, abs=0.05)
    assert page.run("[video.videoWidth, video.videoHeight]") == [96, 64]
    assert page.run("video.controls") is False
    page.wait_for("video.webkitAudioDecodedByteCount > 0")
    line = "article.querySelector('input').value - video.currentTime"
    page.press(" ")
    page.wait_for("video.paused")
    assert abs(page.run(line)) < 0.1
    page.run("article.querySelector('input').focus()")
    page.press("Home")
    page.wait_for("video.currentTime === 0 && !video.seeking")
    page.press("ArrowRight")
    page.wait_for("video.currentTime > 0.03 && !video.seeking")
    # The boxes belong to the keyframe and fade elsewhere.
    assert page.run("video.parentElement.classList.contains('away')")


def test_all_clips_load(page):
    loaded = page.run(
        "Promise.all([...document.querySelectorAll('video')].map(video => new Promise(done => {"
        "video.onloadeddata = () => done(video.duration); video.onerror = () => done(0);"
        "video.preload = 'auto'; video.load(); })))"
    )
    assert len(loaded) == 8 and min(loaded) > 1


@pytest.mark.parametrize("size", [(1280, 900), (360, 740)])
@pytest.mark.parametrize("dark", [False, True])
def test_fits_and_has_contrast(page, size, dark, tmp_path):
    page.look(size, dark)
    assert page.run("document.documentElement.scrollWidth") <= size[0]
    ratio = page.run(
        """(() => {
        const canvas = new OffscreenCanvas(1, 1).getContext('2d', {willReadFrequently: true});
        const light = (color) => {
            canvas.fillStyle = color;
            canvas.fillRect(0, 0, 1, 1);
            const part = [...canvas.getImageData(0, 0, 1, 1).data].slice(0, 3).map((c) => c / 255)
                .map((c) => c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4);
            return 0.2126 * part[0] + 0.7152 * part[1] + 0.0722 * part[2];
        };
        const paper = light(getComputedStyle(document.body).backgroundColor);
        const texts = document.querySelectorAll('p, th button, dd, dt, li, h1, .tag, .quiet, a');
        return Math.min(...[...texts].map((x) => light(getComputedStyle(x).color)).map(
            (ink) => (Math.max(ink, paper) + 0.05) / (Math.min(ink, paper) + 0.05)));
        })()"""
    )
    assert ratio >= 4.5
    page.screenshot(tmp_path / "page.png")
    assert (tmp_path / "page.png").read_bytes().startswith(b"\x89PNG")
