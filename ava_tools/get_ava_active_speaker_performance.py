"""Average precision of AVA-ActiveSpeaker, as the official script of the same name computes it."""

import argparse
import json
import os
import sys
from pathlib import Path

from avsf_det.engine.defaults import make_parser, run_command

EXAMPLES = """examples:
  python ava_tools/get_ava_active_speaker_performance.py \\
      -g datasets/ava/annotations/ava_activespeaker_val_v1.0 \\
      -p output/inference/active_speaker_predictions.csv

Rows are video_id,frame_timestamp,x1,y1,x2,y2,label,entity_id. Predictions have a score at the end
and the label SPEAKING_AUDIBLE, a row for each annotated face. The figure is a fraction in 0..1."""


def run(args: argparse.Namespace) -> None:
    """Print the AP, or one JSON line."""
    from avsf_det.evaluation import active_speaker_ap
    from avsf_det.structures.active_speaker_csv import read_faces

    files = [args.groundtruth]
    if os.path.isdir(args.groundtruth):
        files = sorted(map(str, Path(args.groundtruth).glob("*.csv")))
    annotated = [face for file in files for face in read_faces(file)]
    ap = active_speaker_ap(annotated, [*read_faces(args.predictions, has_score=True)])
    if args.json:
        print(json.dumps({"mAP": ap, "faces": len(annotated)}))
    else:
        print(f"AP of SPEAKING_AUDIBLE over {len(annotated)} faces: {ap:.6f}")


def main(argv: list[str] | None = None) -> int:
    """Run the tool; return its exit code, 1 after a line on stderr if the input is bad."""
    parser = make_parser(__doc__, EXAMPLES)
    add = parser.add_argument
    add("-g", "--groundtruth", required=True, help="csv of the annotated faces, or folder of them")
    add("-p", "--predictions", required=True, help="csv of the same faces with scores")
    add("--json", action="store_true", help="print one line of JSON instead")
    return run_command(run, parser.parse_args(argv))


if __name__ == "__main__":
    sys.exit(main())
