"""Interleaved timing, tables and plots."""

from functools import partial
from importlib.metadata import version
from pathlib import Path

import pytest

from ava_tools.benchmarks import measure
from ava_tools.benchmarks.display import Panel, format_table, plot_growth
from ava_tools.benchmarks.measure import describe_hardware, read_peak_memory, time_interleaved

LINUX = Path("/proc/self/status").exists()


def test_rounds_are_interleaved_and_warm_ups_do_not_count(monkeypatch):
    calls = []
    durations = {"a": iter([5.0, 1.0, 1.0, 1.0]), "b": iter([0.0, 3.0, 0.0, 3.0])}
    now = 0.0

    def call(name):
        nonlocal now
        calls.append(name)
        now += next(durations[name])

    monkeypatch.setattr(measure.time, "perf_counter", lambda: now)
    seconds = time_interleaved({name: partial(call, name) for name in "ab"}, repeats=3)

    assert calls == ["a", "b"] * 4
    assert seconds == {"a": 1, "b": 3}  # medians without the warm-up


def test_hardware_names_cores_and_versions():
    line = describe_hardware("torch")
    assert " cores" in line
    assert f"torch {version('torch')}" in line


def test_a_table_has_a_row_for_each():
    lines = format_table(["variant", "ratio"], [["plain", 1.0], ["fast", 2.346]]).splitlines()
    assert len(lines) == 4
    assert "2.35" in lines[3]


def test_plots_are_drawn_in_the_format_of_the_file(tmp_path):
    panels = [
        Panel("frames", "s", [8, 16, 32], {"forward": [0.1, 0.2, 0.4]}),
        Panel("crop", "s", [112, 224], {"forward": [0.1, 0.4], "backward": [0.3, 1.2]}),
    ]
    plot_growth(panels, tmp_path / "growth.svg", "slowfast")
    text = (tmp_path / "growth.svg").read_text()
    assert text.startswith("<?xml")
    assert "slowfast" in text or "<path" in text


@pytest.mark.skipif(not LINUX, reason="only Linux shows the peak memory of a process")
def test_peak_memory_is_in_mib():
    before = read_peak_memory()
    filled = bytearray(b"x" * 2**26)
    assert read_peak_memory() > min(before, len(filled) / 2**20)
    assert before > 5
