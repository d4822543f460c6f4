import argparse

import pytest
import torch

from avsf_det.engine.defaults import (
    add_config_arguments,
    build_trained_model,
    load_config,
    make_parser,
    run_command,
)
from avsf_det.structures import AVSFError

from . import actions


def test_a_parser_keeps_line_breaks_and_takes_options_at_the_end(capsys):
    parser = make_parser("First line.\nSecond line.", "example:\n  tool.py --rate 2")
    parser.add_argument("--rate", type=float)
    add_config_arguments(parser, required=True)
    args = parser.parse_args(["--config-file", "c.yaml", "--rate", "2", "MODEL.DEVICE", "cpu"])
    assert (args.config_file, args.rate, args.opts) == ("c.yaml", 2.0, ["MODEL.DEVICE", "cpu"])
    assert parser.parse_args(["--config-file", "c.yaml"]).opts == []
    with pytest.raises(SystemExit):
        parser.parse_args([])
    assert "--config-file" in capsys.readouterr().err
    assert "First line.\nSecond line.\n" in parser.format_help()
    assert parser.format_help().endswith("example:\n  tool.py --rate 2\n")


def test_a_config_file_is_optional(tmp_path):
    parser = make_parser("A tool.")
    add_config_arguments(parser)
    assert load_config(parser.parse_args([]).config_file).INPUT.CLIP.NUM_FRAMES == 32
    (tmp_path / "c.yaml").write_text("INPUT: {CLIP: {NUM_FRAMES: 8, STRIDE: 3}}\n")
    clip = load_config(tmp_path / "c.yaml", ["INPUT.CLIP.STRIDE", 5]).INPUT.CLIP
    assert (clip.NUM_FRAMES, clip.STRIDE) == (8, 5)


@pytest.mark.parametrize(
    ("asked", "is_there", "used"),
    [
        ("cuda", False, "cpu"),
        ("cuda:1", False, "cpu"),
        ("cuda", True, "cuda"),
        ("mps", False, "mps"),
    ],
)
def test_the_cpu_replaces_a_cuda_device_that_is_not_there(monkeypatch, asked, is_there, used):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: is_there)
    assert load_config(options=["MODEL.DEVICE", asked]).MODEL.DEVICE == used


@pytest.mark.parametrize("error", [AVSFError("a.csv:3: give a number"), OSError("a.csv: is gone")])
def test_bad_input_is_one_line_and_an_exit_code(capsys, error):
    def fail(args: argparse.Namespace) -> int:
        raise error

    assert run_command(fail, argparse.Namespace()) == 1
    assert run_command(fail, argparse.Namespace(), error_code=2) == 2
    assert capsys.readouterr().err == f"error: {error}\n" * 2


def test_exit_codes_of_tools():
    assert run_command(lambda args: args.code, argparse.Namespace(code=3)) == 3
    assert run_command(lambda args: None, argparse.Namespace()) == 0
    with pytest.raises(KeyError):  # a bug keeps its traceback
        run_command(lambda args: {}["bug"], argparse.Namespace())


def test_a_trained_model_is_in_eval_mode_and_has_the_weights(tmp_path):
    cfg = actions.make_model(tmp_path)
    model, report = build_trained_model(cfg)
    assert not model.training
    assert not report.missing
    saved = torch.load(cfg.MODEL.WEIGHTS)["model"]
    assert all(torch.equal(value, saved[name]) for name, value in model.state_dict().items())
    del saved["backbone.slow.res2.0.conv1.weight"]
    torch.save({"model": saved}, cfg.MODEL.WEIGHTS)
    with pytest.raises(
        AVSFError, match=r"backbone: backbone\.slow\.res2\.0\.conv1\.weight, not in"
    ):
        build_trained_model(cfg)
    with pytest.raises(AVSFError):
        build_trained_model(cfg, required=None, min_matched=1.0)
    _, report = build_trained_model(cfg, required=None, min_matched=0.5)
    assert report.missing == ("backbone.slow.res2.0.conv1.weight",)
