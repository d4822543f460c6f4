#!/usr/bin/env python
"""Detect the actions of persons in videos, and draw them into the video, which keeps its audio.

At every keyframe (--rate, or those of --boxes) the model scores the persons that a detector finds
(MODEL.PERSON_DETECTOR of the config) or that --boxes gives. A frame shows the boxes of the nearest
keyframe, or "not scored here" if none is near. The audio of a camera is not recorded: the model
receives silence.

A killed run resumes when it is started again. With --json all scores stay beside out.mp4, as
out.jsonl and, in AVA's format, out.csv. Without out.mp4, the next run draws it from out.jsonl.
With --no-video the scores alone are written.
"""

import argparse
import sys

from ava_tools.support.arguments import add_box_arguments
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
from avsf_det.structures.addresses import is_folder

EXAMPLES = """examples:
  python ava_tools/demo.py --config-file zoo/AVA/slowfast_r101_8x8_k600.yaml \\
      --input video.mp4 --output out.mp4
  python ava_tools/demo.py --config-file configs/mini/avsf_mini.yaml --input in/ \\
      --output out/ --boxes boxes.csv --no-video MODEL.WEIGHTS output/demo/avsf/model_final.pth"""


@in_ranks
def run(args: argparse.Namespace) -> int:
    """Return 1 if a video is bad; the others are drawn all the same."""
    from ava_tools.action_demo.demo import ActionDemo, run_videos
    from ava_tools.action_demo.webcam import draw_webcam
    from ava_tools.inference.person_boxes import videos_of_path
    from avsf_det.engine.predictor import ClipPredictor, load_boxes

    set_up_loggers()
    cfg = load_config(args.config_file, args.opts)
    videos = videos_of_path(args.input) if args.input else []
    boxes_of = load_boxes(args.boxes, args.score_threshold, args.offset) if args.boxes else None
    demo = ActionDemo(
        ClipPredictor(cfg, label_map=args.label_map),
        interval=1 / args.rate,
        classes=args.classes,
        min_score=args.min_score,
        keep_scores=args.json,
        draw=not args.no_video,
        max_height=args.max_height,
    )
    if args.webcam is not None:
        draw_webcam(demo, args.webcam, args.output, args.show)
    in_folder = bool(videos) and is_folder(args.input)
    return run_videos(demo, videos, args.output, in_folder, boxes_of, args.offset)


def main(argv: list[str] | None = None) -> int:
    """Return the exit code: 1 after one line on stderr if the input is bad."""
    parser = make_parser(__doc__, EXAMPLES)
    add = parser.add_argument
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--input", help="a video, or a folder of videos")
    source.add_argument("--webcam", type=at_least(0), metavar="N", help="a camera, such as 0")
    add("--output", required=True, help=".mp4 to write (--no-video: .csv), or a folder of them")
    add("--rate", type=positive, default=1, metavar="HZ", help="keyframes per second (1)")
    add_box_arguments(parser)
    add("--label-map", default="", metavar="FILE", help="of actions, if not that of DATASETS.TEST")
    add("--class", action="append", dest="classes", metavar="NAME", help="draw this action; repeat")
    add("--min-score", type=at_least(0.0), default=0.3, metavar="P", help="of drawn actions (0.3)")
    height = "scale higher videos down to so many rows (720)"
    add("--max-height", type=at_least(64), default=720, metavar="ROWS", help=height)
    add("--json", action="store_true", help="keep out.jsonl and out.csv")
    add("--no-video", action="store_true", help="write out.jsonl and out.csv, and draw nothing")
    add("--show", action="store_true", help="show the camera's frames in a window; q ends")
    add_config_arguments(parser, required=True)
    args = parser.parse_args(argv)
    suffix = ".csv" if args.no_video else ".mp4"
    if args.no_video and args.webcam is not None:
        parser.error("--no-video must have --input; a camera is always drawn")
    if not (args.input and is_folder(args.input)) and not args.output.endswith(suffix):
        parser.error(f"--output must end in {suffix}")
    return run_command(run, args)


if __name__ == "__main__":
    sys.exit(main())
