"""The report of classifiers has their figures, confusions, command and config."""

import re

import numpy as np
import pytest

from ava_tools import report
from ava_tools.report_page.clip_page import build_clip_report, confusions
from avsf_det.evaluation import ClipEvaluationError
from avsf_det.evaluation.clip_scores import write_scores

from ...evaluation.clips import make_perfect, make_scores


@pytest.fixture
def folders(tmp_path):
    """OUTPUT_DIR of a random run, with its config, and of a perfect one without."""
    scores = make_scores()
    for name, run in (("random", scores), ("perfect", make_perfect(scores))):
        (tmp_path / name / "inference").mkdir(parents=True)
        write_scores(run, str(tmp_path / name / "inference" / "scores.npz"))
    (tmp_path / "random" / "config.yaml").write_text("MODEL: {DEVICE: <cpu>}\n")
    return tmp_path


def test_page_of_two_runs(folders, capsys):
    runs = ["--run", f"mine={folders / 'random'}", "--run", f"best={folders / 'perfect'}"]
    assert report.main([*runs, "--output", str(folders / "r.html")]) == 0
    assert "2 runs of classifiers" in capsys.readouterr().out
    html = (folders / "r.html").read_text()
    scores = make_scores()
    right = scores.scores["action"].argmax(axis=1) == scores.labels["action"]
    rows = dict(re.findall(r"<tr><td>(mine|best)</td><td>([\d.]+)</td>", html))
    assert rows == {"mine": f"{100 * right.mean():.1f}", "best": "100.0"}
    assert f"train_net.py --config-file {folders}/random/config.yaml --eval-only" in html
    assert "MODEL: {DEVICE: &lt;cpu&gt;}" in html
    assert html.count("<h2>") == 2  # the task, and the config that is known
    for true, predicted, count, total in confusions(scores, "action")[:3]:
        assert f"<tr><td>{true}</td><td>{predicted}</td><td>{count} of {total}</td></tr>" in html


def test_confusions_are_counted():
    scores = make_scores(num_clips=4, num_classes=2)  # labels 0 1 0 1
    scores.scores["action"][:] = [[0, 1], [0, 1], [0, 1], [1, 0]]
    found = confusions(scores, "action")
    assert found == [("class 0", "class 1", 2, 2), ("class 1", "class 0", 1, 2)]


def test_what_cannot_be_is_said(folders, capsys):
    runs = ["--run", f"mine={folders / 'random'}", "--run", f"other={folders}"]
    assert report.main([*runs, "--output", str(folders / "r.html")]) == 1
    assert "all runs must be of classifiers" in capsys.readouterr().err
    write_scores(make_scores(num_clips=3), str(folders / "few.npz"))
    files = {"a": str(folders / "random/inference/scores.npz"), "b": str(folders / "few.npz")}
    with pytest.raises(ClipEvaluationError, match=r"few.npz: has other clips or classes"):
        build_clip_report(files)
    unlabelled = make_scores(labels={"action": np.full(40, -1)})
    write_scores(unlabelled, str(folders / "none.npz"))
    with pytest.raises(ClipEvaluationError, match="no clip has a label"):
        build_clip_report({"a": str(folders / "none.npz")})
