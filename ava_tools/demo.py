#!/usr/bin/env python
"""Detect the actions of persons in videos or in a live stream, and draw them; the audio is kept.

At every keyframe (--rate, or those of --boxes) the model scores the persons that a detector finds
(MODEL.PERSON_DETECTOR of the config) or that --boxes gives. A frame shows the boxes of the nearest
keyframe, or "not scored here" if none is near. With --json all scores stay beside out.mp4, as
out.jsonl and, in AVA's format, out.csv; with --no-video they alone are written. A killed run
resumes when it is started again. Without out.mp4, the next run draws it from out.jsonl.

A device or a network stream is scored while it runs, with its audio, until it ends or Ctrl-C. A
frame then shows the boxes of the newest keyframe. Latency and dropped frames are printed.
"""

import argparse
import sys

from ava_tools.support.arguments import add_box_arguments, add_live_arguments
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
      --output out/ --boxes boxes.csv --no-video MODEL.WEIGHTS output/demo/avsf/model_final.pth
  python ava_tools/demo.py --config-file C --input rtsp://camera/1 --output out.mp4 --whole-frame"""


@in_ranks
def run(args: argparse.Namespace) -> int:
    """Return 1 if a video is bad; the others are drawn all the same."""
    from ava_tools.action_demo.demo import ActionDemo, run_videos
    from ava_tools.action_demo.live_demo import LiveDemo, show_in_window
    from ava_tools.action_demo.live_source import live_sources
    from ava_tools.inference.person_boxes import videos_of_path
    from avsf_det.engine.predictor import ClipPredictor, load_boxes

    set_up_loggers()
    cfg = load_config(args.config_file, [*args.opts, *args.whole_frame])
    sources = live_sources(args.input, dict(args.input_option), args.microphone)
    videos = [] if sources else videos_of_path(args.input)
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
    if sources:
        show = show_in_window if args.show else None
        LiveDemo(demo, sources, args.reconnect, show).run(args.output)
        return 0
    return run_videos(demo, videos, args.output, is_folder(args.input), boxes_of, args.offset)


def main(argv: list[str] | None = None) -> int:
    """Return the exit code: 1 after one line on stderr if the input is bad."""
    parser = make_parser(__doc__, EXAMPLES)
    add = parser.add_argument
    add("--input", required=True, help="video, folder, device or stream; see docs/own_videos.md")
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
    add_live_arguments(parser)
    add_config_arguments(parser, required=True)
    args = parser.parse_args(argv)
    suffix = ".csv" if args.no_video else ".mp4"
    if not is_folder(args.input) and not args.output.endswith(suffix):
        parser.error(f"--output must end in {suffix}")
    return run_command(run, args)


if __name__ == "__main__":
    sys.exit(main())
