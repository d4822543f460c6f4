"""AVA frame-mAP of a file of detections; needs numpy only."""

import argparse
import json
import sys
from pathlib import Path

# avsf_det itself imports torch and Detectron2; its evaluation stands alone.
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "avsf_det" / "evaluation"))
import ava_map

EXAMPLE = """example:
  python ava_tools/get_ava_performance.py \\
      -l ava_action_list_v2.2_for_activitynet_2019.pbtxt -g ava_val_v2.2.csv \\
      -d output/inference/ava_predictions.csv -x ava_val_excluded_timestamps_v2.2.csv

csv files may end in .csv.gz; AP and mAP are fractions in 0..1."""


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
        "-d", "--detections", required=True, help="csv: the same columns and a score"
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
        result = ava_map.evaluate_ava_files(
            ava_map.read_label_map(args.labelmap),
            args.groundtruth,
            args.detections,
            args.excluded,
            args.protocol,
        )
    except ava_map.AVAEvaluationError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(json.dumps(result.as_dict()) if args.json else result.table())
    return 0


if __name__ == "__main__":
    sys.exit(main())
