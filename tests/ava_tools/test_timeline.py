"""Videos to bouts with a tiny model and a detector that is played: one person walks, one leaves."""

import csv
import json
import shutil
import sys

import numpy as np
import pytest

from ava_tools import timeline as tool
from ava_tools.inference import tracking
from ava_tools.inference.tracking import link_persons
from avsf_det.engine import predictor
from avsf_det.engine.defaults import load_config
from avsf_det.structures.ava_csv import read_person_boxes

from ..engine import actions


def walking(second: float) -> np.ndarray:
    """One person walks to the right; another is there until 1.2 s."""
    x = 0.1 + 0.1 * second
    left = [[x, 0.2, x + 0.2, 0.9, 0.95]]
    return np.array(left + [[0.7, 0.1, 0.95, 0.9, 0.9]] * (second <= 1.2), np.float32)


@pytest.fixture(scope="module")
def folder(few_blocks, tmp_path_factory):
    """Videos and a config with weights."""
    path = tmp_path_factory.mktemp("timeline")
    actions.make_dataset(path)
    cfg = actions.make_model(path)
    cfg.OUTPUT_DIR = str(path)
    (path / "tiny.yaml").write_text(cfg.dump())
    yield path
    actions.forget()


@pytest.fixture(scope="module")
def built(folder):
    return predictor.ClipPredictor(load_config(str(folder / "tiny.yaml"), []))


@pytest.fixture
def run(built, folder, tmp_path, monkeypatch):
    # The walker is always the first box; inference/test_tracking.py tests the tracker.
    monkeypatch.setattr(
        tracking, "link_persons", lambda seconds, boxes: [np.arange(len(b)) for b in boxes]
    )
    shutil.copytree(folder / "videos", tmp_path / "videos")
    searched = []

    def find(frames):
        searched.append(len(searched))
        return [walking(len(searched) % 100 / 5)]

    # One model for all runs.
    monkeypatch.setattr(predictor, "ClipPredictor", lambda cfg, label_map: built)
    monkeypatch.setattr(built, "_person_detector", find)

    def run_tool(*arguments) -> int:
        return tool.main(["--config-file", str(folder / "tiny.yaml"), *map(str, arguments)])

    return run_tool, searched


def test_table_page_and_exports(run, tmp_path, capsys):
    run_tool, searched = run
    output = tmp_path / "out"
    arguments = ["--input", tmp_path / "videos" / "a.mp4", "--output", output]
    arguments += ["--threshold", "0.0001", "--export", "boris,cvat,vtt"]
    assert run_tool(*arguments) == 0
    with open(output / "bouts.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    # The scores of an untrained model pass so low a threshold: every person has every action as
    # long as it is visible.
    assert {row["person"] for row in rows} == {"0", "1"}
    assert {row["action"] for row in rows} == {"sit", "run", "sing"}
    ends = {row["person"]: float(row["end"]) for row in rows}
    assert ends["1"] < ends["0"]
    with open(output / "a.jsonl") as file:
        scores = [json.loads(line) for line in file]
    walker = [r["persons"][0]["actions"]["sit"] for r in scores]
    (sit,) = (r for r in rows if (r["person"], r["action"]) == ("0", "sit"))
    assert float(sit["mean"]) == pytest.approx(np.mean(walker), abs=1e-4)
    assert {p.name for p in output.iterdir()} == {
        *("bouts.csv", "persons.csv", "bouts.boris", "a.cvat.xml", "cvat_labels.json", "a.vtt"),
        *("exports.json", "a.html", "a.jsonl", "a.persons.jsonl"),
    }
    project = json.loads((output / "bouts.boris").read_text())
    assert len(project["observations"]["a"]["events"]) == 2 * len(rows)

    # A second run repeats nothing, and ends the same.
    before, num = (output / "bouts.csv").read_text(), len(searched)
    assert run_tool(*arguments) == 0
    assert len(searched) == num and (output / "bouts.csv").read_text() == before
    # Half of the persons' log is gone: the rest is searched again.
    log = output / "a.persons.jsonl"
    lines = log.read_text().splitlines(keepends=True)
    log.write_text("".join(lines[: len(lines) // 2]))
    searched[:] = range(len(lines) // 2)
    assert run_tool(*arguments) == 0
    assert (output / "bouts.csv").read_text() == before

    capsys.readouterr()
    assert run_tool(*arguments, "--person-rate", "4") == 1
    assert "of another video, detector or rate" in capsys.readouterr().err
    assert run_tool(*arguments, "--person-rate", "1.5") == 1
    assert "must be a multiple" in capsys.readouterr().err


def test_ids_of_given_boxes_are_used(run, tmp_path, monkeypatch, capsys):
    run_tool, searched = run
    video = (tmp_path / "videos" / "a.mp4").rename(tmp_path / "videos" / "人 & 者.mp4")
    arguments = ["--input", video, "--threshold", "0.0001", "--output"]
    assert run_tool(*arguments, tmp_path / "first") == 0
    persons = tmp_path / "first" / "persons.csv"
    boxes = read_person_boxes(persons, take_ids=True)
    assert [second for _, second in boxes] == [k / 5 for k in range(15)]
    assert [ids.tolist() for *_, ids in boxes.values()] == [[0, 1]] * 6 + [[0]] * 9

    # Neither the detector nor the tracker is asked, and bouts and boxes are the same.
    monkeypatch.setattr(tracking, "link_persons", None)
    count = len(searched)
    assert run_tool(*arguments, tmp_path / "second", "--boxes", persons) == 0
    for name in ("bouts.csv", "persons.csv"):
        first, second = (tmp_path / folder / name for folder in ("first", "second"))
        assert first.read_bytes() == second.read_bytes()
    assert len(searched) == count

    persons.write_text(persons.read_text().replace(",1,0.9", ",0,0.9"))
    assert run_tool(*arguments, tmp_path / "third", "--boxes", persons) == 1
    assert "persons.csv:2: person 0 has two boxes at 0 s of '人 & 者'" in capsys.readouterr().err


def test_nobody_and_no_tracker(run, built, tmp_path, monkeypatch, capsys):
    run_tool, searched = run
    find = built._person_detector
    monkeypatch.setattr(built, "_person_detector", lambda frames: [walking(0)[:0]])
    arguments = ["--input", tmp_path / "videos" / "b.mp4", "--output", tmp_path / "out"]
    assert run_tool(*arguments, "--export", "boris,vtt,eaf") == 0
    assert "0 persons, 0 bouts" in capsys.readouterr().out
    assert (tmp_path / "out" / "persons.csv").read_bytes() == b""

    monkeypatch.setattr(built, "_person_detector", find)
    monkeypatch.setattr(tracking, "link_persons", link_persons)  # needs its library
    monkeypatch.setitem(sys.modules, "trackers", None)
    arguments[-1] = tmp_path / "other"
    assert run_tool(*arguments) == 1
    assert "pip install --no-deps trackers" in capsys.readouterr().err and not searched
