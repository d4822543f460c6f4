"""AVA frame-mAP of a file of detections, ours or others'; needs numpy only, but for pickles."""

import argparse
import json
import sys
from pathlib import Path

# avsf_det itself imports torch and Detectron2; its evaluation stands alone.
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "avsf_det" / "evaluation"))
import ava_map
import foreign_results

PICKLES = (".pkl", ".pickle")
EXAMPLE = """examples:
  python ava_tools/get_ava_performance.py \\
      -l ava_action_list_v2.2_for_activitynet_2019.pbtxt -g ava_val_v2.2.csv \\
      -d output/inference/ava_predictions.csv -x ava_val_excluded_timestamps_v2.2.csv
  python ava_tools/get_ava_performance.py -l MAP -g VAL -d detections_latest.csv  (PySlowFast)
  python ava_tools/get_ava_performance.py -l MAP -g VAL -d results.pkl            (MMAction2)

csv files may end in .csv.gz; AP and mAP are fractions in 0..1. Usual mistakes of form (pixels, ids
off by one, ids that the label map lacks, other videos or seconds) are named on stderr."""


def read_detections(path: str, ground_truth: ava_map.ActionBoxes) -> ava_map.ActionBoxes:
    """Detections of a csv, or of a pickle of MMAction2; nothing in a pickle is run.

    Raises:
        ava_map.AVAEvaluationError: the file is something else, or wrong.
    """
    if not path.endswith(PICKLES):
        return ava_map.read_detections(path)
    from avsf_det.checkpoint import CheckpointError, safe_load

    try:
        columns = foreign_results.read_mmaction2(safe_load(path), ground_truth.keyframes)
    except (CheckpointError, OSError) as error:
        raise ava_map.AVAEvaluationError(str(error)) from error
    except foreign_results.ForeignResultsError as error:
        raise ava_map.AVAEvaluationError(f"{path}: {error}") from error
    return ava_map.ActionBoxes(*columns)


def main(argv: list[str] | None = None) -> int:
    """Print the table (or one JSON line). Returns 1 after a line on stderr if input is bad."""
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLE, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("-l", "--labelmap", required=True, help="pbtxt of the classes that count")
    parser.add_argument(
        "-g", "--groundtruth", required=True, help="csv: video_id,timestamp,x1,y1,x2,y2,action_id"
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
        choices=list(ava_map.PROTOCOLS),
        default="default",
        help="; ".join(f"{name}: {rule}" for name, rule in ava_map.PROTOCOLS.items()),
    )
    parser.add_argument("--json", action="store_true", help="print one line of JSON instead")
    args = parser.parse_args(argv)
    try:
        label_map = ava_map.read_label_map(args.labelmap)
        ground_truth = ava_map.read_ground_truth(args.groundtruth)
        detections = read_detections(args.detections, ground_truth)
        excluded = ava_map.read_excluded(args.excluded) if args.excluded else frozenset()
        inputs = (detections, ground_truth, label_map, excluded)
        result = ava_map.evaluate_ava(*inputs, args.protocol)
    except ava_map.AVAEvaluationError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    for line in ava_map.find_slips(*inputs, result):
        print(f"warning: {line}", file=sys.stderr)
    print(json.dumps(result.as_dict()) if args.json else result.table())
    return 0


if __name__ == "__main__":
    sys.exit(main())
