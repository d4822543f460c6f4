#!/usr/bin/env python
"""Find who does what in videos, and draw it into them; their sound is kept.

At every keyframe (--rate, or those of --boxes) the model scores the persons that a detector finds
(MODEL.PERSON_DETECTOR of the configuration) or --boxes gives. Frames show the nearest keyframe's
boxes, which do not move in between. A camera's sound is not recorded: the model hears silence.

A run that was killed goes on when it is started again. With --json all scores stay beside out.mp4,
as out.jsonl and, in AVA's format, out.csv. Without out.mp4, the next run draws it from out.jsonl.
"""

import argparse
import signal
import sys
import threading
from pathlib import Path

import cv2
import numpy as np
import torch
from detectron2.config import CfgNode, get_cfg
from detectron2.utils.logger import setup_logger

from ava_tools.action_demo.demo import ActionDemo
from ava_tools.inference.person_boxes import videos_of_path
from avsf_det import add_avsf_config
from avsf_det.checkpoint import CheckpointError
from avsf_det.data import AnnotationError, VideoDecodeError
from avsf_det.engine.person_detector import PersonDetectorError
from avsf_det.engine.predictor import ClipPredictor, PredictorError, load_boxes

EXAMPLE = """examples:
  python ava_tools/demo.py --config-file configs/AVA/avsf_r101_8x8.yaml \\
      --input video.mp4 --output out.mp4 MODEL.WEIGHTS model_final.pth
  python ava_tools/demo.py --config-file configs/mini/avsf_mini.yaml --input videos/ \\
      --output drawn/ --boxes boxes.csv --json MODEL.WEIGHTS output/demo/avsf/model_final.pth"""
ERRORS = (AnnotationError, CheckpointError, PersonDetectorError, PredictorError, OSError)


def load_config(config_file: str, options: list[str]) -> CfgNode:
    cfg = get_cfg()
    add_avsf_config(cfg)
    cfg.merge_from_file(config_file)
    cfg.merge_from_list(options)
    if not torch.cuda.is_available():
        cfg.MODEL.DEVICE = "cpu"
    return cfg


def run(args: argparse.Namespace) -> int:
    """Returns the number of bad videos."""
    setup_logger(name="avsf_det")
    setup_logger(name="fvcore")
    cfg = load_config(args.config_file, args.opts)
    videos = videos_of_path(Path(args.input)) if args.input else []
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
        run_camera(demo, args.webcam, args.output, args.show)
    bad = 0
    for video in videos:
        output = Path(args.output)
        if Path(args.input).is_dir():
            output = (output / Path(video.path).relative_to(args.input)).with_suffix(".mp4")
        output.parent.mkdir(parents=True, exist_ok=True)
        try:
            if args.boxes and video.video_id not in boxes_of:
                raise PredictorError(f"{args.boxes}: no boxes of video '{video.video_id}'")
            boxes = boxes_of.get(video.video_id)
            print(demo.run(video.path, output, boxes, args.offset), flush=True)
        except (VideoDecodeError, PredictorError) as error:
            print(f"error: {error}", file=sys.stderr, flush=True)
            bad += 1
    return bad


def run_camera(demo: ActionDemo, number: int, output: str, show: bool) -> None:
    """Until Ctrl-C, or q in the window."""
    capture = cv2.VideoCapture(number)
    if not capture.isOpened():
        raise PredictorError(f"--webcam {number}: no such camera, or another program uses it")
    stopped = threading.Event()
    signal.signal(signal.SIGINT, lambda *_: stopped.set())

    def look(image: np.ndarray) -> None:
        if show:
            cv2.imshow("avsf_det", image[..., ::-1])
            if cv2.waitKey(1) == ord("q"):
                stopped.set()

    print("The camera's sound is not recorded: the model hears silence. Ctrl-C ends.", flush=True)
    print(demo.watch(capture, output, stopped.is_set, look))
    capture.release()


def main(argv: list[str] | None = None) -> int:
    """Returns 1 after a line on stderr if input is bad."""
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLE, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    source = parser.add_mutually_exclusive_group(required=True)
    add("--config-file", required=True, metavar="FILE", help="of the model")
    source.add_argument("--input", help="a video, or a folder of them")
    source.add_argument("--webcam", type=int, metavar="N", help="a camera, such as 0")
    add("--output", required=True, help=".mp4 to write, or a folder of them")
    add("--rate", type=float, default=1, metavar="HZ", help="keyframes a second (1)")
    add("--boxes", metavar="CSV", help="video_id,second,x1,y1,x2,y2,,score of persons")
    offset = "second of the csv's clock at which videos start: 900 for AVA's cut movies (0)"
    add("--offset", type=float, default=0, metavar="S", help=offset)
    add("--label-map", default="", metavar="FILE", help="of actions, if not that of DATASETS.TEST")
    classes = "draw this action only; may be given several times"
    add("--class", action="append", dest="classes", metavar="NAME", help=classes)
    add("--min-score", type=float, default=0.3, metavar="P", help="of drawn actions (0.3)")
    add("--json", action="store_true", help="keep out.jsonl and out.csv")
    add("--show", action="store_true", help="show what the camera sees; q ends")
    add("opts", nargs=argparse.REMAINDER, help="KEY VALUE ... of the configuration")
    args = parser.parse_args(argv)
    if args.rate <= 0:
        parser.error("--rate must be positive")
    in_folder = args.input is not None and Path(args.input).is_dir()
    if not in_folder and not args.output.endswith(".mp4"):
        parser.error("--output must end in .mp4")
    try:
        return 1 if run(args) else 0
    except ERRORS as error:
        print(f"error: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
