#!/usr/bin/env python
"""Train variants of a config over several seeds, score them and compare them in a table.

Writes table.md and table.json to OUTPUT/ABLATION. An interrupted run is resumed; a finished one is
kept.
"""

import argparse
import json
import sys
from pathlib import Path

from ava_tools.experiments.ablation import ABLATIONS, format_table, run_ablation
from avsf_det.engine.defaults import add_config_options, at_least, make_parser, run_command
from avsf_det.utils.atomic import write_atomic

EXAMPLE = """example:
  python ava_tools/run_ablation.py fusion --classes sing talk hit push
(classes of Mini-Kinetics that only audio distinguishes)"""


def run(args: argparse.Namespace) -> None:
    """Run the ablation, and write and print its table."""
    result = run_ablation(
        args.ablation,
        args.config_file,
        args.opts,
        seeds=args.seeds,
        classes=args.classes,
        output=args.output,
    )
    table, folder = format_table(result), args.output / args.ablation
    write_atomic(folder / "table.json", json.dumps(result, indent=1) + "\n")
    write_atomic(folder / "table.md", table)
    print("\n" + table, end="")


def main(argv: list[str] | None = None) -> int:
    """Run the command line and return its exit code."""
    parser = make_parser(__doc__, EXAMPLE)
    parser.add_argument("ablation", choices=ABLATIONS, help="what is varied between the trainings")
    config = "configs/mini/avsf_kinetics_mini.yaml"
    parser.add_argument("--config-file", default=config, help=f"config to vary ({config})")
    seeds = "seeds, each of which is a training of each variant (1 2 3)"
    parser.add_argument("--seeds", nargs="+", type=at_least(0), default=[1, 2, 3], help=seeds)
    parser.add_argument(
        "--classes", nargs="+", default=[], help="classes whose clips are also scored alone"
    )
    folder = "folder of the trainings and tables (output/ablation)"
    parser.add_argument("--output", type=Path, default=Path("output/ablation"), help=folder)
    # Ends a list of seeds or classes.
    parser.add_argument("--opts", action="store_true", dest="has_opts", help="before KEY VALUE ...")
    add_config_options(parser)
    return run_command(run, parser.parse_args(argv))


if __name__ == "__main__":
    sys.exit(main())
