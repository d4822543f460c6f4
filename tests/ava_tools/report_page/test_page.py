"""The page's numbers are those of the evaluation, and nothing of it is elsewhere."""

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from ava_tools.measurement.intervals import FEW_BOXES, bootstrap_ap
from ava_tools.report_page.errors import KINDS
from ava_tools.report_page.page import PLOT, build_report, curve_path
from ava_tools.report_page.sources import ReportError, evaluated_dataset_of_files
from ava_tools.report_page.training import read_training
from avsf_det.evaluation.ava_map import evaluate_ava, rank_detections
from avsf_det.structures.ava_csv import read_detections, read_ground_truth
from avsf_det.structures.label_map import read_label_map

from .small_set import LABELS

MINUS, DASH = "\N{MINUS SIGN}", "\N{EN DASH}"
VOID = {"meta", "input", "img", "path", "rect"}


class Reader(HTMLParser):
    """All elements with their attributes and text; tags must be closed in order."""

    def __init__(self, html: str):
        super().__init__()
        self.elements, self._open = [], []
        self.feed(html)
        assert self._open == []

    def handle_starttag(self, tag, attributes):
        element = {"tag": tag, "text": "", **dict(attributes)}
        self.elements.append(element)
        if tag not in VOID:
            self._open.append(element)

    def handle_startendtag(self, tag, attributes):
        self.elements.append({"tag": tag, "text": "", **dict(attributes)})

    def handle_endtag(self, tag):
        assert self._open.pop()["tag"] == tag

    def handle_data(self, data):
        for element in self._open:
            element["text"] += data

    def all(self, tag, **attributes):
        return [
            e
            for e in self.elements
            if e["tag"] == tag and all(e.get(k) == v for k, v in attributes.items())
        ]


@pytest.fixture(scope="module")
def page(report):
    return Reader(report.read_text())


def words(element) -> str:
    return " ".join(element["text"].split())


def test_ap_by_class_and_run(page, small_set):
    """Against the evaluation of the files."""
    labels = read_label_map(small_set["labels"])
    truth = read_ground_truth(small_set["truth"])
    results = {
        name: evaluate_ava(read_detections(small_set[name]), truth, labels)
        for name in ("good", "poor")
    }
    intervals = {}
    for name in results:
        detections = read_detections(small_set[name])
        ranked, _ = rank_detections(detections, truth, labels)
        low, high = bootstrap_ap(list(ranked), detections, truth).mean_ap
        intervals[name] = f"{low:.3f} to {high:.3f}"
    assert [words(e) for e in page.all("dd")[:2]] == [
        f"{results['good'].mean_ap:.3f} mAP {intervals['good']}",
        f"{results['poor'].mean_ap:.3f} mAP {intervals['poor']} "
        f"{100 * (results['poor'].mean_ap - results['good'].mean_ap):+.1f} points".replace(
            "-", MINUS
        ),
    ]
    assert sum("data-class" in row for row in page.all("tr")) == len(LABELS)
    assert {c.num_ground_truth < FEW_BOXES for c in results["good"].classes} == {True, False}
    for i, (good, poor) in enumerate(
        zip(results["good"].classes, results["poor"].classes, strict=True)
    ):
        (row,) = [r for r in page.all("tr") if r.get("data-class") == str(i)]
        if not good.num_ground_truth:
            assert words(row) == f"never 0 {DASH} {DASH} {DASH}"
            continue
        gain = f"{100 * (good.ap - poor.ap):+.1f}".replace("-", MINUS)
        few = " ?" if good.num_ground_truth < FEW_BOXES else ""
        numbers = f"{good.num_ground_truth}{few} {good.ap:.3f} {poor.ap:.3f} {gain}"
        assert words(row) == f"{good.name} {numbers}"


def test_names_are_text_and_not_markup(page, report):
    assert words(page.all("h1")[0]) == "A <report>"
    assert page.all("to") == page.all("report") == []
    assert report.read_text().count("talk &lt;to&gt; &amp; &#34;fro&#34;") > 10


def test_nothing_is_fetched(page):
    fetched = [e[a] for e in page.elements for a in ("src", "poster") if a in e]
    assert fetched and all(link.startswith("data:") for link in fetched)
    assert page.all("link") == page.all("iframe") == []
    links = [e["href"] for e in page.all("a")]
    targets = {e["id"] for e in page.elements if "id" in e}
    assert {link[1:] for link in links if link.startswith("#")} <= targets
    (policy,) = page.all("meta", **{"http-equiv": "Content-Security-Policy"})
    assert policy["content"].startswith("default-src 'none'")


def test_everything_has_a_name(page):
    assert all(e.get("alt") for e in page.all("img"))
    assert all(e.get("aria-label") for e in page.all("video"))
    assert all(e.get("aria-label") for e in page.all("svg", role="img"))
    ids = [e["id"] for e in page.elements if "id" in e]
    assert len(ids) == len(set(ids))
    headings = [int(e["tag"][1]) for e in page.elements if re.fullmatch(r"h\d", e["tag"])]
    assert headings[0] == 1 and max(np.diff(headings)) == 1


def test_examples(page):
    articles = page.all("article")
    assert len(articles) == 8 == len(page.all("video"))
    silent = [a for a in articles if "no audio track" in a["text"]]
    assert silent and all("two, second" in words(a) for a in silent)
    missed = next(a for a in articles if "nobody" not in a["text"] and "missed" in a["text"])
    assert "one, second 102" in words(missed) and "no person here" in words(missed)


def test_examples_link_to_their_second_of_the_whole_video(page, small_set):
    folder = Path(small_set["videos"]).absolute().as_uri()
    links = [e["href"] for e in page.all("a") if not e["href"].startswith("#")]
    assert len(links) == len(page.all("article"))
    # Second 102 of the csv's clock is second 2 of the file.
    assert f"{folder}/one.mp4#t=2" in links
    assert all(re.fullmatch(re.escape(folder) + r"/(one|two)\.mp4#t=[2-5]", x) for x in links)


def test_thresholds_and_videos(page):
    (section,) = page.all("section", id="thresholds")
    rows = {words(r).split(" 0")[0].split(" 1")[0]: r for r in page.all("tr") if "data-kept" in r}
    # All 16 boxes of "sit" but the first are detected, at 0.9 and 0.8, and nothing else is.
    sit = rows["sit"]
    assert words(sit) == "sit 0.80 1.00 0.94 0.97"
    kept = json.loads(sit["data-kept"])
    assert kept == [15] * 17 + [7] * 2 + [0] * 2 == json.loads(sit["data-found"])
    assert "never" not in words(section)
    videos = [words(r) for r in page.all("tr") if words(r).startswith(("one ", "two "))]
    counts = np.array([[int(n) for n in text.split()[1:]] for text in videos])
    assert len(counts) == 2 and (counts[:, 0] == 12).all()
    assert (counts[:, 1] + counts[:, 3] == counts[:, 0]).all()


def test_errors_as_csv(evaluated, runs):
    header, *rows = build_report(evaluated, runs, title="t", max_clips=0).errors
    assert header[:4] == ["video_id", "second", "class", "error"]
    # The missed box of the first keyframe: no score, the annotated place.
    assert ["one", "102", "sit", "missed", "", 0.0, 0.0, 0.4, 1.0] in rows
    assert {row[3] for row in rows} <= {*KINDS, "missed"} - {"correct"}


def test_training_curves(tmp_path, evaluated, runs):
    assert read_training(str(tmp_path)) is None
    lines = [{"iteration": i, "total_loss": 4 - i} for i in range(4)]
    lines += [{"iteration": 1, "ava/mAP": 0.25}, {"iteration": 4, "ava/mAP": 0.5}]
    (tmp_path / "metrics.json").write_text("".join(f"{json.dumps(x)}\n" for x in lines))
    training = read_training(str(tmp_path))
    assert training.last == 4
    assert training.loss == ("M0.0 0.0L100.0 30.0L200.0 60.0L300.0 90.0", 4)
    assert training.mean_ap == ("M100.0 60.0L400.0 0.0", 0.5)
    html = build_report(evaluated, runs, title="t", max_clips=0, trainings={"poor": training}).html
    (section,) = Reader(html).all("section", id="training")
    assert "loss, 0 to 4, by iteration, 0 to 4" in words(section)


def test_differences_are_sorted(page):
    items = [words(e).split(" → ")[0] for e in page.all("li") if "→" in e["text"]]
    points = [float(text.split()[-2].replace(MINUS, "-")) for text in items]
    assert points == sorted(points, reverse=True) and len(points) == 3


def test_path_of_a_curve():
    width, height = PLOT
    assert curve_path(np.zeros((0, 2))) == f"M0 {height}"
    path = curve_path(np.array([[0.5, 1.0], [1.0, 0.25]]))
    assert path == f"M0 0.0V0.0H{width / 2}V{0.75 * height}H{width:.1f}V{height}"


def test_one_run_without_videos(evaluated, runs, small_set):
    without = evaluated_dataset_of_files(small_set["labels"], small_set["truth"], "", "", 0.0)
    html, problems, _ = build_report(without, {"good": runs["good"]}, title="t", max_clips=0)
    page = Reader(html)
    assert problems == [] and page.all("article") == [] and page.all("fieldset") == []
    assert page.all("section", id="differences") == []
    html, problems, _ = build_report(without, {"good": runs["good"]}, title="t", max_clips=2)
    assert len(problems) == 2 and "no video of" in problems[0]
    assert len(Reader(html).all("article")) == 2


def test_number_of_runs_is_limited(evaluated, runs):
    with pytest.raises(ReportError, match="5 runs"):
        build_report(evaluated, {str(i): runs["good"] for i in range(5)}, title="t")
