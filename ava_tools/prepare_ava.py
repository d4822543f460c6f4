#!/usr/bin/env python
"""Cut the annotated 15 minutes out of AVA's videos, with their audio.

First finds the videos of the annotations that are missing, unreadable, too short or without audio,
and the size of the output. Existing cuts are kept, so a stopped run resumes; files are complete or
not there. The exit code is 0 only if every video is good. Nothing is decoded completely:
check_videos.py does that, for whole videos and for cuts.
"""

import argparse
import os
import sys
from pathlib import Path

from ava_tools.support.group import in_ranks
from avsf_det.engine.defaults import at_least, make_parser, run_command
from avsf_det.structures import AnnotationError

EXAMPLES = """examples:
  python ava_tools/prepare_ava.py --dry-run
  python ava_tools/prepare_ava.py --workers 8
  python ava_tools/prepare_ava.py --gop 12 --output datasets/ava/videos_15min_gop12

By default reads datasets/ava/annotations/ava_{train,val}_v2.{1,2}.csv and the videos of
datasets/ava/videos, and writes datasets/ava/videos_15min ($DETECTRON2_DATASETS for datasets)."""


def ava_folder() -> Path:
    """Return the folder of AVA below $DETECTRON2_DATASETS."""
    return Path(os.path.expanduser(os.environ.get("DETECTRON2_DATASETS", "datasets")), "ava")


@in_ranks
def run(args: argparse.Namespace) -> int:
    """Return 1 if a video has a problem."""
    from ava_tools.preparation.ava_cuts import prepare
    from ava_tools.preparation.video_lists import read_video_ids
    from ava_tools.support.ranks import print_once

    folder = ava_folder() / "annotations"
    official = [folder / f"ava_{s}_v2.{v}.csv" for s in ("train", "val") for v in (1, 2)]
    lists = args.csv or [str(path) for path in official if path.exists()]
    if not lists:
        raise AnnotationError(f"{folder}: no ava_train_v2.2.csv there; give --csv")
    problems = prepare(
        read_video_ids(lists),
        str(args.videos),
        args.output,
        gop=args.gop,
        workers=args.workers,
        dry_run=args.dry_run,
    )
    for video_id, problem in problems.items():
        print_once(f"{video_id}: {problem}")
    return int(bool(problems))


def main(argv: list[str] | None = None) -> int:
    """Return the exit code: 1 if a video has a problem, or the input is bad."""
    ava = ava_folder()
    parser = make_parser(__doc__, EXAMPLES)
    add = parser.add_argument
    add("--csv", nargs="+", metavar="FILE", help="AVA's csv files, or lists of file names")
    add("--videos", default=ava / "videos", metavar="DIR", help="folder of the whole videos")
    cut = f"folder of the cut videos ({ava / 'videos_15min'})"
    add("--output", type=Path, default=ava / "videos_15min", metavar="DIR", help=cut)
    add("--gop", type=at_least(1), metavar="N", help="encode again, with an I-frame every N frames")
    add("--workers", type=at_least(1), default=os.cpu_count(), help="threads (CPU cores)")
    add("--dry-run", action="store_true", help="inspect, and write nothing")
    return run_command(run, parser.parse_args(argv))


if __name__ == "__main__":
    sys.exit(main())
