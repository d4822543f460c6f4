#!/usr/bin/env python
"""Write the features of a trained model's layers for videos: one npz for each video.

A layer is <pathway>_<stage>, the mean over time and space of a stage's output (slow_res5,
fast_res3, audio_res5), or head, the input of the classifier: Slow, Fast and Audio concatenated.
With --boxes a detector's head gives one row for each person, else there is one row for each clip.
Also in the npz: times (seconds of the clips' middles), has_audio, fps and duration of the video,
window and hop (seconds), num_frames, stride and stride_fps of the clips, layers, head_parts and
their head_channels, weights_sha256, config_sha256; with --boxes boxes (x1, y1, x2, y2 in 0..1,
score) and box_clip, the clip's row.

A killed run resumes when it is started again: existing files are kept.
"""

import argparse
import os
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
from avsf_det.structures.addresses import exists, is_folder, name_of

EXAMPLES = """examples:
  clips    python ava_tools/extract_features.py --config-file configs/Kinetics/avsf_r50_4x16.yaml \\
               --input videos/ --output features/ MODEL.WEIGHTS model_final.pth
  audio    python ava_tools/extract_features.py --config-file configs/Kinetics/avsf_r50_4x16.yaml \\
               --layers audio_res5 --hop 0.5 --input list.csv --output features/ \\
               MODEL.WEIGHTS model_final.pth
  persons  python ava_tools/extract_features.py --config-file configs/mini/avsf_mini.yaml \\
               --input datasets/ava_mini/videos --output features/ \\
               --boxes datasets/ava_mini/annotations/ava_mini_val_boxes.csv \\
               MODEL.WEIGHTS output/demo/avsf/model_final.pth"""


def find_videos(source: str) -> dict[str, str | None]:
    """Return name and path of a video, of all videos in a folder, or of those in a list."""
    from ava_tools.preparation.video_lists import videos_in, videos_of
    from avsf_det.data.video.formats import VIDEO_EXTENSIONS

    if is_folder(source):
        return dict(videos_in(source))
    if (name := name_of(source)).lower().endswith(VIDEO_EXTENSIONS):
        return {name: source if exists(source) else None}
    return videos_of(source, os.path.dirname(source))


@in_ranks
def run(args: argparse.Namespace) -> int:
    """Return 1 if a video is bad; the features of the others are written all the same."""
    from ava_tools.inference.feature_files import write_features
    from ava_tools.support.ranks import print_once
    from avsf_det.engine.feature_extractor import FeatureExtractor
    from avsf_det.engine.predictor import load_boxes

    set_up_loggers()
    cfg = load_config(args.config_file, args.opts)
    videos = find_videos(args.input)
    persons = None
    if args.boxes:
        persons = load_boxes(args.boxes, args.score_threshold, args.offset)
    extractor = FeatureExtractor(cfg, args.layers.split(","), batch_size=args.batch_size)
    done = write_features(extractor, videos, args.output, hop=args.hop, persons=persons)
    counts = ", ".join(f"{len(files)} {what}" for what, files in done.items())
    print_once(f"{args.output}: of {len(videos)} videos {counts}")
    if done["bad"]:
        print_once("error: bad videos:", *done["bad"], sep="\n  ", file=sys.stderr)
    return int(bool(done["bad"]))


def main(argv: list[str] | None = None) -> int:
    """Return the exit code: 1 after lines on stderr if the input is bad."""
    parser = make_parser(__doc__, EXAMPLES)
    add = parser.add_argument
    add("--input", required=True, help="a video, a folder, or a csv (in the folder of the videos)")
    add("--output", required=True, metavar="DIR", help="folder of the npz files")
    add("--layers", default="head", metavar="A,B", help="slow_res5, ..., head (head)")
    add("--hop", type=positive, default=1.0, metavar="S", help="seconds between clips (1)")
    add_box_arguments(parser)
    add("--batch-size", type=at_least(1), default=8, metavar="N", help="clips at once (8)")
    add_config_arguments(parser, required=True)
    return run_command(run, parser.parse_args(argv))


if __name__ == "__main__":
    sys.exit(main())
