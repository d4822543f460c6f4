"""docs/custom_dataset.md as a reader follows it: its files, and its commands in their order."""

import json

import pytest

from avsf_det.data import VideoReader

from .blocks import ROOT, blocks_of, commands_of, files_of

pytestmark = pytest.mark.xdist_group("commands")
PAGE = ROOT / "docs" / "custom_dataset.md"


def test_it_takes_six_commands_and_seven_lines_of_config():
    first, *_ = PAGE.read_text().split("## The csv")
    commands = [
        c
        for b in blocks_of(PAGE)
        if b.language == "bash" and b.text in first
        for _, c in commands_of(b)
    ]
    assert len(commands) == 6
    assert len(files_of(PAGE, "file")["mine/config.yaml"].splitlines()) == 7


def test_the_quick_check_leaves_the_model_alone():
    checks = [b.text for b in blocks_of(PAGE) if "MAX_ITER 4" in b.text]
    assert len(checks) == 1 and "OUTPUT_DIR output/mine_check" in checks[0]
    assert PAGE.read_text().index(checks[0]) < PAGE.read_text().index("Train. Before it starts")


def test_the_page_and_the_csv_are_made(reader):
    assert (reader / "output/mine/report.html").stat().st_size > 10_000
    rows = (reader / "output/mine/kitchen_02.csv").read_text().split()
    assert len(rows) == 2 * 2 and all(row.startswith("kitchen_02,") for row in rows)


def test_the_detector_is_trained_and_evaluated_on_detected_boxes(reader):
    assert (reader / "output/mine/model_final.pth").exists()
    results = json.loads((reader / "output/mine_detected/inference/ava_results.json").read_text())
    assert results["per_class_by_name"].keys() == {"stir", "talk"}
    predictions = (
        (reader / "output/mine_detected/inference/ava_predictions.csv").read_text().split()
    )
    boxes = files_of(PAGE, "file")["mine/boxes.csv"].split()
    assert len(predictions) == 2 * len(boxes)  # each box has two scores


def test_results_are_those_that_are_shown(reader):
    for name, text in files_of(PAGE, "result").items():
        assert (reader / name).read_text() == text


def test_demo_draws_the_video_and_keeps_its_sound(reader):
    with VideoReader(str(reader / "output/mine/kitchen_02.mp4")) as drawn:
        assert drawn.has_audio
        assert drawn.duration == pytest.approx(110 / 30, abs=0.1)


def test_lists_of_clips_are_written(reader):
    for split in ("train", "val"):
        rows = (reader / f"mine/lists/{split}.csv").read_text().split()
        assert rows[0] == "video,label"
        assert sorted(row.split(",")[1] for row in rows[1:]) == ["stir", "talk"]
