"""The tool that scores, fuses and compares runs from their files."""

import csv
import json
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from ava_tools import evaluate_scores as tool
from ava_tools.measurement.epic_submission import epic_submission
from ava_tools.measurement.run_scores import fuse_scores
from avsf_det.evaluation import (
    ClipEvaluationError,
    ClipScores,
    read_scores,
    score_clips,
    write_scores,
)

from ..evaluation.clips import make_perfect, make_scores


def save(path: Path, scores: ClipScores) -> str:
    write_scores(scores, str(path))
    return str(path)


@pytest.fixture
def files(tmp_path: Path) -> list[str]:
    runs = [make_scores(seed=0), make_scores(seed=1), make_perfect(make_scores())]
    return [save(tmp_path / f"{name}.npz", run) for name, run in zip("abp", runs, strict=True)]


def last_row(text: str) -> list[str]:
    return [cell.strip() for cell in text.strip().splitlines()[-1].strip("|").split("|")]


def test_one_file_is_scored_again(files, capsys):
    assert tool.main(files[:1]) == 0
    metrics = score_clips(make_scores())["action"].metrics
    expected = ["action", "40", f"{metrics['top1']:.2f}", f"{metrics['top5']:.2f}"]
    assert last_row(capsys.readouterr().out) == expected


def test_late_fusion(files, tmp_path: Path, capsys):
    output = tmp_path / "fused"
    assert tool.main([*files[:2], "--weights", "1", "3", "--output", str(output)]) == 0
    fused = fuse_scores([make_scores(seed=0), make_scores(seed=1)], [1, 3])
    written = read_scores(str(output / "scores.npz"))
    np.testing.assert_array_equal(written.scores["action"], fused.scores["action"])
    metrics = score_clips(fused)["action"].metrics
    assert last_row(capsys.readouterr().out)[2] == f"{metrics['top1']:.2f}"
    assert (output / "per_class_action.csv").exists()


def test_mean_of_splits(files, tmp_path: Path, capsys):
    other = save(tmp_path / "c.npz", make_scores(33, seed=5))  # splits have clips of their own
    assert tool.main(["--mean-of-splits", files[0], files[2], other]) == 0
    runs = [make_scores(), make_perfect(make_scores()), make_scores(33, seed=5)]
    top1 = [score_clips(run)["action"].metrics["top1"] for run in runs]
    row = last_row(capsys.readouterr().out)
    assert row[:2] == ["mean", f"{sum(top1) / 3:.2f}"]
    verbs = save(tmp_path / "v.npz", make_scores(task="verb"))
    assert tool.main(["--mean-of-splits", files[0], verbs]) == 1
    assert "different tasks" in capsys.readouterr().err


def test_comparison_as_csv_and_image(files, tmp_path: Path, capsys):
    output = tmp_path / "compare"
    assert tool.main([files[2], "--compare", files[0], "--output", str(output)]) == 0
    with open(output / "difference_action.csv") as file:
        rows = list(csv.DictReader(file))
    before = score_clips(make_scores())["action"].class_metrics["top1"]
    for row in rows:
        index = int(row["class"].split()[1])
        assert float(row["difference"]) == pytest.approx(100 - before[index])
    points = [float(row["difference"]) for row in rows]
    assert points == sorted(points, reverse=True) and len(points) == 7
    image = cv2.imread(str(output / "difference_action.png"))
    assert image is not None and image.std() > 10
    assert rows[0]["class"] in capsys.readouterr().out


def test_clips_of_some_classes(files, tmp_path: Path, capsys):
    names = tmp_path / "names.txt"
    names.write_text("class 2\n\n class 5\n")
    assert tool.main([files[0], "--classes", str(names)]) == 0
    clips = sum(i % 7 in (2, 5) for i in range(40))
    assert last_row(capsys.readouterr().out)[:2] == ["action", str(clips)]
    names.write_text("juggling\n")
    assert tool.main([files[0], "--classes", str(names)]) == 1
    assert "'juggling'" in capsys.readouterr().err


def test_epic_from_two_models_with_the_prior(tmp_path: Path, capsys):
    verb = save(tmp_path / "verb.npz", make_scores(num_classes=3, task="verb"))
    noun = save(tmp_path / "noun.npz", make_scores(num_classes=4, seed=1, task="noun"))
    train = tmp_path / "train.csv"
    train.write_text("uid,verb_class,noun_class\n1,0,0\n2,0,1\nclip_000,0,3\n")
    assert tool.main([verb, noun, "--prior", str(train)]) == 0
    counts = np.zeros((3, 4))
    counts[0, :2] = 1
    results = score_clips(fuse_scores([read_scores(verb), read_scores(noun)]), counts)
    top1 = results["action_prior"].metrics["top1"]
    assert last_row(capsys.readouterr().out)[:3] == ["action_prior", "40", f"{top1:.2f}"]
    assert tool.main([verb, "--prior", str(train)]) == 1
    assert "Give the scores of the verb and of the noun model" in capsys.readouterr().err


def test_file_for_the_server_of_epic(tmp_path: Path, capsys):
    """The servers rank pairs by what the file says: verb x noun, best first."""
    no_label = {"labels": {"verb": np.full(2, -1)}}
    verb = make_scores(2, num_classes=97, task="verb", **no_label)
    noun = make_scores(2, num_classes=300, seed=1, task="noun", labels={"noun": np.full(2, -1)})
    files = [save(tmp_path / "verb.npz", verb), save(tmp_path / "noun.npz", noun)]
    output = tmp_path / "test.json"
    assert tool.main([*files, "--submission", str(output), "--sls", "2", "3", "4"]) == 0
    content = json.loads(output.read_text())
    results = content.pop("results")
    head = {"version": "0.2", "challenge": "action_recognition"}
    assert content == {**head, "sls_pt": 2, "sls_tl": 3, "sls_td": 4}
    assert list(results) == verb.clip_ids
    for i, clip in enumerate(results.values()):
        assert clip["verb"] == {str(k): float(x) for k, x in enumerate(verb.scores["verb"][i])}
        assert len(clip["noun"]) == 300 and len(clip["action"]) == 100
        best = [*clip["action"].values()]
        v, n = map(int, next(iter(clip["action"])).split(","))
        assert (v, n) == (verb.scores["verb"][i].argmax(), noun.scores["noun"][i].argmax())
        assert best == sorted(best, reverse=True)
        assert best[0] == float(verb.scores["verb"][i, v]) * float(noun.scores["noun"][i, n])

    for options, message in (
        ([*files, "--submission", str(output)], "needs --sls PT TL TD"),
        ([files[0], "--submission", str(output)], "no scores of noun"),
    ):
        assert tool.main(options) == 1
        assert message in capsys.readouterr().err


def test_epic_55_has_no_supervision_levels():
    verb = make_scores(2, num_classes=125, task="verb")
    noun = make_scores(2, num_classes=352, seed=1, task="noun")
    content = epic_submission(fuse_scores([verb, noun]))
    assert list(content) == ["version", "challenge", "results"] and content["version"] == "0.1"
    with pytest.raises(ClipEvaluationError, match="leave out --sls"):
        epic_submission(fuse_scores([verb, noun]), [2, 3, 4])


def test_errors_are_one_line(files, tmp_path: Path, capsys):
    other = save(tmp_path / "c.npz", make_scores(39))
    assert tool.main([files[0], other]) == 1
    error = capsys.readouterr().err
    assert "40 clips" in error and "39" in error and error.count("\n") == 1
    unlabelled = replace(make_scores(), labels={"action": np.full(40, -1)})
    assert tool.main([save(tmp_path / "u.npz", unlabelled)]) == 1
    assert "no clip has a label" in capsys.readouterr().err
    assert tool.main([files[0], "--classes", str(tmp_path / "none.txt")]) == 1
    assert "none.txt" in capsys.readouterr().err
    for options in (["--compare", files[1]], ["--mean-of-splits", "--weights", "1"]):
        with pytest.raises(SystemExit):
            tool.main([files[0], *options])
