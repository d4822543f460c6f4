#!/usr/bin/env python
"""Classify videos by a sliding window, and write the best classes of each window as a csv.

The columns are video, start, end (seconds), class, score (0..1) and task: "action", or "verb" and
"noun" of EPIC-Kitchens. A window is as long as the model's clip, and windows cover the whole video.
A killed run resumes when it is started again; the csv is written at the end.
"""

import argparse
import sys

from ava_tools.support.arguments import named_path
from ava_tools.support.group import in_ranks
from avsf_det.engine.defaults import (
    add_config_arguments,
    at_least,
    load_config,
    make_parser,
    positive,
    run_command,
    set_up_loggers,
)
from avsf_det.structures import AVSFError
from avsf_det.structures.addresses import exists, is_folder, name_of

EXAMPLES = """examples:
  python ava_tools/classify.py --config-file configs/mini/avsf_kinetics_mini.yaml \\
      --input videos/ --output classes.csv MODEL.WEIGHTS output/avsf_kinetics/model_final.pth
  python ava_tools/classify.py --config-file my.yaml --input video.mp4 --output classes.csv \\
      --stride 0.5 --top 1 --classes action=classes.txt MODEL.WEIGHTS output/my/model_final.pth"""


@in_ranks
def run(args: argparse.Namespace) -> int:
    """Return 1 if a video is bad; the classes of the others are written all the same."""
    from ava_tools.inference.clip_predictions import ClipScorer, classify_videos
    from ava_tools.preparation.video_lists import videos_in
    from ava_tools.support.ranks import print_once

    set_up_loggers()
    cfg = load_config(args.config_file, args.opts)
    if not exists(args.input):
        raise AVSFError(f"{args.input}: no video there, and no folder")
    videos = videos_in(args.input) if is_folder(args.input) else {name_of(args.input): args.input}
    scorer = ClipScorer(cfg, dict(args.classes))
    windows, bad = classify_videos(scorer, videos, args.output, stride=args.stride, top=args.top)
    print_once(f"{args.output}: {windows} windows of {scorer.clip_sec:g} s, {len(videos)} videos")
    if bad:
        title = f"error: {len(bad)} of {len(videos)} videos could not be read to their end:"
        kept = f"The windows before the damage are in {args.output}; the same command tries again."
        print_once(title, *bad, kept, sep="\n  ", file=sys.stderr)
    return int(bool(bad))


def main(argv: list[str] | None = None) -> int:
    """Return the exit code: 1 after lines on stderr if the input is bad."""
    parser = make_parser(__doc__, EXAMPLES)
    add = parser.add_argument
    add("--input", required=True, help="a video, or a folder of videos")
    add("--output", required=True, metavar="FILE.csv", help="csv of the classes")
    stride = "seconds between the starts of windows (the length of a window)"
    add("--stride", type=positive, metavar="S", help=stride)
    add("--top", type=at_least(1), default=5, metavar="K", help="classes of each window (5)")
    add(
        "--classes",
        action="append",
        default=[],
        type=named_path,
        metavar="TASK=FILE",
        help="class names, one per line, if not those of DATASETS.TEST; repeat for other tasks",
    )
    add_config_arguments(parser, required=True)
    return run_command(run, parser.parse_args(argv))


if __name__ == "__main__":
    sys.exit(main())
