"""Differences between runs by class."""

import csv
from pathlib import Path

import numpy as np

from ava_tools.measurement.class_differences import class_differences, write_differences
from avsf_det.evaluation import score_clips

from ...evaluation.clips import make_perfect, make_scores


def test_differences_and_their_csv(tmp_path: Path):
    scores = make_scores(12, 5, labels={"action": np.arange(12) % 4})  # class 4 has no clip
    before = score_clips(scores)["action"]
    after = score_clips(make_perfect(scores))["action"]
    differences = class_differences(before, after)
    gains = [d.difference for d in differences]
    assert gains == sorted(100 - before.class_metrics["top1"][:4], reverse=True)
    write_differences(differences, str(tmp_path / "differences.csv"))
    with open(tmp_path / "differences.csv") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 4
    for row in rows:
        assert float(row["after"]) - float(row["before"]) == float(row["difference"])
        assert float(row["after"]) == 100
