#!/usr/bin/env python
"""Draw what an AVA evaluation detected beside what is annotated, on keyframes, as a picture."""

import argparse
import sys
from pathlib import Path

import numpy as np
from detectron2.config import get_cfg

from avsf_det import add_avsf_config
from avsf_det.data import AnnotationError, VideoDecodeError, VideoReader
from avsf_det.data.audio import LogMel
from avsf_det.evaluation import ActionBoxes, AVAEvaluationError, read_detections
from avsf_det.utils.contact_sheet import Item, draw_boxes, draw_sheet
from avsf_det.utils.report.sources import (
    EvaluatedSet,
    add_arguments,
    evaluated_set_of_arguments,
    find_detections,
    rows_at,
)
from avsf_det.utils.visualizer import draw_logmel

EXAMPLE = """example:
  python ava_tools/visualize_results.py --config-file configs/mini/avsf_mini.yaml \\
      --detections output/demo/avsf --output results.png
or, of any csv in AVA's format:
  python ava_tools/visualize_results.py -l labels.pbtxt -g val.csv --videos videos/ \\
      --detections detections.csv --output results.png"""
WIDTH, STRIP, SOUND_SEC = 480, 72, 2.0  # pixels, pixels, seconds of sound around a keyframe


def choose_keyframes(
    evaluated: EvaluatedSet, detections: ActionBoxes, video_id: str, num: int, seed: int
) -> list[tuple[str, float]]:
    """Some of the keyframes that have a detection or an annotation, by video and time."""
    every = {*evaluated.ground_truth.keyframes, *detections.keyframes} - evaluated.excluded
    every = sorted(k for k in every if k[0] in evaluated.files and video_id in ("", k[0]))
    if not every:
        raise AVAEvaluationError(
            f"no keyframe of {video_id or 'any video'} is in the csv files and has its video"
        )
    chosen = np.random.default_rng(seed).permutation(len(every))[:num]
    return [every[i] for i in sorted(chosen)]


def persons_in(
    boxes: ActionBoxes, rows: np.ndarray, names: dict[int, str], min_score: float | None
) -> tuple[np.ndarray, list[str]]:
    """Distinct boxes (N, 4) of the rows, and in words the actions of each, the surest first.

    Args:
        min_score: lower scores are left out; None: rows without scores, all are named.
    """
    places, person = np.unique(boxes.boxes[rows], axis=0, return_inverse=True)
    words = []
    for i in range(len(places)):
        own = rows[person.ravel() == i]
        own = own[np.argsort(-boxes.scores[own], kind="stable")]
        words.append(
            ", ".join(
                names[boxes.actions[r]] + ("" if min_score is None else f" {boxes.scores[r]:.2f}")
                for r in own
                if boxes.actions[r] in names and boxes.scores[r] >= (min_score or 0)
            )
        )
    return places, words


def draw_keyframe(
    evaluated: EvaluatedSet,
    keyframe: tuple[str, float],
    sides: list[tuple[str, np.ndarray, list[str]]],
) -> Item:
    """A keyframe once for each side: its heading, boxes in 0..1 and their words."""
    video_id, second = keyframe
    path, offset = evaluated.files[video_id]
    second -= offset
    with VideoReader(path) as reader:
        size = round(reader.height * WIDTH / reader.width), WIDTH
        (frame,) = reader.get_frames_played_at([second], size)
        strips = []
        if reader.has_audio:
            sound = reader.get_samples_played_in_range(
                second - SOUND_SEC / 2, second + SOUND_SEC / 2, 16000
            )
            logmel = LogMel(sample_rate=16000, window_sec=0.032, hop_sec=0.016, num_mels=80)(sound)
            strips = [draw_logmel(logmel, 2 * WIDTH, STRIP, playhead=0.5)]
    scale = np.array([size[1], size[0]] * 2)
    return Item(
        f"{video_id}, second {keyframe[1]:g}",
        [draw_boxes(frame, boxes * scale, WIDTH) for _, boxes, _ in sides],
        [[(None, heading), *enumerate(words)] for heading, _, words in sides],
        strips,
    )


def run(args: argparse.Namespace) -> None:
    cfg = get_cfg()
    add_avsf_config(cfg)
    evaluated = evaluated_set_of_arguments(args, cfg)
    detections = read_detections(find_detections(args.detections, evaluated.name))
    keyframes = choose_keyframes(evaluated, detections, args.video, args.num, args.seed)
    found, truth = (rows_at(x, keyframes) for x in (detections, evaluated.ground_truth))
    items = []
    for k in keyframes:
        said = persons_in(detections, found[k], evaluated.label_map, args.min_score)
        known = persons_in(evaluated.ground_truth, truth[k], evaluated.label_map, None)
        items.append(draw_keyframe(evaluated, k, [("detected", *said), ("annotated", *known)]))
    Path(args.output).parent.mkdir(parents=True, exist_ok=True)
    draw_sheet(items).save(args.output)
    print(f"{args.output}: {len(items)} keyframes")


def main(argv: list[str] | None = None) -> int:
    """Returns 1 after a line on stderr if input is bad."""
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLE, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--detections", required=True, metavar="PATH", help="csv, or OUTPUT_DIR of an evaluation"
    )
    parser.add_argument("--output", default="results.png", metavar="FILE", help="(results.png)")
    parser.add_argument("--video", default="", metavar="ID", help="keyframes of this video only")
    parser.add_argument("--num", type=int, default=8, metavar="N", help="keyframes to draw (8)")
    parser.add_argument("--seed", type=int, default=0, help="others are drawn with another (0)")
    parser.add_argument("--min-score", type=float, default=0.3, help="of actions named (0.3)")
    add_arguments(parser)
    args = parser.parse_args(argv)
    try:
        run(args)
    except (AVAEvaluationError, AnnotationError, VideoDecodeError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
