#!/usr/bin/env python
"""Train SlowFast and AVSlowFast on Mini-AVA, a generated dataset, and compare them.

Writes summary.json, per_class_ap.png and actions.mp4 (with its audio) to the output folder. A run
that was interrupted is resumed; a finished step is not done again.
"""

import argparse
import os
import sys
from pathlib import Path

from avsf_det.engine.defaults import (
    add_config_options,
    at_least,
    load_config,
    make_parser,
    run_command,
)

ROOT = Path(__file__).resolve().parents[1]
EXAMPLE = "example: python ava_tools/run_mini_demo.py --output output/demo"


def run(args: argparse.Namespace) -> None:
    """Run the demo from the repository root, where configs and datasets are."""
    from ava_tools.experiments.mini_demo import run_mini_demo

    load_config(options=args.opts)  # raises before the data are made
    os.chdir(ROOT)
    run_mini_demo(args.output, args.num_videos, tuple(args.opts))


def main(argv: list[str] | None = None) -> int:
    """Run the command line and return its exit code."""
    parser = make_parser(__doc__, EXAMPLE)
    folder = "folder of all results (output/demo)"
    parser.add_argument("--output", type=Path, default=Path("output/demo"), help=folder)
    parser.add_argument(
        "--num-movies",
        type=at_least(0),
        default=4,
        metavar="N",
        dest="num_videos",
        help="videos to draw",
    )
    add_config_options(parser)
    return run_command(run, parser.parse_args(argv))


if __name__ == "__main__":
    sys.exit(main())
