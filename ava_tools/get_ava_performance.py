"""AVA frame-mAP of a file of detections, of this project or of others."""

import argparse
import json
import sys

from ava_tools.measurement.intervals import bootstrap_ap, describe_intervals
from ava_tools.measurement.mmaction2_results import ResultFormatError, read_mmaction2
from avsf_det.engine.defaults import make_parser, run_command
from avsf_det.evaluation.ava_map import (
    PROTOCOLS,
    AVAEvaluationError,
    AVAResult,
    evaluate_ava,
    find_format_errors,
    rank_detections,
)
from avsf_det.structures import ActionBoxes, ava_csv
from avsf_det.structures.label_map import read_label_map

PICKLES = (".pkl", ".pickle")
EXAMPLES = """examples:
  python ava_tools/get_ava_performance.py \\
      -l ava_action_list_v2.2_for_activitynet_2019.pbtxt -g ava_val_v2.2.csv \\
      -d output/inference/ava_predictions.csv -x ava_val_excluded_timestamps_v2.2.csv
  python ava_tools/get_ava_performance.py -l MAP -g VAL -d detections_latest.csv  (PySlowFast)
  python ava_tools/get_ava_performance.py -l MAP -g VAL -d results.pkl            (MMAction2)

csv files may end in .csv.gz; AP and mAP are fractions in 0..1. Usual format errors (pixels, ids off
by one, ids that the label map lacks, other videos or seconds) are named on stderr."""


def read_detections(path: str, ground_truth: ActionBoxes) -> ActionBoxes:
    """Read a csv, or a pickle of MMAction2; no code in a pickle is executed.

    Args:
        path: file of detections.
        ground_truth: annotated rows; their keyframes are those of MMAction2 0.x.

    Raises:
        AVAEvaluationError: the pickle is of something else.
        AnnotationError: a bad row of the csv.
        CheckpointError: the pickle cannot be read.
    """
    if not path.endswith(PICKLES):
        return ava_csv.read_detections(path)
    from avsf_det.checkpoint import safe_load  # only pickles need torch

    try:
        return read_mmaction2(safe_load(path), ground_truth.keyframes)
    except ResultFormatError as error:
        raise AVAEvaluationError(f"{path}: {error}") from error


def run(args: argparse.Namespace) -> None:
    """Print the table, or one JSON line."""
    label_map = read_label_map(args.labelmap, distinct_names=True)
    ground_truth = ava_csv.read_ground_truth(args.groundtruth)
    detections = read_detections(args.detections, ground_truth)
    excluded = ava_csv.read_excluded_keyframes(args.excluded) if args.excluded else frozenset()

    def evaluate(rows: ActionBoxes) -> AVAResult:
        return evaluate_ava(rows, ground_truth, label_map, excluded, args.protocol)

    result = evaluate(detections)
    for line in find_format_errors(detections, label_map, result, evaluate):
        print(f"warning: {line}", file=sys.stderr)
    printed = result.as_dict()
    lines = [result.table()]
    if args.intervals:
        ranked, _ = rank_detections(detections, ground_truth, label_map, excluded, args.protocol)
        intervals = bootstrap_ap(list(ranked), detections, ground_truth)
        printed["mAP_interval"] = intervals.mean_ap
        lines += describe_intervals(result.classes, intervals)
    print(json.dumps(printed) if args.json else "\n".join(lines))


def main(argv: list[str] | None = None) -> int:
    """Run the tool; return its exit code, 1 after a line on stderr if the input is bad."""
    parser = make_parser(__doc__, EXAMPLES)
    add = parser.add_argument
    annotations = "annotations: csv of video_id,timestamp,x1,y1,x2,y2,action_id"
    rules = "; ".join(f"{name}: {rule}" for name, rule in PROTOCOLS.items())
    intervals = "add 95 %% bootstrap intervals; takes 200 scorings"
    add("-l", "--labelmap", required=True, help="pbtxt of the classes that count")
    add("-g", "--groundtruth", required=True, help=annotations)
    add(
        "-d", "--detections", required=True, help="the same columns and a score; or MMAction2's pkl"
    )
    add("-x", "--excluded", help="csv of excluded keyframes: video_id,timestamp")
    add("--protocol", choices=list(PROTOCOLS), default="default", help=rules)
    add("--intervals", action="store_true", help=intervals)
    add("--json", action="store_true", help="print one line of JSON instead")
    return run_command(run, parser.parse_args(argv))


if __name__ == "__main__":
    sys.exit(main())
