#!/usr/bin/env python
"""Convert weights of any known format to ours, or to PySlowFast's.

The format is recognised by the content: PySlowFast and its AVSlowFast fork, Caffe2 blobs,
PyTorchVideo, MMAction2, torchvision's 2-D ResNets, ours. With a config, the weights are adapted to
its model (kernels inflated and so on), and weights that the model lacks are left out.
"""

from __future__ import annotations

import argparse
import os
import re
import sys
from typing import TYPE_CHECKING

from avsf_det.engine.defaults import (
    add_config_options,
    at_least,
    build_trained_model,
    load_config,
    make_parser,
    run_command,
)
from avsf_det.structures.addresses import local_path
from avsf_det.utils.atomic import atomic_path

if TYPE_CHECKING:
    import torch

EXAMPLES = """examples:
  python ava_tools/convert_checkpoint.py SLOWFAST_8x8_R50.pkl slowfast_r50_8x8.pth \\
      --config-file configs/Kinetics/slowfast_r50_8x8.yaml
  python ava_tools/convert_checkpoint.py model_final.pth model_final.pyth --to pyslowfast"""


def run(args: argparse.Namespace) -> None:
    """Convert a file, and print what was found in it."""
    import torch

    from ava_tools.support.pyslowfast_names import THEIR_NAMES, convert_to_pyslowfast
    from avsf_det.checkpoint import CheckpointError, read_checkpoint
    from avsf_det.checkpoint.convert_names import OUR_NAMES

    path = local_path(args.input)
    if os.path.exists(args.output) and os.path.samefile(path, args.output):
        raise CheckpointError(f"{args.output} is the input: it is not written over")
    state, name_format, _ = read_checkpoint(path)
    print(f"{args.input}: {len(state)} tensors with names of {name_format}")
    if args.config_file is not None:
        state = match_weights_to_config(path, args.config_file, args.min_matched, args.opts)
    is_ours = args.to == "avsf"
    if not is_ours:
        state = convert_to_pyslowfast(state)
    known = OUR_NAMES if is_ours else THEIR_NAMES
    unknown = [name for name in state if not re.match(known, name)]
    if unknown:
        print(f"kept under names that are not known: {', '.join(unknown)}")
    with atomic_path(args.output) as temporary, open(temporary, "wb") as file:
        torch.save({"model" if is_ours else "model_state": state}, file)
    print(f"{args.output}: {len(state)} tensors")


def match_weights_to_config(
    path: str, config_file: str, min_matched: float | None, opts: list[str]
) -> dict[str, torch.Tensor]:
    """Return the weights that a config's model takes from a file, in the model's shapes.

    Args:
        path: local file of the weights.
        config_file: config of the model.
        min_matched: fraction of the backbone's tensors that the file must fill, 0..1; None for
            MODEL.WEIGHTS_MIN_MATCHED.
        opts: KEY, VALUE, ... of the config.
    """
    cfg = load_config(config_file, [*opts, "MODEL.DEVICE", "cpu", "MODEL.WEIGHTS", path])
    model, report = build_trained_model(cfg, required=None, min_matched=min_matched)
    loaded = model.state_dict()
    print(report)
    return {name: loaded[name] for name in loaded if name in {*report.matched, *report.adapted}}


def main(argv: list[str] | None = None) -> int:
    """Return the exit code: 1 after one line on stderr if the input is bad."""
    parser = make_parser(__doc__, EXAMPLES)
    add = parser.add_argument
    add("input", help="path or URL")
    add("output", help="file to write (.pth, .pyth)")
    add("--to", choices=("avsf", "pyslowfast"), default="avsf", help="new names (avsf)")
    add("--config-file", metavar="FILE", help="adapt the weights to its model")
    add("--min-matched", type=at_least(0.0), metavar="F", help="fraction that must match, 0..1")
    add_config_options(parser)
    args = parser.parse_args(argv)
    if args.config_file is None and (args.opts or args.min_matched is not None):
        parser.error("--min-matched and KEY VALUE need --config-file")
    return run_command(run, args)


if __name__ == "__main__":
    sys.exit(main())
