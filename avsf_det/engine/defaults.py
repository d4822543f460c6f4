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
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from avsf_det.structures import AVSFError
from avsf_det.structures.errors import one_line

if TYPE_CHECKING:
    from detectron2.config import CfgNode
    from torch import nn

    from avsf_det.checkpoint import LoadReport


def make_parser(description: str | None, examples: str = "") -> argparse.ArgumentParser:
    """Return a parser whose help shows both texts, above and below the options, line by line."""
    layout = argparse.RawDescriptionHelpFormatter
    return argparse.ArgumentParser(description=description, epilog=examples, formatter_class=layout)


def add_config_arguments(
    parser: argparse.ArgumentParser,
    *,
    required: bool = False,
    default: str = "",
    help: str = "config of the model",
) -> None:
    """Add ``--config-file`` and the trailing KEY VALUE options (``args.opts``).

    Call this last: the options take all that follows the first KEY.
    """
    parser.add_argument(
        "--config-file", required=required, default=default, metavar="FILE", help=help
    )
    add_config_options(parser)


def add_config_options(parser: argparse.ArgumentParser) -> None:
    """Add the trailing KEY VALUE options (``args.opts``) alone."""
    parser.add_argument("opts", nargs=argparse.REMAINDER, help="KEY VALUE ... of the config")


def load_config(config_file: str | Path = "", options: Sequence[object] = ()) -> CfgNode:
    """Return Detectron2's defaults and ours, overridden by a file and by options.

    Args:
        config_file: yaml file; "" for the defaults.
        options: KEY, VALUE, KEY, VALUE, ...
    """
    import torch
    from detectron2.config import get_cfg

    from avsf_det import add_avsf_config

    cfg = get_cfg()
    add_avsf_config(cfg)
    if config_file:
        cfg.merge_from_file(str(config_file))
    cfg.merge_from_list(list(options))
    # Our configs keep Detectron2's default "cuda", and must run on machines without it.
    if cfg.MODEL.DEVICE.startswith("cuda") and not torch.cuda.is_available():
        cfg.MODEL.DEVICE = "cpu"
    return cfg


def copy_for_inference(cfg: CfgNode) -> CfgNode:
    """Return a copy of a config for predictions on single videos, without synchronisation loss.

    Raises:
        CheckpointError: MODEL.WEIGHTS is no file.
        AVSFError: TEST.AUDIO_MODE is "swap".
    """
    _check_weights(cfg)
    # "swap" takes the audio of another item of a dataset.
    if cfg.TEST.AUDIO_MODE == "swap":
        raise AVSFError("TEST.AUDIO_MODE swap needs a dataset; here it is normal or mute")
    cfg = cfg.clone()
    cfg.defrost()
    cfg.MODEL.AVSYNC.ENABLED = False  # its layers serve the loss alone
    return cfg


def _check_weights(cfg: CfgNode) -> None:
    from avsf_det.checkpoint import CheckpointError

    weights = cfg.MODEL.WEIGHTS
    if not weights:
        raise CheckpointError("MODEL.WEIGHTS is empty; give the file of a trained model")
    # A URL is resolved by Detectron2's PathManager, which downloads it.
    if "://" not in weights and not Path(weights).is_file():
        raise CheckpointError(
            f"MODEL.WEIGHTS is '{weights}', which is no file; give that of a trained model"
        )


def build_trained_model(
    cfg: CfgNode, *, required: str | None = "model", min_matched: float | None = None
) -> tuple[nn.Module, LoadReport]:
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
    try:
        return run(args) or 0
    # Errors that the user can act on. All others are bugs, and keep their traceback.
    except (AVSFError, OSError) as error:
        print(f"error: {one_line(str(error))}", file=sys.stderr)
        return error_code
