import time
from importlib.metadata import version

from avsf_det.utils.benchmark import Panel, hardware, interleaved, markdown_table, plot_growth


def test_rounds_are_interleaved_and_warm_ups_do_not_count():
    calls = []
    pauses = {"a": iter([0.05, 0.0, 0.0, 0.0]), "b": iter([0.0, 0.03, 0.0, 0.03])}

    def way(name):
        calls.append(name)
        time.sleep(next(pauses[name]))

    seconds = interleaved({name: lambda name=name: way(name) for name in "ab"}, repeats=3)

    assert calls == ["a", "b"] * 4
    assert seconds["a"] < 0.05  # its warm-up alone was slow
    assert seconds["b"] >= 0.03  # the median of three


def test_hardware_names_cores_and_versions():
    line = hardware("torch")
    assert " cores" in line
    assert f"torch {version('torch')}" in line


def test_a_table_has_a_row_for_each():
    lines = markdown_table(["way", "ratio"], [["plain", 1.0], ["fast", 2.346]]).splitlines()
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
