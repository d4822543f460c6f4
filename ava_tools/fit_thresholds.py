#!/usr/bin/env python
"""Fit the score thresholds of timeline.py, one per action, on a validation set.

The threshold of an action is the one with the highest F1 of bouts at a temporal IoU of 0.5. The
file lies beside the weights as model_final.thresholds.json, where timeline.py finds it.
"""

import argparse
import sys

from ava_tools.timelines.thresholds import fit_thresholds, thresholds_path, write_thresholds
from avsf_det.engine.defaults import make_parser, positive, run_command
from avsf_det.structures import AVSFError, ava_csv
from avsf_det.structures.addresses import is_address
from avsf_det.structures.label_map import read_label_map

EXAMPLE = """example:
  python ava_tools/fit_thresholds.py -l ava_action_list.pbtxt -g val.csv \\
      -d output/demo/avsf/inference/ava_predictions.csv \\
      --weights output/demo/avsf/model_final.pth

The csv of detections is the one that an evaluation writes. Annotations need ids of persons in
column 8, as AVA's have. They may be a part of the detections' videos; the rest is not used."""


def run(args: argparse.Namespace) -> None:
    """Write the file, and print each threshold."""
    if is_address(args.weights):
        raise AVSFError(f"{args.weights}: not a local file; the thresholds are written beside it")
    label_map = read_label_map(args.labelmap, distinct_names=True)
    fits = fit_thresholds(
        ava_csv.read_detections(args.detections),
        ava_csv.read_ground_truth(args.groundtruth),
        label_map,
        excluded=ava_csv.read_excluded_keyframes(args.excluded) if args.excluded else frozenset(),
        step=args.step,
        source=args.groundtruth,
    )
    path = thresholds_path(args.weights)
    write_thresholds(path, fits)
    width = max(map(len, label_map.values()))
    for name in label_map.values():
        fit = fits.get(name)
        text = f"{fit.threshold:.4f}, F1 {fit.f1:.3f} of {fit.num_bouts} bouts" if fit else "none"
        print(f"{name:{width}} {text}")
    print(f"{path}: thresholds of {len(fits)} of {len(label_map)} actions")


def main(argv: list[str] | None = None) -> int:
    """Return the exit code: 1 after one line on stderr if the input is bad."""
    parser = make_parser(__doc__, EXAMPLE)
    add = parser.add_argument
    add("-l", "--labelmap", required=True, help="pbtxt of the model's actions")
    add("-g", "--groundtruth", required=True, help="annotations with ids of persons, as csv")
    add("-d", "--detections", required=True, help="csv of an evaluation with all scores")
    add("-x", "--excluded", help="csv of excluded keyframes: video_id,timestamp")
    add("--weights", required=True, metavar="FILE", help="model file beside which to write")
    add("--step", type=positive, default=1, metavar="S", help="seconds between keyframes (1)")
    return run_command(run, parser.parse_args(argv))


if __name__ == "__main__":
    sys.exit(main())
