import pytest

from ava_tools.report_page.page import build_report
from ava_tools.report_page.sources import evaluated_dataset_of_files
from avsf_det.structures.ava_csv import read_detections

from .small_set import OFFSET, write_small_set


@pytest.fixture(scope="session")
def small_set(tmp_path_factory):
    return write_small_set(tmp_path_factory.mktemp("small_set"))


@pytest.fixture(scope="session")
def evaluated(small_set):
    return evaluated_dataset_of_files(
        small_set["labels"], small_set["truth"], "", small_set["videos"], OFFSET
    )


@pytest.fixture(scope="session")
def runs(small_set):
    return {name: read_detections(small_set[name]) for name in ("good", "poor")}


@pytest.fixture(scope="session")
def report(evaluated, runs, tmp_path_factory):
    """The file of a report."""
    html, problems, _ = build_report(evaluated, runs, title="A <report>", max_clips=8)
    assert problems == []
    path = tmp_path_factory.mktemp("report") / "report.html"
    path.write_text(html)
    return path
