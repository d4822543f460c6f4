#!/usr/bin/env python
"""Decode every video of a folder or of a list, and report the bad ones with the reason.

Missing, undecodable (and where; also playlists, images, pipes), no sound (no audio track, or an
empty one), silent, audio and frames of different length or start, too short for a config's clip,
and seconds of --csv after the end.
Noted, since readers make up for it: pixels that are not square, rotated or mirrored frames, frames
or audio that change on the way. The exit code is 0 if there is no problem, 1 if there is one, 2 if
there is nothing to check.
"""

import argparse
import os
import sys

from ava_tools.support.group import in_ranks
from avsf_det.engine.defaults import (
    add_config_options,
    at_least,
    load_config,
    make_parser,
    run_command,
)
from avsf_det.structures.errors import VIDEO_PROBLEMS

EXAMPLES = """examples:
  a folder               python ava_tools/check_videos.py --videos videos/ --output check.csv
  the videos of a csv    python ava_tools/check_videos.py --videos videos/ --csv train.csv \\
                             --config-file configs/AVA/avsf_r50_4x16.yaml --output check.csv
  audio is not needed    python ava_tools/check_videos.py --videos videos/ --output check.csv \\
                             --ignore silent "no sound"

A stopped run resumes when it is started again; files that have changed since are checked again."""


def clip_seconds(config_file: str, options: list[str]) -> float:
    """Return the length of a config's clip."""
    clip = load_config(config_file, options).INPUT.CLIP
    return clip.NUM_FRAMES * clip.STRIDE / clip.FPS


@in_ranks
def run(args: argparse.Namespace) -> int:
    """Return 1 if a video has a problem."""
    from ava_tools.preparation.video_lists import last_seconds, videos_in, videos_of
    from ava_tools.preparation.video_table import check_videos, print_problems

    min_sec = clip_seconds(args.config_file, args.opts) if args.config_file else 0.0
    videos = videos_of(args.csv, args.videos) if args.csv else videos_in(args.videos)
    lasts = last_seconds(args.csv, args.offset) if args.csv else {}
    limits = {"min_sec": min_sec, "max_gap": args.max_gap, "last_secs": lasts}
    rows = check_videos(videos, args.output, **limits, workers=args.workers)
    return int(print_problems(rows, args.ignore) > 0)


def main(argv: list[str] | None = None) -> int:
    """Return the exit code."""
    parser = make_parser(__doc__, EXAMPLES)
    add = parser.add_argument
    add("--videos", required=True, metavar="DIR", help="folder of the videos")
    add("--csv", metavar="FILE", help="check the videos in it: AVA's csv, or video,label")
    offset = "second of the csv's clock at which videos start: 900 for AVA's cut videos (0)"
    add("--offset", type=float, default=0.0, metavar="S", help=offset)
    add("--output", required=True, metavar="FILE", help="csv of all results")
    add("--config-file", metavar="FILE", help="config whose clip a video must hold")
    gap = "largest gap between audio and frames in seconds (0.3)"
    add("--max-gap", type=at_least(0.0), default=0.3, metavar="S", help=gap)
    ignore = f"problems that do not count: {', '.join(VIDEO_PROBLEMS)}"
    add("--ignore", nargs="+", choices=VIDEO_PROBLEMS, default=[], metavar="PROBLEM", help=ignore)
    workers = "videos that are decoded at once (number of CPU cores)"
    add("--workers", type=at_least(1), default=os.cpu_count(), metavar="N", help=workers)
    add_config_options(parser)
    return run_command(run, parser.parse_args(argv), error_code=2)


if __name__ == "__main__":
    sys.exit(main())
