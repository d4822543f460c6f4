"""AVA frame-mAP of a file of detections, of this project or of others."""

import argparse
import json
import sys

from ava_tools.measurement.mmaction2_results import ResultFormatError, read_mmaction2
from avsf_det.engine.defaults import make_parser, run_command
from avsf_det.evaluation.ava_diagnostics import find_format_errors
from avsf_det.evaluation.ava_map import evaluate_ava
from avsf_det.evaluation.ava_results import PROTOCOLS, AVAEvaluationError, AVAResult
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
    print(json.dumps(result.as_dict()) if args.json else result.table())


def main(argv: list[str] | None = None) -> int:
    """Run the tool; return its exit code, 1 after a line on stderr if the input is bad."""
    parser = make_parser(__doc__, EXAMPLES)
    parser.add_argument("-l", "--labelmap", required=True, help="pbtxt of the classes that count")
    parser.add_argument(
        "-g",
        "--groundtruth",
        required=True,
        help="annotations: csv of video_id,timestamp,x1,y1,x2,y2,action_id",
    )
    parser.add_argument(
        "-d",
        "--detections",
        required=True,
        help="csv: the same columns and a score; or a pkl of MMAction2",
    )
    parser.add_argument("-x", "--excluded", help="csv of excluded keyframes: video_id,timestamp")
    parser.add_argument(
        "--protocol",
        choices=list(PROTOCOLS),
        default="default",
        help="; ".join(f"{name}: {rule}" for name, rule in PROTOCOLS.items()),
    )
    parser.add_argument("--json", action="store_true", help="print one line of JSON instead")
    return run_command(run, parser.parse_args(argv))


if __name__ == "__main__":
    sys.exit(main())
