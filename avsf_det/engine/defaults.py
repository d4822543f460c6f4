"""Common steps of all command-line tools: parser, config, model with its weights, exit codes.

A tool reads::

    def run(args: argparse.Namespace) -> int:
        cfg = load_config(args.config_file, args.opts)
        ...
        return 0

    def main(argv: list[str] | None = None) -> int:
        parser = make_parser(__doc__, EXAMPLES)
        parser.add_argument("--output", required=True)
        add_config_arguments(parser, required=True)
        return run_command(run, parser.parse_args(argv))

torch and Detectron2 are imported inside the functions that need them: tools that only score csv
files use the parser and the exit codes, and start without both.
"""

from __future__ import annotations

import argparse
import codecs
import difflib
import io
import logging
import math
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, TextIO

from avsf_det.structures import AVSFError, ConfigError
from avsf_det.structures.addresses import is_address
from avsf_det.structures.errors import one_line

if TYPE_CHECKING:
    from detectron2.config import CfgNode
    from torch import nn

    from avsf_det.checkpoint import LoadReport

_KEY = re.compile(r"[A-Z][A-Z0-9_]*(\.[A-Z0-9_]+)+(=.*)?")  # SOLVER.MAX_ITER, SOLVER.MAX_ITER=4


class ToolParser(argparse.ArgumentParser):
    """Parser whose KEY VALUE options may stand anywhere, and whose errors are one line."""

    def parse_known_args(  # type: ignore[override]
        self, args: Sequence[str] | None = None, namespace: argparse.Namespace | None = None
    ) -> tuple[argparse.Namespace, list[str]]:
        """Parse; what is left over are KEY VALUE options (``opts``), if the tool has them."""
        args = sys.argv[1:] if args is None else list(args)
        known = [*self._option_string_actions]
        if self._subparsers is None:
            # A misspelt option comes first: it is often why another one is missing.
            for text in args[: args.index("--")] if "--" in args else args:
                name = text.partition("=")[0]
                if name.startswith("--") and " " not in name:
                    if not any(option.startswith(name) for option in known):
                        self._refuse_option(name, known)
        parsed, rest = super().parse_known_args(args, namespace)
        rest = [text for text in rest if text != "--"]
        if hasattr(parsed, "opts"):
            parsed.opts = [*parsed.opts, *_take_options(parsed), *rest]
            rest = [text for text in rest if text.startswith("-") and not _is_number(text)]
        if rest:
            self._refuse_option(rest[0], known)
        return parsed, []

    def _refuse_option(self, name: str, known: list[str]) -> None:
        near = difflib.get_close_matches(name, known, 1)
        if near:
            hint = f"; the nearest is {near[0]}"
        elif "." in name or name.strip("-").isupper():
            hint = "; config keys are written without dashes"
        else:
            hint = ""
        self.error(f"unknown option '{name}'{hint}")

    def error(self, message: str) -> NoReturn:
        """Print one line, without the usage, and exit."""
        self.exit(2, f"{self.prog}: error: {message} (--help lists all options)\n")


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _take_options(parsed: argparse.Namespace) -> list[str]:
    """Take KEY VALUE options from the end of the list of an option that takes several values."""
    taken = []
    for name, values in vars(parsed).items():
        if isinstance(values, list) and name != "opts":
            for i, value in enumerate(values):
                if isinstance(value, str) and _KEY.fullmatch(value):
                    taken += values[i:]
                    del values[i:]
                    break
    return taken


def make_parser(description: str | None, examples: str = "") -> ToolParser:
    """Return a parser whose help shows both texts, above and below the options, line by line."""
    layout = argparse.RawDescriptionHelpFormatter
    return ToolParser(description=description, epilog=examples, formatter_class=layout)


def at_least(low: float, *, above: bool = False) -> Callable[[str], float]:
    """Return the ``type`` of an option: a finite number, whole if ``low`` is, from ``low`` on.

    Args:
        low: smallest number.
        above: whether ``low`` itself is refused.
    """
    kind = type(low)

    def convert(text: str) -> float:
        value = kind(text)
        if not low <= value < math.inf or (above and value == low):
            word = "above" if above else "at least"
            raise argparse.ArgumentTypeError(f"must be {word} {low}, got {text}")
        return value

    convert.__name__ = "whole number" if kind is int else "number"  # argparse: "invalid number"
    return convert


positive = at_least(0.0, above=True)


def add_config_arguments(
    parser: argparse.ArgumentParser,
    *,
    required: bool = False,
    default: str = "",
    help: str = "config of the model",
) -> None:
    """Add ``--config-file`` and the KEY VALUE options (``args.opts``)."""
    parser.add_argument(
        "--config-file", required=required, default=default, metavar="FILE", help=help
    )
    add_config_options(parser)


def add_config_options(parser: argparse.ArgumentParser) -> None:
    """Add the KEY VALUE options (``args.opts``) alone."""
    parser.add_argument_group("config options", "KEY VALUE or KEY=VALUE, anywhere, set config keys")
    parser.set_defaults(opts=[])


def load_config(
    config_file: str | Path = "",
    options: Sequence[object] = (),
    *,
    num_processes: int = 0,
    notes: list[str] | None = None,
) -> CfgNode:
    """Return Detectron2's defaults and ours, overridden by a file and by options, and checked.

    The datasets of DATASETS.OWN are registered.

    A file, or the options, that sets the batch, the learning rate or the iterations without
    SOLVER.REFERENCE_WORLD_SIZE means these numbers as they are: the latter becomes 0.

    Args:
        config_file: yaml file, folder of ``publish_model.py``, or a name in the model zoo such as
            "AVA/avsf_r101_8x8.yaml"; "" for the defaults.
        options: KEY, VALUE, KEY, VALUE, ... or KEY=VALUE, ...
        num_processes: number of processes to which a recipe is scaled; 0 to leave it as it is.
        notes: takes the lines for the log; None to log them.

    Raises:
        ConfigError: a file, a key or a value cannot be used; with file and line.
    """
    from detectron2.config import get_cfg

    from avsf_det import add_avsf_config, model_zoo
    from avsf_det.data.datasets.own import register_own

    from .config_checks import check_config
    from .config_file import apply_setting, read_config_file, read_options
    from .machine import choose_device
    from .recipe import Recipe

    cfg = get_cfg()
    add_avsf_config(cfg)
    file = model_zoo.find_config_file(str(config_file)) if config_file else ""
    sources = read_config_file(file) if file else []
    recipe, places = Recipe(), {}
    # Options are read one by one: the first bad one is reported.
    for source in (*sources, read_options(options)):
        keys = set()
        for setting in source:
            apply_setting(cfg, setting)
            places[setting.key] = setting.place
            keys.add(setting.key)
        recipe.add_source(cfg, keys)
    check_config(cfg, places)
    found = [*recipe.notes, *choose_device(cfg, is_asked="MODEL.DEVICE" in places)]
    register_own(cfg)
    if num_processes:
        cfg, scaled = recipe.scale(cfg, num_processes)
        found += scaled
    if notes is None:
        for note in found:
            logging.getLogger(__name__).info(note)
    else:
        notes += found
    return cfg


def copy_for_inference(cfg: CfgNode) -> CfgNode:
    """Return a copy of a config for predictions on single videos, without synchronisation loss.

    Raises:
        CheckpointError: MODEL.WEIGHTS is no file.
        AVSFError: TEST.AUDIO_MODE is "swap".
    """
    from avsf_det.checkpoint import find_weights_file

    from .config_checks import check_clip

    _check_weights(cfg)
    check_clip(cfg)
    # "swap" takes the audio of another item of a dataset.
    if cfg.TEST.AUDIO_MODE == "swap":
        raise AVSFError("TEST.AUDIO_MODE swap needs a dataset; here it is normal or mute")
    cfg = cfg.clone()
    cfg.defrost()
    cfg.MODEL.AVSYNC.ENABLED = False  # its layers serve the loss alone
    cfg.MODEL.WEIGHTS = find_weights_file(cfg.MODEL.WEIGHTS)
    return cfg


def _check_weights(cfg: CfgNode) -> None:
    from avsf_det.checkpoint import CheckpointError, find_weights_file

    weights = find_weights_file(cfg.MODEL.WEIGHTS)
    if not weights:
        raise CheckpointError("MODEL.WEIGHTS is empty; give the file of a trained model")
    if not is_address(weights) and not Path(weights).is_file():
        raise CheckpointError(
            f"MODEL.WEIGHTS is '{weights}', which is no file; give that of a trained model"
        )


def build_trained_model(
    cfg: CfgNode, *, required: str | None = "model", min_matched: float | None = None
) -> tuple[Any, LoadReport]:
    """Build the model of a config in eval mode, with its weights; see :func:`load_weights`."""
    from detectron2.modeling import build_model

    model = build_model(cfg).eval()
    return model, load_weights(model, cfg, required=required, min_matched=min_matched)


def load_weights(
    model: nn.Module,
    cfg: CfgNode,
    *,
    required: str | None = "model",
    min_matched: float | None = None,
) -> LoadReport:
    """Load MODEL.WEIGHTS into a model.

    Args:
        model: model of the config.
        cfg: config.
        required: part of the model that the file must fill: "model", "backbone", or None.
        min_matched: where nothing is required, fraction of the backbone's tensors that the file
            must fill, 0..1; None for MODEL.WEIGHTS_MIN_MATCHED.

    Returns:
        report of the weights that the model has, and lacks, from the file.

    Raises:
        CheckpointError: there are no weights, they cannot be used, or lack what is required.
        OSError: the file cannot be read.
    """
    from avsf_det.checkpoint import AVSFCheckpointer

    _check_weights(cfg)
    if min_matched is None:
        min_matched = cfg.MODEL.WEIGHTS_MIN_MATCHED
    checkpointer = AVSFCheckpointer(model, required=required, min_matched=min_matched)
    checkpointer.load(cfg.MODEL.WEIGHTS)
    # For mypy: load() makes a report, or raises.
    assert checkpointer.report is not None
    return checkpointer.report


def set_up_loggers() -> None:
    """Show the log of this project, and of the checkpointer, on the terminal."""
    from detectron2.utils.logger import setup_logger

    # Detectron2 logs nothing by default; its checkpointer writes to the log of fvcore.
    for name in ("avsf_det", "ava_tools", "fvcore"):
        setup_logger(name=name)


def write_utf8(*streams: TextIO) -> None:
    """Let text streams whose locale knows ASCII alone write UTF-8, as Python does by default."""
    for stream in streams:
        if isinstance(stream, io.TextIOWrapper) and codecs.lookup(stream.encoding).name == "ascii":
            stream.reconfigure(encoding="utf-8", errors="surrogateescape")


def run_command(
    run: Callable[[argparse.Namespace], int | None],
    args: argparse.Namespace,
    *,
    error_code: int = 1,
) -> int:
    """Run a tool and return its exit code.

    Args:
        run: the tool; returns an exit code, None for 0.
        args: its arguments.
        error_code: exit code if the input is bad: after one line, "error: ...", on stderr.
    """
    write_utf8(sys.stdout, sys.stderr)
    try:
        if is_address(output := getattr(args, "output", "")):
            raise ConfigError(f"--output {output}: is an address; give a local path")
        return run(args) or 0
    # Errors that the user can act on. All others are bugs, and keep their traceback.
    except (AVSFError, OSError) as error:
        print(f"error: {one_line(str(error))}", file=sys.stderr)
        return error_code
    except ImportError as error:
        if error.name != "detectron2":  # without it, our message says what to run
            raise
        print(f"error: {error}", file=sys.stderr)
        return error_code
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130  # as the shell's: 128 + SIGINT
