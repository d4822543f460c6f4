#!/usr/bin/env python
"""Write the bouts of a timeline folder in formats of other programs, without a model.

Reads bouts.csv and persons.csv, which timeline.py has written (bouts.csv may have been edited), and
writes projects of BORIS, VIA 3, files of ELAN, CVAT, spreadsheets or subtitles to another folder.
"""

import argparse
import sys
from pathlib import Path

from ava_tools.support.arguments import list_of
from ava_tools.timelines import FORMATS
from avsf_det.engine.defaults import make_parser, run_command

EXAMPLE = """examples:
  python ava_tools/export_timeline.py timelines/ --videos videos/ --output exports/ \\
      --format boris,eaf
  python ava_tools/export_timeline.py timelines/ --videos videos/ --output exports/ \\
      --format via,cvat --label-map labels.pbtxt"""


def run(args: argparse.Namespace) -> None:
    """Read the folder, and write the files."""
    from ava_tools.annotation_import.bouts import merge_overlaps, read_timeline_bouts
    from ava_tools.inference.person_boxes import videos_of_path
    from ava_tools.timelines.exchange import write_results
    from ava_tools.timelines.persons import read_persons
    from ava_tools.timelines.pipeline import Timeline
    from avsf_det.data import VideoReader
    from avsf_det.structures import AnnotationError
    from avsf_det.structures.label_map import read_label_map

    source, folder = Path(args.timeline), Path(args.output)
    bouts = [*merge_overlaps(read_timeline_bouts(source))]
    boxes = source / "persons.csv"  # empty if nobody was found
    persons = read_persons(boxes) if boxes.exists() and boxes.stat().st_size else {}
    paths = {video.video_id: video.path for video in videos_of_path(args.videos)}
    results = []
    for name in sorted({bout.video for bout in bouts} | persons.keys()):
        if name not in paths:
            raise AnnotationError(
                f"{source}: video '{name}' is not in {args.videos}. Put it there."
            )
        with VideoReader(paths[name]) as reader:
            length, fps = reader.duration, reader.fps
        mine = [bout for bout in bouts if bout.video == name]
        results.append(Timeline(paths[name], length, fps, persons.get(name, {}), 1.0, mine))
    actions = [*read_label_map(args.label_map).values()] if args.label_map else []
    actions = list(dict.fromkeys([*actions, *sorted({bout.action for bout in bouts})]))
    folder.mkdir(parents=True, exist_ok=True)
    write_results(folder, results, actions, args.format)


def main(argv: list[str] | None = None) -> int:
    """Run the command line and return its exit code."""
    parser = make_parser(__doc__, EXAMPLE)
    add = parser.add_argument
    add("timeline", metavar="DIR", help="folder with bouts.csv, and persons.csv for boxes and ids")
    add("--videos", required=True, metavar="DIR", help="folder of the videos")
    add("--output", required=True, metavar="DIR", help="folder to write")
    formats = f"formats, as a list: {','.join(FORMATS)}"
    add("--format", type=list_of(FORMATS), required=True, metavar="LIST", help=formats)
    add("--label-map", metavar="FILE", help="all actions, if not those of bouts.csv alone")
    return run_command(run, parser.parse_args(argv))


if __name__ == "__main__":
    sys.exit(main())
