#!/usr/bin/env python
"""Weights of any known format to ours, or to PySlowFast's.

    python ava_tools/convert_checkpoint.py SLOWFAST_8x8_R50.pkl slowfast_r50_8x8.pth \\
        --config-file configs/Kinetics/slowfast_r50_8x8.yaml
    python ava_tools/convert_checkpoint.py model_final.pth model_final.pyth --to pyslowfast

The format is told from the content: PySlowFast and its AVSlowFast fork, Caffe2 blobs, PyTorchVideo,
torchvision's 2-D ResNets, ours. With a config, the weights are also fitted to its model (kernels
inflated and so on), and what the model lacks is left out. Nothing in the file is run.
"""

import argparse
import os
import re
import sys

import torch
from detectron2.config import get_cfg
from detectron2.modeling import build_model
from detectron2.utils.file_io import PathManager

from avsf_det import add_avsf_config
from avsf_det.checkpoint import (
    AVSFCheckpointer,
    CheckpointError,
    convert_to_pyslowfast,
    read_checkpoint,
)
from avsf_det.checkpoint.convert_names import OUR_NAMES, THEIR_NAMES


def convert_checkpoint(
    source: str,
    output: str,
    *,
    to: str = "avsf",
    config_file: str | None = None,
    min_matched: float | None = None,
    opts: list[str] = [],  # noqa: B006  (it is only read)
) -> None:
    """Convert a file and print what was found.

    Args:
        source: path or URL.
        output: path; written over, unless it is ``source``.
        to: "avsf" ({"model": weights}) or "pyslowfast" ({"model_state": weights}).
        config_file: of the model to fit the weights to.
        min_matched: share of its backbone to be filled; MODEL.WEIGHTS_MIN_MATCHED if None.
        opts: KEY VALUE ... of the configuration.

    Raises:
        CheckpointError: if the file cannot be used, or nothing in it is known.
        OSError: if a file cannot be read or written.
    """
    path = PathManager.get_local_path(source)
    if os.path.exists(output) and os.path.samefile(path, output):
        raise CheckpointError(f"{output} is the input: it is not written over")
    state, name_format, _ = read_checkpoint(path)
    print(f"{source}: {len(state)} tensors with names of {name_format}")
    if config_file is not None:
        state = _fit(path, config_file, min_matched, opts)
    if to == "pyslowfast":
        state = convert_to_pyslowfast(state)
    known = OUR_NAMES if to == "avsf" else THEIR_NAMES
    left_over = [name for name in state if not re.match(known, name)]
    if left_over:
        print(f"kept under names that are not known: {', '.join(left_over)}")
    torch.save({"model" if to == "avsf" else "model_state": state}, output)
    print(f"{output}: {len(state)} tensors")


def _fit(
    path: str, config_file: str, min_matched: float | None, opts: list[str]
) -> dict[str, torch.Tensor]:
    """The weights that the model of the config takes from the file, as it takes them."""
    cfg = get_cfg()
    add_avsf_config(cfg)
    cfg.merge_from_file(config_file)
    cfg.merge_from_list(opts)
    cfg.MODEL.DEVICE = "cpu"
    if min_matched is None:
        min_matched = cfg.MODEL.WEIGHTS_MIN_MATCHED
    model = build_model(cfg)
    checkpointer = AVSFCheckpointer(model, min_matched=min_matched)
    checkpointer.load(path)
    report, loaded = checkpointer.report, model.state_dict()
    print(report)
    return {name: loaded[name] for name in loaded if name in {*report.matched, *report.adapted}}


def main(argv: list[str] | None = None) -> int:
    """Returns 1 after a line on stderr if the input is bad."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("input", help="path or URL")
    parser.add_argument("output", help="path")
    parser.add_argument("--to", choices=("avsf", "pyslowfast"), default="avsf")
    parser.add_argument("--config-file", metavar="FILE", help="fit the weights to its model")
    parser.add_argument(
        "--min-matched",
        type=float,
        metavar="SHARE",
        help="of the backbone's tensors, 0..1 (default: the config's MODEL.WEIGHTS_MIN_MATCHED)",
    )
    parser.add_argument("opts", nargs="*", help="KEY VALUE ... of the configuration")
    args = parser.parse_intermixed_args(argv)
    if args.config_file is None and (args.opts or args.min_matched is not None):
        parser.error("--min-matched and KEY VALUE need --config-file")
    if args.config_file is not None and not PathManager.isfile(args.config_file):
        parser.error(f"--config-file {args.config_file}: no such file")
    try:
        convert_checkpoint(
            args.input,
            args.output,
            to=args.to,
            config_file=args.config_file,
            min_matched=args.min_matched,
            opts=args.opts,
        )
    except (CheckpointError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
