#!/usr/bin/env python
"""Detect the actions of persons in videos, and draw them into the video, which keeps its audio.

At every keyframe (--rate, or those of --boxes) the model scores the persons that a detector finds
(MODEL.PERSON_DETECTOR of the config) or that --boxes gives. A frame shows the boxes of the nearest
keyframe, which do not move in between. The audio of a camera is not recorded: the model receives
silence.

A killed run resumes when it is started again. With --json all scores stay beside out.mp4, as
out.jsonl and, in AVA's format, out.csv. Without out.mp4, the next run draws it from out.jsonl.
"""

import argparse
import sys
from pathlib import Path

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
  python ava_tools/demo.py --config-file configs/mini/avsf_mini.yaml --input videos/ \\
      --output drawn/ --boxes boxes.csv --json MODEL.WEIGHTS output/demo/avsf/model_final.pth"""


@in_ranks
def run(args: argparse.Namespace) -> int:
    """Return 1 if a video is bad; the others are drawn all the same."""
    from ava_tools.action_demo.demo import ActionDemo
    from ava_tools.action_demo.webcam import draw_webcam
    from ava_tools.inference.person_boxes import videos_of_path
    from ava_tools.support.ranks import file_size, gather, take_share
    from avsf_det.data import VideoDecodeError
    from avsf_det.engine.predictor import ClipPredictor, PredictorError, load_boxes

    set_up_loggers()
    cfg = load_config(args.config_file, args.opts)
    videos = videos_of_path(args.input) if args.input else []
    min_score = cfg.DATASETS.PROPOSAL_MIN_SCORE_TEST
    boxes_of = load_boxes(args.boxes, min_score, args.offset) if args.boxes else {}
    demo = ActionDemo(
        ClipPredictor(cfg, label_map=args.label_map),
        interval=1 / args.rate,
        classes=args.classes,
        min_score=args.min_score,
        keep_scores=args.json,
    )
    if args.webcam is not None:
        draw_webcam(demo, args.webcam, args.output, args.show)
    failed = []
    for video in take_share(videos, lambda video: file_size(video.path)):
        output = Path(args.output)
        if is_folder(args.input):
            output = (output / video.name).with_suffix(".mp4")
        output.parent.mkdir(parents=True, exist_ok=True)
        try:
            if args.boxes and video.video_id not in boxes_of:
                raise PredictorError(f"{args.boxes}: no boxes of video '{video.video_id}'")
            print(
                demo.run(video.path, output, boxes_of.get(video.video_id), args.offset), flush=True
            )
        except (VideoDecodeError, PredictorError) as error:
            print(f"error: {error}", file=sys.stderr, flush=True)
            failed.append(video.video_id)
    return int(bool(gather(failed)))


def main(argv: list[str] | None = None) -> int:
    """Return the exit code: 1 after one line on stderr if the input is bad."""
    parser = make_parser(__doc__, EXAMPLES)
    add = parser.add_argument
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--input", help="a video, or a folder of videos")
    source.add_argument("--webcam", type=at_least(0), metavar="N", help="a camera, such as 0")
    add("--output", required=True, help=".mp4 to write, or a folder of them")
    add("--rate", type=positive, default=1, metavar="HZ", help="keyframes per second (1)")
    add("--boxes", metavar="CSV", help="person boxes: video_id,second,x1,y1,x2,y2,,score")
    offset = "second of the csv at which videos start: 900 for AVA's cut videos (0)"
    add("--offset", type=float, default=0, metavar="S", help=offset)
    add("--label-map", default="", metavar="FILE", help="of actions, if not that of DATASETS.TEST")
    add("--class", action="append", dest="classes", metavar="NAME", help="draw this action; repeat")
    add("--min-score", type=at_least(0.0), default=0.3, metavar="P", help="of drawn actions (0.3)")
    add("--json", action="store_true", help="keep out.jsonl and out.csv")
    add("--show", action="store_true", help="show the camera's frames in a window; q ends")
    add_config_arguments(parser, required=True)
    args = parser.parse_args(argv)
    if not (args.input and is_folder(args.input)) and not args.output.endswith(".mp4"):
        parser.error("--output must end in .mp4")
    return run_command(run, args)


if __name__ == "__main__":
    sys.exit(main())
