#!/usr/bin/env python
"""Write what a trained model's layers say of videos: one npz of features for each video.

A layer is <pathway>_<stage>, the mean over time and space of a stage's output (slow_res5,
fast_res3, audio_res5), or head, what goes into the classifier: Slow, Fast and Audio concatenated.
With --boxes a detector's head gives a row for each person, else there is a row for each clip. Also
in the npz: times (seconds of the clips' middles), has_audio, fps and duration of the video, window
and hop (seconds), num_frames, stride and stride_fps of the clips, layers, head_parts and their
head_channels, weights_sha256, config_sha256; with --boxes boxes (x1, y1, x2, y2 in 0..1, score) and
box_clip, the clip's row.

A run that was killed goes on when it is started again: files that are there are not made anew.
"""

import argparse
import sys
from pathlib import Path

import torch
from detectron2.config import CfgNode, get_cfg
from detectron2.utils.logger import setup_logger

from ava_tools.inference.feature_files import write_features
from avsf_det import add_avsf_config
from avsf_det.checkpoint import CheckpointError
from avsf_det.data import AnnotationError
from avsf_det.data.datasets.annotation_files import VIDEO_EXTENSIONS
from avsf_det.data.datasets.video_lists import videos_in, videos_of
from avsf_det.engine.feature_extractor import FeatureError, FeatureExtractor
from avsf_det.engine.predictor import load_boxes

EXAMPLE = """examples:
  clips    python ava_tools/extract_features.py --config-file configs/Kinetics/avsf_r50_4x16.yaml \\
               --input videos/ --output features/ MODEL.WEIGHTS model_final.pth
  sound    python ava_tools/extract_features.py --config-file configs/Kinetics/avsf_r50_4x16.yaml \\
               --layers audio_res5 --hop 0.5 --input list.csv --output features/ \\
               MODEL.WEIGHTS model_final.pth
  persons  python ava_tools/extract_features.py --config-file configs/mini/avsf_mini.yaml \\
               --input datasets/ava_mini/videos --output features/ \\
               --boxes datasets/ava_mini/annotations/ava_mini_val_boxes.csv \\
               MODEL.WEIGHTS output/demo/avsf/model_final.pth"""


def load_config(config_file: str, options: list[str]) -> CfgNode:
    cfg = get_cfg()
    add_avsf_config(cfg)
    cfg.merge_from_file(config_file)
    cfg.merge_from_list(options)
    if not torch.cuda.is_available():
        cfg.MODEL.DEVICE = "cpu"
    return cfg


def find_inputs(source: str) -> dict[str, str | None]:
    """Name to file of a video, of all videos in a folder, or of those that a list names."""
    path = Path(source)
    if path.is_dir():
        return videos_in(source)
    if path.suffix.lower() in VIDEO_EXTENSIONS:
        return {path.name: source if path.exists() else None}
    return videos_of(source, str(path.parent))


def run(args: argparse.Namespace) -> int:
    """Returns the number of bad videos."""
    cfg = load_config(args.config_file, args.opts)
    videos = find_inputs(args.input)
    persons = None
    if args.boxes:
        persons = load_boxes(args.boxes, cfg.DATASETS.PROPOSAL_MIN_SCORE_TEST, args.offset)
    extractor = FeatureExtractor(cfg, args.layers.split(","), batch_size=args.batch_size)
    done = write_features(extractor, videos, args.output, hop=args.hop, persons=persons)
    counts = ", ".join(f"{len(files)} {what}" for what, files in done.items())
    print(f"{args.output}: of {len(videos)} videos {counts}")
    if done["bad"]:
        print("error: bad videos:", *done["bad"], sep="\n  ", file=sys.stderr)
    return len(done["bad"])


def main(argv: list[str] | None = None) -> int:
    """Returns 1 after lines on stderr if input is bad."""
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLE, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--config-file", required=True, metavar="FILE", help="of the model")
    add("--input", required=True, help="a video, a folder, or a csv (its folder has the videos)")
    add("--output", required=True, metavar="DIR", help="for the npz files")
    add("--layers", default="head", metavar="A,B", help="slow_res5, ..., head (head)")
    add("--hop", type=float, default=1.0, metavar="S", help="seconds between clips (1)")
    add("--boxes", metavar="CSV", help="video_id,second,x1,y1,x2,y2,,score of persons")
    offset = "second of the csv's clock at which videos start: 900 for AVA's cut movies (0)"
    add("--offset", type=float, default=0.0, metavar="S", help=offset)
    add("--batch-size", type=int, default=8, metavar="N", help="clips at once (8)")
    add("opts", nargs=argparse.REMAINDER, help="KEY VALUE ... of the configuration")
    args = parser.parse_args(argv)
    if args.hop <= 0 or args.batch_size < 1:
        parser.error("--hop must be positive, --batch-size at least 1")
    try:
        return 1 if run(args) else 0
    except (AnnotationError, CheckpointError, FeatureError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    for name in ("avsf_det", "fvcore"):
        setup_logger(name=name)
    sys.exit(main())
