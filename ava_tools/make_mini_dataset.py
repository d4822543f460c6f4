#!/usr/bin/env python
"""Write small generated datasets in the formats of AVA and of the classification datasets.

Persons stand, walk, jump, crouch and wave; they sing or talk, hit or push. The last four form two
pairs that look the same and differ only by their audio. A run that was interrupted continues where
it stopped, and a second run of a complete dataset takes seconds.
"""

import argparse
import logging
import os
import sys
from pathlib import Path

from ava_tools.mini.annotations import plan_ava
from ava_tools.mini.charades import plan_charades
from ava_tools.mini.epic import plan_epic
from ava_tools.mini.jhmdb import plan_jhmdb
from ava_tools.mini.kinetics import plan_kinetics, plan_places
from ava_tools.mini.ucf_hmdb import plan_hmdb, plan_ucf
from avsf_det.engine.defaults import at_least, make_parser, run_command

PLANS = {
    "ava": plan_ava,
    "kinetics": plan_kinetics,
    "places": plan_places,
    "epic": plan_epic,
    "charades": plan_charades,
    "ucf": plan_ucf,
    "hmdb": plan_hmdb,
    "jhmdb": plan_jhmdb,
}
EXAMPLE = "example: python ava_tools/make_mini_dataset.py --datasets ava kinetics"


def run(args: argparse.Namespace) -> None:
    """Write the datasets."""
    from ava_tools.mini.dataset_folder import write_dataset

    root = Path(os.environ.get("DETECTRON2_DATASETS", "datasets"))
    counts = {"num_train": args.num_train, "num_val": args.num_val}
    counts = {name: count for name, count in counts.items() if count is not None}
    for name in args.datasets:
        dataset = PLANS[name](**counts, seed=args.seed)
        write_dataset(args.output or root / f"{name}_mini", dataset, workers=args.workers)


def main(argv: list[str] | None = None) -> int:
    """Run the command line and return its exit code."""
    parser = make_parser(__doc__, EXAMPLE)
    parser.add_argument(
        "--datasets", nargs="+", choices=PLANS, default=["ava"], help="datasets to make (ava)"
    )
    parser.add_argument(
        "--output",
        type=Path,
        help="folder of the dataset, for one dataset only ($DETECTRON2_DATASETS/NAME_mini, or "
        "datasets/NAME_mini)",
    )
    parser.add_argument("--seed", type=at_least(0), default=0, help="seed of all random draws (0)")
    parser.add_argument(
        "--num-train", type=at_least(1), help="training videos (number of the dataset)"
    )
    parser.add_argument(
        "--num-val", type=at_least(1), help="validation videos (number of the dataset)"
    )
    parser.add_argument(
        "--workers", type=at_least(1), default=os.cpu_count(), help="processes (one per CPU core)"
    )
    args = parser.parse_args(argv)
    if args.output and len(args.datasets) > 1:
        parser.error("--output is the folder of one dataset; give one dataset at a time")
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    return run_command(run, args)


if __name__ == "__main__":
    sys.exit(main())
