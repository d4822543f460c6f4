"""The benchmark of scoring gives every evaluator the same rows, and compares what they find."""

import gzip
import math
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest

from ava_tools import benchmark
from ava_tools.benchmarks import scoring as tool

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    return tool.write_input(tmp_path, videos=2, keyframes=20, seed=0)


def rows_of(path: Path) -> list[str]:
    with gzip.open(path, "rt") if path.suffix == ".gz" else open(path) as file:
        return file.readlines()


def test_same_rows_in_another_order(files: tuple[Path, Path], tmp_path: Path):
    shuffled, by_score = tmp_path / "shuffled.csv.gz", tmp_path / "by_score.csv"
    tool.write_shuffled(files[1], shuffled, seed=0)
    tool.write_by_score(files[1], by_score)
    rows = rows_of(files[1])
    assert rows_of(shuffled) != rows and rows_of(by_score) != rows
    assert sorted(rows_of(shuffled)) == sorted(rows_of(by_score)) == sorted(rows)
    fields = [row.split(",") for row in rows_of(by_score)]
    for (*a, high), (*b, low) in pairwise(fields):
        assert a[:2] < b[:2] or (a[:2] == b[:2] and float(high) >= float(low))
    measured = [tool.measure(files[0], file, "default", 1) for file in (files[1], shuffled)]
    assert tool.largest_difference(measured[0].ap, measured[1].ap)[0] < 1e-12
    assert measured[0].total > 0 and measured[0].peak > 1


def test_results_equal_the_peers(files: tuple[Path, Path], tmp_path: Path):
    pytest.importorskip("slowfast")
    tool.write_by_score(files[1], tmp_path / "by_score.csv")
    theirs = tool.run_alone(tool.measure_peer, files[0], tmp_path / "by_score.csv")
    ours = tool.measure(*files, "default", 1)
    assert tool.largest_difference(ours.ap, theirs.ap)[0] < 1e-6


def test_largest_difference():
    ours = {"a": 0.5, "b": 0.25, "c": math.nan}
    assert tool.largest_difference(ours, {"a": 0.5, "b": 0.75, "c": math.nan}) == (0.5, "b")
    assert tool.largest_difference(ours, {**ours, "c": 0.0}) == (math.inf, "c")


def test_table_and_plot(tmp_path: Path, capsys: pytest.CaptureFixture):
    plot = tmp_path / "growth.svg"
    options = ["--videos", "2", "--keyframes", "2", "--repeats", "1", "--no-peer"]
    assert benchmark.main(["scoring", *options, "--plot", str(plot)]) == 0
    assert "avsf_det, default, rows shuffled" in capsys.readouterr().out
    assert plot.stat().st_size > 1000


def test_measured_processes_load_numpy_only():
    """Their peak memory is measured, and torch alone takes 200 MiB."""
    tool_file = ROOT / "ava_tools" / "benchmark.py"
    options = ["--videos", "1", "--keyframes", "2", "--repeats", "1", "--no-peer"]
    done = subprocess.run(
        [sys.executable, str(tool_file), "scoring", *options],
        capture_output=True,
        text=True,
        check=True,
    )
    rows = [line.split("|") for line in done.stdout.splitlines() if line.startswith("| avsf_det")]
    assert len(rows) == 3
    assert all(int(row[5]) < 200 for row in rows), done.stdout
