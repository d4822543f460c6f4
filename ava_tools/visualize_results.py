#!/usr/bin/env python
"""Draw the detections of an AVA evaluation beside the annotation, on keyframes, as an image."""

import argparse
import sys

from ava_tools.report_page.sources import (
    add_arguments,
    evaluated_dataset_of_arguments,
    read_run,
)
from avsf_det.engine.defaults import at_least, make_parser, run_command
from avsf_det.utils.atomic import atomic_path

EXAMPLE = """example:
  python ava_tools/visualize_results.py --config-file configs/mini/avsf_mini.yaml \\
      --detections output/demo/avsf --output results.png
or, for any csv in AVA's format:
  python ava_tools/visualize_results.py -l labels.pbtxt -g val.csv --videos videos/ \\
      --detections detections.csv --output results.png"""


def run(args: argparse.Namespace) -> None:
    """Write the image."""
    from ava_tools.charts.keyframe_sheet import choose_keyframes, draw_keyframes

    evaluated = evaluated_dataset_of_arguments(args)
    detections = read_run(args.detections, evaluated.name)
    keyframes = choose_keyframes(evaluated, detections, args.video, args.num, args.seed)
    sheet = draw_keyframes(evaluated, detections, keyframes, args.min_score)
    with atomic_path(args.output) as path:
        sheet.save(path)
    print(f"{args.output}: {len(keyframes)} keyframes")


def main(argv: list[str] | None = None) -> int:
    """Run the command line and return its exit code."""
    parser = make_parser(__doc__, EXAMPLE)
    parser.add_argument(
        "--detections", required=True, metavar="PATH", help="csv, or OUTPUT_DIR of an evaluation"
    )
    parser.add_argument(
        "--output", default="results.png", metavar="FILE", help="image to write (results.png)"
    )
    parser.add_argument("--video", default="", metavar="ID", help="keyframes of this video only")
    parser.add_argument(
        "--num", type=at_least(1), default=8, metavar="N", help="keyframes to draw (8)"
    )
    parser.add_argument("--seed", type=at_least(0), default=0, help="seed of the choice (0)")
    parser.add_argument(
        "--min-score", type=at_least(0.0), default=0.3, help="lowest action score written (0.3)"
    )
    add_arguments(parser)
    return run_command(run, parser.parse_args(argv))


if __name__ == "__main__":
    sys.exit(main())
