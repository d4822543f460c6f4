"""Score files: round trip, and what is refused."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from avsf_det.evaluation import (
    ClipEvaluationError,
    read_scores,
    write_scores,
)

from .clips import assert_equal, make_scores


@pytest.mark.parametrize("multi_label", [False, True])
def test_file_round_trip(tmp_path: Path, multi_label: bool):
    scores = make_scores(task="verb", classes={"verb": [f"ö, {k}" for k in range(7)]})
    if multi_label:
        labels = np.random.default_rng(0).random((40, 7)) < 0.3
        scores = replace(scores, labels={"verb": labels})
    path = str(tmp_path / "scores.npz")
    write_scores(scores, path)
    assert_equal(read_scores(path), scores)
    assert read_scores(path).source == path


def test_files_that_are_not_score_files(tmp_path: Path):
    path = tmp_path / "scores.npz"
    with pytest.raises(ClipEvaluationError, match="no such file"):
        read_scores(str(path))
    path.write_text("a,b\n")
    with pytest.raises(ClipEvaluationError, match="not an npz file"):
        read_scores(str(path))
    np.savez(path, clip_ids=["a"], tasks=["x"], **{"scores.x": np.zeros((1, 2))})
    with pytest.raises(ClipEvaluationError, match=r"lacks labels\.x, classes\.x and has clip_ids"):
        read_scores(str(path))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"clip_ids": ["a"] * 40}, "twice"),
        ({"scores": {"action": np.zeros((40, 6), np.float32)}}, r"40 clips and 7 classes.*\(40, 6"),
        (
            {"scores": {"action": np.full((40, 7), np.nan)}},
            "task 'action' of clip clip_000 has a score",
        ),
        ({"labels": {"action": np.full(40, 7)}}, "label 7 of task 'action', clip clip_000"),
        ({"labels": {"action": np.zeros((40, 8), bool)}}, r"\(40, 8\)"),
    ],
)
def test_inconsistent_parts(change, message):
    with pytest.raises(ClipEvaluationError, match=message):
        make_scores(**change)
