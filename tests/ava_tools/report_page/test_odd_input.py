"""Odd run folders, files and names: one line that says what is wrong; no name runs in a page."""

from html.parser import HTMLParser

import pytest
from detectron2.config import get_cfg

from ava_tools import report, visualize_results
from ava_tools.report_page.page import build_report
from ava_tools.report_page.sources import ReportError, evaluated_dataset_of_config, read_run
from avsf_det import add_avsf_config
from avsf_det.structures import ConfigError

from .small_set import OFFSET

NASTY = (
    "</title><script>alert(1)</script>",
    "\"><img src=x onerror='alert(2)'>",
    "'+alert(3)+'{{ 7 * 7 }}",
    "</style></script><svg onload=alert(4)>",
)


@pytest.fixture
def failing(small_set, tmp_path, capsys):
    """Return a function that runs a tool, which must fail, and returns its one line."""

    def run(tool, *options: str) -> str:
        places = {"-l": small_set["labels"], "-g": small_set["truth"]}
        named = [text for pair in places.items() for text in pair]
        output = tmp_path / "never"
        assert tool.main([*named, "--output", str(output), *options]) == 1
        assert not output.exists()
        (line,) = capsys.readouterr().err.splitlines()
        assert line.startswith("error: ") and len(line) - len(str(tmp_path)) < 400
        return line

    return run


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "no detections, so there is nothing to show"),
        (b"one,0102,0.1,0.1,0.4,0.9,1,0.5\none,0102,0.1", ":2: 3 columns"),
        (bytes(range(128, 256)), "not a text file"),
        (b"uno,0102,0.1,0.1,0.4,0.9,1,0.5\n", "no video id in common"),
    ],
    ids=["empty", "torn", "binary", "of another dataset"],
)
def test_csv_of_a_run_folder(failing, tmp_path, content, message):
    csv = tmp_path / "run" / "inference" / "ava_predictions.csv"
    csv.parent.mkdir(parents=True)
    csv.write_bytes(content)
    (tmp_path / "run" / "metrics.json").write_text('{"iteration": 1}\n{"iter')
    assert message in failing(report, "--run", f"mine={tmp_path / 'run'}")


def test_both_tools_refuse_the_same(failing, tmp_path, small_set):
    empty = tmp_path / "empty.csv"
    empty.touch()
    assert "no detections" in failing(visualize_results, "--detections", str(empty))
    with pytest.raises(ReportError, match="no ava_predictions"):
        read_run(str(tmp_path), "val")
    (tmp_path / "ava_predictions.csv").mkdir()
    assert "(a folder)" in failing(report, "--run", f"mine={tmp_path}")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--run", "good={poor}"], "two runs have the same name"),
        (["--offset", "nan"], "--offset is nan"),
        (["--videos", "{tmp}"], "no video of the ground truth, such as one.mp4"),
        (["-g", "{tmp}/gone.csv"], "gone.csv: cannot be read"),
    ],
)
def test_options(failing, small_set, tmp_path, options, message):
    options = [text.format(tmp=tmp_path, **small_set) for text in options]
    assert message in failing(report, "--run", f"good={small_set['good']}", *options)


@pytest.mark.parametrize("names", [(), ("nowhere_val",)])
def test_unknown_datasets(names):
    cfg = get_cfg()
    add_avsf_config(cfg)
    cfg.DATASETS.TEST = names
    with pytest.raises(ConfigError, match=r"^DATASETS\.TEST.*registered are "):
        evaluated_dataset_of_config(cfg)


def test_a_wrong_offset_is_named_in_place_of_the_clips(small_set, tmp_path, capsys):
    options = ["-l", small_set["labels"], "-g", small_set["truth"], "--videos", small_set["videos"]]
    output = tmp_path / "report.html"
    run = ["--run", f"good={small_set['good']}", "--max-clips", "2", "--output", str(output)]
    assert report.main([*options, "--offset", str(OFFSET - 50), *run]) == 1
    error = capsys.readouterr().err.splitlines()[-1]
    assert "of a video of 6.0 s" in error and "(--offset)" in error
    assert output.read_text().count("(--offset)") == 2


class Elements(HTMLParser):
    """Counts elements; "handlers" are attributes that run a script."""

    def __init__(self, html: str):
        super().__init__()
        self.count: dict[str, int] = {}
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        handlers = ["handler" for name, _ in attrs if name.startswith("on")]
        for key in (tag, *handlers):
            self.count[key] = self.count.get(key, 0) + 1


def test_names_are_text_wherever_they_are_shown(small_set, evaluated, runs):
    """Names of classes, runs, videos, the dataset and the title, and messages."""

    def page(rename) -> dict[str, int]:
        renamed = type(evaluated)(
            rename(0, evaluated.name),
            {i: rename(i, name) for i, name in evaluated.label_map.items()},
            _with_videos(evaluated.ground_truth, rename),
            frozenset(),
            {rename(k, v): (rename(3, "gone.mp4"), 0.0) for k, v in enumerate(("one", "two"))},
        )
        detections = {
            rename(k, name): _with_videos(rows, rename)
            for k, (name, rows) in enumerate(runs.items())
        }
        html, problems, _ = build_report(renamed, detections, title=rename(0, "title"), max_clips=4)
        assert len(problems) == 4
        assert html.encode()
        return Elements(html).count

    plain = page(lambda i, name: name)
    assert plain["script"] == 1 and "handler" not in plain
    assert page(lambda i, name: f"{name}{NASTY[i % 4]}") == plain
    assert page(lambda i, name: f"{name}\udce9") == plain  # a byte that is not UTF-8


def _with_videos(rows, rename):
    number = {"one": 0, "two": 1}
    keyframes = [(rename(number[video], video), second) for video, second in rows.keyframes]
    return type(rows)(keyframes, *list(vars(rows).values())[1:])
