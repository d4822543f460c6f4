#!/usr/bin/env python
"""List the labelled clips of a folder, as register_clip_csv and register_kinetics read them.

Videos are in folders named after their class, or are those of an official csv of Kinetics. Writes
train.csv and val.csv (columns video,label; paths relative to --videos) and classes.txt; for an
official csv also missing.csv, the rows whose video is missing: then the exit code is 1.
"""

import argparse
import sys
from pathlib import Path

from avsf_det.engine.defaults import at_least, make_parser, run_command

EXAMPLES = """examples:
  class folders           python ava_tools/prepare_video_lists.py --videos clips/ --output lists/
  another fifth           python ava_tools/prepare_video_lists.py --videos clips/ --output lists/ \\
                              --val-share 0.2 --seed 1
  official csv            python ava_tools/prepare_video_lists.py --csv kinetics-400_val.csv \\
                              --videos videos/val --output lists/

If an official csv has a column split, "train" is for training, every other value for evaluation."""


def run(args: argparse.Namespace) -> int:
    """Return 1 if videos are missing."""
    from ava_tools.preparation.clip_lists import write_lists

    missing = write_lists(args.csv, args.videos, args.output, args.val_share, args.seed)
    return int(missing > 0)


def main(argv: list[str] | None = None) -> int:
    """Return the exit code: 1 if videos are missing, or the input is bad."""
    parser = make_parser(__doc__, EXAMPLES)
    add = parser.add_argument
    add("--videos", required=True, metavar="DIR", help="folder of the videos")
    add("--csv", metavar="FILE", help="official csv of Kinetics")
    add("--output", type=Path, required=True, metavar="DIR", help="folder of the lists")
    share = "fraction of the videos for evaluation (0.2)"
    add("--val-share", type=at_least(0.0), default=0.2, help=share)
    add("--seed", type=at_least(0), default=0, help="seed of the random division (0)")
    args = parser.parse_args(argv)
    if args.val_share >= 1:
        parser.error("--val-share must be at least 0 and less than 1")
    return run_command(run, args)


if __name__ == "__main__":
    sys.exit(main())
