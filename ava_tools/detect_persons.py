#!/usr/bin/env python
"""Detect the persons at the keyframes of a dataset or of videos, and write their boxes as a csv.

The detector is MODEL.PERSON_DETECTOR of the config: any of Detectron2's or torchvision's, or an
ONNX file; by default one of Detectron2's model zoo, downloaded when first used. Lighter ones,
--min-size and MODEL.AUTOCAST_DTYPE bfloat16 take a fraction of its time (docs/own_videos.md). The
csv is for DATASETS.PROPOSAL_FILES_TEST and _TRAIN, and for demo.py. With --track, column 7 is the
id of the person. A killed run resumes when it is started again; the csv is written at the end. For
a dataset, the boxes are also scored against its annotated ones.
"""

import argparse
import sys

from ava_tools.support.arguments import add_whole_frame_argument
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

EXAMPLES = """examples:
  python ava_tools/detect_persons.py --input videos/ --output boxes.csv --min-size 480
  python ava_tools/detect_persons.py --dataset ava_mini_val --output boxes.csv \\
      MODEL.PERSON_DETECTOR.CONFIG_FILE configs/mini/person_mini.yaml \\
      MODEL.PERSON_DETECTOR.WEIGHTS output/mini/person_mini/model_final.pth"""


@in_ranks
def run(args: argparse.Namespace) -> int:
    """Return 1 if a video is bad; the boxes of the others are written all the same."""
    from ava_tools.inference.person_boxes import (
        describe_absence,
        describe_quality,
        videos_of_dataset,
        videos_of_path,
        write_person_boxes,
    )
    from ava_tools.support.ranks import print_once
    from avsf_det.data.checks import check_datasets
    from avsf_det.engine.person_detector import PersonDetector

    set_up_loggers()
    size = ["MODEL.PERSON_DETECTOR.MIN_SIZE", args.min_size] if args.min_size else []
    cfg = load_config(args.config_file, [*args.opts, *size, *args.whole_frame])
    check_datasets([args.dataset] if args.dataset else [], "--dataset")
    videos = videos_of_dataset(args.dataset) if args.dataset else videos_of_path(args.input)
    detector = PersonDetector(cfg)
    settings = {
        "source": args.dataset or args.input,
        "detector": cfg.MODEL.PERSON_DETECTOR.CONFIG_FILE,
        "weights": detector.weights,
        "score_thresh": cfg.MODEL.PERSON_DETECTOR.SCORE_THRESH,
        "min_size": cfg.MODEL.PERSON_DETECTOR.MIN_SIZE,
        "dtype": cfg.MODEL.AUTOCAST_DTYPE,
    }
    rates = {"rate": args.rate, "person_rate": (args.person_rate or 5.0) if args.track else None}
    options = {"settings": settings, "batch_size": args.batch_size, **rates}
    found, bad = write_person_boxes(detector, videos, args.output, **options)
    print_once(f"{args.output}: {sum(map(len, found.values()))} persons in {len(found)} keyframes")
    for line in describe_absence(found, settings["score_thresh"]):
        print_once(line, file=sys.stderr)
    if args.dataset:
        print_once(describe_quality(found, args.dataset))
    if bad:
        title = f"error: {len(bad)} of {len(videos)} videos could not be read to their end:"
        kept = f"The boxes before the damage are in {args.output}; the same command tries again."
        print_once(title, *bad, kept, sep="\n  ", file=sys.stderr)
    return int(bool(bad))


def main(argv: list[str] | None = None) -> int:
    """Return the exit code: 1 after lines on stderr if the input is bad."""
    parser = make_parser(__doc__, EXAMPLES)
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--dataset", metavar="NAME", help="a registered dataset; its keyframes")
    source.add_argument("--input", help="a video, or a folder of videos")
    add = parser.add_argument
    add("--output", required=True, metavar="FILE.csv", help="csv of the boxes")
    add("--rate", type=positive, default=1.0, metavar="HZ", help="keyframes/s of --input (1.0)")
    add("--track", action="store_true", help="link the persons: column 7 of the csv is an id")
    add("--person-rate", type=positive, metavar="HZ", help="searches/s of --track (5.0)")
    add("--batch-size", type=at_least(1), default=4, metavar="N", help="frames at once (4)")
    size = "short side of the frames in pixels, which sets the time (the detector's, 800)"
    add("--min-size", type=at_least(32), metavar="PIXELS", help=size)
    add_whole_frame_argument(parser)
    add_config_arguments(parser, help="config of an action model")
    args = parser.parse_args(argv)
    if args.person_rate and not args.track:
        parser.error("--person-rate is for --track")
    return run_command(run, args)


if __name__ == "__main__":
    sys.exit(main())
