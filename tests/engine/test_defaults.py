import argparse
import io

import pytest
import torch

from avsf_det.engine.defaults import (
    add_config_arguments,
    build_trained_model,
    load_config,
    make_parser,
    positive,
    run_command,
    write_utf8,
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


def test_lists_end_where_a_config_key_begins():
    parser = make_parser("A tool.")
    parser.add_argument("--classes", nargs="+", default=[])
    parser.add_argument("name")
    add_config_arguments(parser)
    args = parser.parse_args(["--classes", "a", "B", "SOLVER.MAX_ITER", "4", "--", "x", "SEED=1"])
    assert (args.classes, args.name) == (["a", "B"], "x")
    assert args.opts == ["SOLVER.MAX_ITER", "4", "SEED=1"]


@pytest.mark.parametrize("text", ["nan", "inf", "-1", "0", "x"])
def test_numbers_of_options_have_a_range(capsys, text):
    parser = make_parser("A tool.")
    parser.add_argument("--rate", type=positive)
    with pytest.raises(SystemExit):
        parser.parse_args([f"--rate={text}"])
    error = capsys.readouterr().err
    assert "--rate" in error and text in error and error.count("\n") == 1
    assert parser.parse_args(["--rate", "0.5"]).rate == 0.5


def test_a_config_file_is_optional(tmp_path):
    parser = make_parser("A tool.")
    add_config_arguments(parser)
    assert load_config(parser.parse_args([]).config_file).INPUT.CLIP.NUM_FRAMES == 32
    (tmp_path / "c.yaml").write_text("INPUT: {CLIP: {NUM_FRAMES: 8, STRIDE: 3}}\n")
    clip = load_config(tmp_path / "c.yaml", ["INPUT.CLIP.STRIDE", 5]).INPUT.CLIP
    assert (clip.NUM_FRAMES, clip.STRIDE) == (8, 5)


@pytest.mark.parametrize("error", [AVSFError("a.csv:3: give a number"), OSError("a.csv: is gone")])
def test_bad_input_is_one_line_and_an_exit_code(capsys, error):
    def fail(args: argparse.Namespace) -> int:
        raise error

    assert run_command(fail, argparse.Namespace()) == 1
    assert run_command(fail, argparse.Namespace(), error_code=2) == 2
    assert capsys.readouterr().err == f"error: {error}\n" * 2


def test_an_interrupted_tool_ends_without_traceback(capsys):
    def interrupt(args: argparse.Namespace) -> int:
        raise KeyboardInterrupt

    assert run_command(interrupt, argparse.Namespace()) == 130
    assert capsys.readouterr().err == "interrupted\n"


def test_results_are_not_written_to_an_address(capsys):
    args = argparse.Namespace(output="s3://bucket/boxes.csv")
    assert run_command(lambda args: 0, args) == 1
    assert "--output s3://bucket/boxes.csv: is an address; give a local" in capsys.readouterr().err


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


def test_streams_of_an_ascii_locale_write_utf_8():
    buffer = io.BytesIO()
    stream = io.TextIOWrapper(buffer, "ascii")
    write_utf8(stream, io.StringIO())
    print("\u52a8\u4f5c \udcff", file=stream, flush=True)
    assert buffer.getvalue() == "\u52a8\u4f5c ".encode() + b"\xff\n"
