#!/usr/bin/env python
"""Find the persons at the keyframes of a data set or of videos, and write their boxes as a csv.

The detector is MODEL.PERSON_DETECTOR of the configuration: any of Detectron2's; by default one of
its model zoo, downloaded when first used. The csv is for DATASETS.PROPOSAL_FILES_TEST and _TRAIN,
and for demo.py. A run that was killed goes on when it is started again; the csv appears when all
is done. On a data set, the boxes are also scored against its annotated ones.
"""

import argparse
import sys
from pathlib import Path

import numpy as np
import torch
from detectron2.config import CfgNode, get_cfg
from detectron2.data import DatasetCatalog
from detectron2.utils.logger import setup_logger

from ava_tools.inference.person_boxes import (
    Keyframe,
    videos_of_dataset,
    videos_of_path,
    write_person_boxes,
)
from avsf_det import add_avsf_config
from avsf_det.data import AnnotationError
from avsf_det.engine.person_detector import PersonDetector, PersonDetectorError
from avsf_det.evaluation import AVAEvaluationError
from avsf_det.evaluation.person_boxes import evaluate_persons

EXAMPLE = """examples:
  python ava_tools/detect_persons.py --input videos/ --output boxes.csv
  python ava_tools/detect_persons.py --dataset ava_mini_val --output boxes.csv \\
      MODEL.PERSON_DETECTOR.CONFIG_FILE configs/mini/person_mini.yaml \\
      MODEL.PERSON_DETECTOR.WEIGHTS output/mini/person_mini/model_final.pth"""


def load_config(config_file: str, options: list[str]) -> CfgNode:
    cfg = get_cfg()
    add_avsf_config(cfg)
    if config_file:
        cfg.merge_from_file(config_file)
    cfg.merge_from_list(options)
    if not torch.cuda.is_available():
        cfg.MODEL.DEVICE = "cpu"
    return cfg


def describe_quality(found: dict[Keyframe, np.ndarray], dataset_name: str) -> str:
    """A line about the boxes of a data set's annotated keyframes."""
    annotated = {
        (d["video_id"], d["timestamp"]): np.array([a["bbox"] for a in d["annotations"]])
        for d in DatasetCatalog.get(dataset_name)
    }
    result = evaluate_persons(found, annotated)
    matched, detections = result.counts["matched_boxes"], result.counts["detections"]
    return (
        f"{dataset_name}, persons at IoU 0.5: AP {result.mean_ap:.3f}; "
        f"{matched} of {result.counts['ground_truth_boxes']} annotated ones found, "
        f"{detections - matched} of {detections} boxes are of nobody"
    )


def run(args: argparse.Namespace) -> int:
    """Returns the number of bad videos."""
    cfg = load_config(args.config_file, args.opts)
    videos = videos_of_dataset(args.dataset) if args.dataset else videos_of_path(Path(args.input))
    detector = PersonDetector(cfg)
    settings = {
        "source": args.dataset or args.input,
        "detector": cfg.MODEL.PERSON_DETECTOR.CONFIG_FILE,
        "weights": detector.weights,
        "score_thresh": cfg.MODEL.PERSON_DETECTOR.SCORE_THRESH,
    }
    found, bad = write_person_boxes(
        detector,
        videos,
        args.output,
        settings=settings,
        rate=args.rate,
        batch_size=args.batch_size,
    )
    boxes = sum(map(len, found.values()))
    print(f"{args.output}: {boxes} persons in {len(found)} keyframes")
    if args.dataset:
        print(describe_quality(found, args.dataset))
    if bad:
        print(
            f"error: {len(bad)} of {len(videos)} videos could not be read to their end:",
            *bad,
            f"The boxes before the damage are in {args.output}; the same command tries them again.",
            sep="\n  ",
            file=sys.stderr,
        )
    return len(bad)


def main(argv: list[str] | None = None) -> int:
    """Returns 1 after lines on stderr if input is bad."""
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLE, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--dataset", metavar="NAME", help="a registered data set; its keyframes")
    source.add_argument("--input", help="a video, or a folder of them")
    parser.add_argument("--output", required=True, metavar="FILE.csv", help="the boxes")
    parser.add_argument(
        "--rate", type=float, default=1.0, help="keyframes a second, of --input (1.0)"
    )
    parser.add_argument("--batch-size", type=int, default=4, metavar="N", help="frames at once (4)")
    parser.add_argument("--config-file", default="", metavar="FILE", help="of an action model")
    parser.add_argument("opts", nargs=argparse.REMAINDER, help="KEY VALUE ... of the configuration")
    args = parser.parse_args(argv)
    if args.rate <= 0 or args.batch_size < 1:
        parser.error("--rate must be positive, --batch-size at least 1")
    try:
        return 1 if run(args) else 0
    except (AnnotationError, PersonDetectorError, AVAEvaluationError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    for name in ("avsf_det", "fvcore"):
        setup_logger(name=name)
    sys.exit(main())
