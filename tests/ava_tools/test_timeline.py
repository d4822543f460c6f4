"""Videos to bouts with a tiny model and a detector that is played: one person walks, one leaves."""

import csv
import json
import sys

import numpy as np
import pytest

from ava_tools import timeline as tool
from ava_tools.timelines import pipeline
from ava_tools.timelines.tracking import link_persons
from avsf_det.engine import predictor
from avsf_det.structures import AVSFError

from ..engine import actions


def walking(second: float) -> np.ndarray:
    """One person walks to the right; another is there until 1.2 s."""
    x = 0.1 + 0.1 * second
    left = [[x, 0.2, x + 0.2, 0.9, 0.95]]
    return np.array(left + [[0.7, 0.1, 0.95, 0.9, 0.9]] * (second <= 1.2), np.float32)


def test_ids_along_a_video():
    pytest.importorskip("trackers", reason="needs pip install --no-deps trackers supervision")
    seconds = [k / 5 for k in range(20)]
    ids = link_persons(seconds, [walking(s).astype(float) for s in seconds])
    assert all(found[0] == 0 for found in ids)
    assert {int(found[1]) for found in ids if len(found) > 1} == {1}
    # Who is not seen for longer than LOST_SEC is somebody new.
    away = [walking(s) if s < 1 or s > 3 else np.zeros((0, 5)) for s in seconds]
    assert link_persons(seconds, away)[-1].tolist() == [2]
    # A box with a low score starts no track.
    assert link_persons([0, 1], [np.array([[0, 0, 1, 1, 0.3]])] * 2)[1].tolist() == [-1]
    assert link_persons([], []) == []


def test_a_missing_tracker_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "trackers", None)
    with pytest.raises(AVSFError, match="pip install --no-deps trackers"):
        link_persons([], [])


@pytest.fixture
def run(tmp_path, monkeypatch):
    # The walker is always the first box. The tracker itself is tested above.
    monkeypatch.setattr(
        pipeline, "link_persons", lambda seconds, boxes: [np.arange(len(b)) for b in boxes]
    )
    actions.make_dataset(tmp_path)
    cfg = actions.make_model(tmp_path)
    cfg.OUTPUT_DIR = str(tmp_path)
    (tmp_path / "tiny.yaml").write_text(cfg.dump())
    searched = []

    def detector(cfg):
        def find(frames):
            searched.append(len(searched))
            return [walking(len(searched) % 100 / 5)]

        return find

    monkeypatch.setattr(predictor, "PersonDetector", detector)

    def run_tool(*arguments) -> int:
        return tool.main(["--config-file", str(tmp_path / "tiny.yaml"), *map(str, arguments)])

    yield run_tool, searched
    actions.forget()


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
        *("bouts.csv", "bouts.boris", "a.cvat.xml", "cvat_labels.json", "a.vtt", "exports.json"),
        *("a.html", "a.jsonl", "a.persons.jsonl"),
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
