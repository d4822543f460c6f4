#!/usr/bin/env python
"""Compare the bouts of timeline.py with annotations in AVA's format that have ids of persons.

Per action: F1 of the bouts at a temporal IoU of 0.5, AP of the bouts (segment-mAP) and AP of the
tubes (video-mAP) at several IoUs. Of each video, the annotated seconds alone count.
"""

import argparse
import json
import sys
from pathlib import Path

from ava_tools.measurement.person_rows import person_rows
from ava_tools.measurement.timeline_scores import COLUMNS, format_scores, score_timelines
from avsf_det.engine.defaults import make_parser, positive, run_command
from avsf_det.structures import AVSFError, ava_csv
from avsf_det.structures.ava_boxes import PERSON_BOXES
from avsf_det.structures.label_map import read_label_map

EXAMPLE = """example:
  python ava_tools/evaluate_timelines.py output/timelines -l ava_action_list.pbtxt -g val.csv

The folder has bouts.csv and persons.csv. AP is limited by the thresholds of the timelines: for
figures to publish, make them with a low one (--threshold 0.05). Figures are fractions in 0..1."""


def run(args: argparse.Namespace) -> None:
    """Print the table, or one JSON line."""
    from ava_tools.annotation_import.bouts import read_timeline_bouts

    folder = Path(args.timelines)
    bouts = read_timeline_bouts(folder)
    boxes = person_rows(ava_csv.read_action_boxes(folder / "persons.csv", PERSON_BOXES), [])
    label_map = read_label_map(args.labelmap, distinct_names=True)
    rows = ava_csv.read_ground_truth(args.groundtruth)
    truth = person_rows(
        rows,
        list(label_map),
        offset=args.offset,
        excluded=ava_csv.read_excluded_keyframes(args.excluded) if args.excluded else frozenset(),
        source=args.groundtruth,
    )
    found, annotated = ({video for video, _ in x.keyframes} for x in (boxes, truth))
    if not found & annotated:
        raise AVSFError(
            f"{args.timelines}: no video of {args.groundtruth}; '{min(found, default='none')}' "
            f"there, '{min(annotated)}' here"
        )
    if missing := annotated - found:
        print(f"warning: no person in {len(missing)} annotated videos", file=sys.stderr)
    scores = score_timelines(bouts, boxes, truth, list(label_map.values()), args.step)
    if args.json:
        print(json.dumps({s.action: dict(zip(COLUMNS, s.figures, strict=True)) for s in scores}))
    else:
        print(format_scores(scores))


def main(argv: list[str] | None = None) -> int:
    """Return the exit code: 1 after one line on stderr if the input is bad."""
    parser = make_parser(__doc__, EXAMPLE)
    add = parser.add_argument
    add("timelines", metavar="DIR", help="output folder of timeline.py")
    add("-l", "--labelmap", required=True, help="pbtxt of the actions to compare")
    add("-g", "--groundtruth", required=True, help="annotations with ids of persons, as csv")
    add("-x", "--excluded", help="csv of excluded keyframes: video_id,timestamp")
    offset = "second of the csv's clock at which videos start: 900 for AVA's cut videos (0)"
    add("--offset", type=float, default=0, metavar="S", help=offset)
    add("--step", type=positive, default=1, metavar="S", help="seconds between keyframes (1)")
    add("--json", action="store_true", help="print one line of JSON instead")
    return run_command(run, parser.parse_args(argv))


if __name__ == "__main__":
    sys.exit(main())
