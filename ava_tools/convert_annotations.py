#!/usr/bin/env python
"""Convert annotations of VIA 3, CVAT, Label Studio, BORIS, ELAN or a table to AVA's csv.

Reads projects (json) and csv exports of the VGG Image Annotator 3, xml exports of CVAT ("CVAT for
video 1.1"), json exports of Label Studio, and tables (csv of pandas, Excel, ...) whose first line
names video, second, x1, y1, x2, y2, action and person, in any order. Pixels become fractions of the
frame; frame numbers and hh:mm:ss become seconds. Also reads what has times and no boxes: projects
of BORIS, files of ELAN, and tables of bouts (video, person, action, start, end); --boxes has the
boxes of their persons. The summary counts what is left out.
"""

import argparse
import sys

from avsf_det.engine.defaults import make_parser, run_command

EXAMPLE = """examples:
  python ava_tools/convert_annotations.py train/*.xml --videos videos/ --output train.csv \\
      --label-map labels.pbtxt
  python ava_tools/convert_annotations.py via_project.json --videos videos/ --output val.csv \\
      --label-map labels.pbtxt --attributes action
  python ava_tools/convert_annotations.py excel.csv --videos videos/ --output train.csv \\
      --label-map labels.pbtxt
  python ava_tools/convert_annotations.py corrected.boris --videos videos/ --output train.csv \\
      --label-map labels.pbtxt --boxes timelines/persons.csv

If the label map exists, its ids are used; else it is written. So convert the training annotations
first. Each value of an attribute is an action, and so is the name of each ticked checkbox. In CVAT
and Label Studio, tracks are persons, sampled at --rate, and a label without attributes is an action
(with attributes: --attributes label). In VIA, each moment with a rectangle is a keyframe; an
attribute "person" may contain the id of the person. If images of frames were annotated, such as
long_000031.jpg, --rate is the number of images per second of video, and image n is second
(n - 1) / rate."""


def run(args: argparse.Namespace) -> None:
    """Convert the annotations and print a summary."""
    from ava_tools.annotation_import.convert import convert_annotations

    print(
        convert_annotations(
            args.exports,
            args.videos,
            args.output,
            args.label_map,
            rate=args.rate,
            attributes=args.attributes,
            person_attribute=args.person_attribute,
            boxes=args.boxes,
        )
    )


def main(argv: list[str] | None = None) -> int:
    """Run the command line and return its exit code."""
    parser = make_parser(__doc__, EXAMPLE)
    parser.add_argument("exports", nargs="+", metavar="EXPORT", help="file of a tool")
    parser.add_argument("--videos", required=True, metavar="DIR", help="folder of the videos")
    parser.add_argument(
        "--output", required=True, metavar="FILE", help="csv of AVA's form to write"
    )
    label_map = "names of the actions: used if it exists, else written"
    parser.add_argument("--label-map", required=True, metavar="FILE", help=label_map)
    parser.add_argument(
        "--rate", type=float, metavar="HZ", help="keyframes per second of tracks (1), or of images"
    )
    parser.add_argument(
        "--attributes", nargs="+", default=[], metavar="NAME", help="attributes with actions (all)"
    )
    parser.add_argument(
        "--person-attribute",
        default="person",
        metavar="NAME",
        help="attribute of VIA with the id of the person (person)",
    )
    boxes = "for bouts: persons.csv of timeline.py, with ids in column 7 (the whole frame)"
    parser.add_argument("--boxes", default="", metavar="CSV", help=boxes)
    return run_command(run, parser.parse_args(argv))


if __name__ == "__main__":
    sys.exit(main())
