"""Curves of trainings from their metrics, also of interrupted and resumed ones."""

import json
from pathlib import Path

import cv2
import pytest

from ava_tools import visualize_training as tool


def write_run(folder: Path, top1: dict[int, float]) -> Path:
    """A run of batch 8 that was killed in the middle of a line, and repeats iteration 39."""
    folder.mkdir()
    rows = [{"iteration": i, "loss_action": 4 - i / 20, "total_loss": 9.0} for i in (19, 39, 39)]
    rows += [{"iteration": i, "action/top1": x} for i, x in top1.items()]
    lines = [json.dumps(row) for row in rows]
    lines[1] = lines[1].replace("2.05", "7.5")
    lines.insert(2, '{"iteration": 3{"iteration": 39, "action/top1": 0.0}')
    (folder / "metrics.json").write_text("\n".join([*lines, '{"iter']))
    (folder / "config.yaml").write_text("SOLVER:\n  IMS_PER_BATCH: 8\n")
    return folder


def test_error_and_loss_over_iterations_and_epochs(tmp_path):
    folder = write_run(tmp_path / "run", {60: 70.0, 39: 55.0})
    error, loss = tool.read_run(folder, "action", 0)
    assert error == ([39, 60], [45, 30])
    assert loss == ([19, 39], [3.05, 2.05])
    error, loss = tool.read_run(folder, "action", 80)
    assert error.x == pytest.approx([3.9, 6]) and loss.x == pytest.approx([1.9, 3.9])
    text = (folder / "metrics.json").read_text()  # of a model with a single loss
    (folder / "metrics.json").write_text(text.replace("loss_action", "other"))
    assert tool.read_run(folder, "action", 0)[1].y == [9, 9]


def test_several_runs_are_drawn(tmp_path, capsys):
    runs = {name: write_run(tmp_path / name, {39: top1}) for name, top1 in (("a", 50), ("$b", 60))}
    output = tmp_path / "charts" / "training.png"
    arguments = [part for name in runs for part in ("--run", f"{name}={runs[name]}")]
    assert tool.main([*arguments, "--output", str(output)]) == 0
    assert cv2.imread(str(output)).std() > 0
    assert "$b: top-1 error 40.0 % at iteration 39" in capsys.readouterr().out


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["--run", "a={run}", "--run", "a={run}"], "two runs have the same name"),
        (["--run", "a={run}"], "has no 'action/top1' or no loss; train with TEST.EVAL_PERIOD"),
        (["--run", "a={run}/missing"], "has no 'action/top1'"),
    ],
)
def test_bad_input_is_one_line(tmp_path, capsys, arguments, message):
    folder = write_run(tmp_path / "run", {})
    arguments = [part.format(run=folder) for part in arguments]
    assert tool.main([*arguments, "--output", str(tmp_path / "x.png")]) == 1
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1
