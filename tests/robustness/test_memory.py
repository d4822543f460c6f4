"""Long runs hold no more memory at their end than after their start."""

import statistics
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
MAX_GROWTH = 0.02


def run(folder: Path, *arguments: str) -> list[tuple[int, float]]:
    """Return (step, MiB) of a run of its own process."""
    command = [sys.executable, "-m", "tests.robustness.memory_runs", *arguments]
    command.insert(4, str(folder))
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=1500)
    assert done.returncode == 0, done.stderr[-2000:]
    lines = [line.split() for line in done.stdout.splitlines() if line.startswith("memory ")]
    return [(int(step), float(mebibytes)) for _, step, mebibytes in lines]


def growth(samples: list[tuple[int, float]]) -> float:
    """Return how much more the last quarter holds than the second one, as a fraction.

    The first quarter is the warm-up. Medians, because samples fall before or after a file is read.
    """
    memory = [mebibytes for _, mebibytes in samples]
    quarter = len(memory) // 4
    return statistics.median(memory[-quarter:]) / statistics.median(memory[quarter:][:quarter]) - 1


@pytest.mark.soak
@pytest.mark.parametrize(
    ("kind", "amount", "what"),
    [
        ("train", 2000, "training, 2,000 iterations"),
        ("evaluate", 300, "evaluation, 300 keyframes of a 2 h video"),
        ("read", 120, "reading, 2 h video in one pass"),
    ],
)
def test_memory_is_flat(tmp_path, record_counts, kind, amount, what):
    samples = run(tmp_path, kind, str(amount))
    last_step = 60 * amount if kind == "read" else amount
    assert samples[-1][0] == last_step and len(samples) >= 30
    grown = growth(samples)
    peak = max(mebibytes for _, mebibytes in samples)
    record_counts(what, "1", f"{100 * grown:+.1f} % memory, {peak:.0f} MiB at most")
    assert grown <= MAX_GROWTH, samples


def test_growth_leaves_the_warm_up_out():
    flat = [(k, 100.0 + (k < 10) * k) for k in range(40)]
    assert growth(flat) == 0
    assert growth([(k, 100.0 + k) for k in range(40)]) == pytest.approx(134.5 / 114.5 - 1)
