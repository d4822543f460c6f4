"""Configs and KEY VALUE options of all tools: what is bad is one line, and no file runs code."""

import importlib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
MINI = str(ROOT / "configs" / "mini" / "avsf_mini.yaml")
# Tool -> arguments without the config; v.mp4, c.pth and the folder d are there.
TOOLS = {
    "avsf_det.engine.train": "",
    "ava_tools.analyze_model": "",
    "ava_tools.benchmark clips": "clips --videos d --folder d",
    "ava_tools.benchmark model": "model",
    "ava_tools.check_videos": "--videos d --output o.csv",
    "ava_tools.classify": "--input v.mp4 --output o.csv",
    "ava_tools.convert_checkpoint": "c.pth o.pth",
    "ava_tools.demo": "--input v.mp4 --output o.mp4",
    "ava_tools.detect_persons": "--input v.mp4 --output o.csv",
    "ava_tools.export_model": "--output o.onnx",
    "ava_tools.extract_features": "--input v.mp4 --output o",
    "ava_tools.report": "--run a=d --output o.html",
    "ava_tools.run_ablation": "fusion --output o",
    "ava_tools.visualize_data": "--output o.png",
    "ava_tools.visualize_results": "--detections d --output o.png",
    "ava_tools.visualize_sync": "--input v.mp4",
}
FILES = {
    "code.yaml": 'OUTPUT_DIR: o\nSEED: !!python/object/apply:os.system ["touch owned"]\n',
    "base.yaml": "_BASE_: code.yaml\nSEED: 1\n",
    "self.yaml": "_BASE_: self.yaml\n",
    "list.yaml": "- SEED\n",
    "empty.yaml": "",
}
MESSAGES = {
    "code.yaml": "code.yaml:2: the tag !!python/object/apply:os.system can run code",
    "base.yaml": "code.yaml:2: the tag !!python/object/apply:os.system can run code",
    "self.yaml": "leads back to the file itself",
    "list.yaml": "has no KEY: VALUE lines",
    "empty.yaml": "is empty",
    "nowhere.yaml": "nowhere.yaml",
}


@pytest.fixture
def call(tmp_path, monkeypatch, capsys):
    """Function that runs a tool and returns its exit code and what it writes to stderr."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "d").mkdir()
    # A tensor file, as the converter reads it before the config.
    import torch

    torch.save({"model": {"backbone.slow.stem.conv.weight": torch.zeros(1)}}, "c.pth")
    for name, text in {**FILES, "v.mp4": "x"}.items():
        (tmp_path / name).write_text(text)

    def run(tool, *arguments):
        main = importlib.import_module(tool.split()[0]).main
        try:
            code = main([*TOOLS[tool].split(), *arguments])
        except SystemExit as end:
            code = end.code
        return code, capsys.readouterr().err

    return run


def is_one_line(text: str) -> bool:
    return text.count("\n") == 1 and "error: " in text and len(text) <= 300


@pytest.mark.parametrize("tool", TOOLS)
def test_a_bad_config_is_one_line(tool, call, tmp_path):
    before = {*tmp_path.iterdir()}
    for name, message in MESSAGES.items():
        code, error = call(tool, "--config-file", name)
        assert code in (1, 2) and message in error and is_one_line(error), (name, error)
    assert {*tmp_path.iterdir()} == before


@pytest.mark.parametrize("tool", TOOLS)
def test_a_bad_option_is_one_line_that_names_it(tool, call):
    bad = {
        ("MODEL.WEIGTHS", "w"): "MODEL.WEIGHTS",
        ("SOLVER.MAX_ITER",): "SOLVER.MAX_ITER",
        ("SOLVER.MAX_ITER=x",): "SOLVER.MAX_ITER",
        ("INPUT.CLIP.STRIDE", "0"): "INPUT.CLIP.STRIDE is 0",
        ("--config-fil-e", "x"): "unknown option '--config-fil-e'; the nearest is --config-file",
        ("SOLVER.MAX_ITER=4", "--bogus", "3"): "--bogus",
        ("--SOLVER.MAX_ITER", "4"): "config keys are written without dashes",
        ("-z",): "-z",
    }
    for options, message in bad.items():
        for arguments in (("--config-file", MINI, *options), (*options, "--config-file", MINI)):
            code, error = call(tool, *arguments)
            assert code in (1, 2) and message in error and is_one_line(error), (arguments, error)
