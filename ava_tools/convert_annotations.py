#!/usr/bin/env python
"""Turn what was annotated with VIA 3 or CVAT into a csv and a label map as AVA's.

Takes projects (json) and csv exports of the VGG Image Annotator 3, and xml exports of CVAT ("CVAT
for video 1.1"). Pixels become fractions of the frame, frame numbers the seconds at which the video
shows them; a person may do several things at once.
"""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from avsf_det.data import VideoDecodeError, VideoReader
from avsf_det.data.datasets import AnnotationError, load_label_map
from avsf_det.data.datasets.cvat import read_cvat
from avsf_det.data.datasets.drawn_boxes import (
    DrawnBox,
    number_actions,
    video_id_of,
    write_ava_csv,
    write_label_map,
)
from avsf_det.data.datasets.via import read_via
from avsf_det.data.datasets.video_lists import find_movies
from avsf_det.data.video.check import presentation_times

EXAMPLE = """examples:
  python ava_tools/convert_annotations.py train/*.xml --videos videos/ --output train.csv \\
      --label-map labels.pbtxt
  python ava_tools/convert_annotations.py via_project.json --videos videos/ --output val.csv \\
      --label-map labels.pbtxt --attributes action

The label map is written if it is not there; if it is, its ids are used: convert what you train on
first. Each value of an attribute is an action, and so is the name of each ticked checkbox. In CVAT,
tracks are persons, sampled at --rate, and a label without attributes is an action. In VIA, each
moment with a rectangle is a keyframe, and an attribute "person" may hold the id of the person."""


def convert(
    exports: Sequence[str],
    video_dir: str,
    output: str,
    label_map: str,
    *,
    rate: float = 1.0,
    attributes: Sequence[str] = (),
    person_attribute: str = "person",
) -> None:
    """Write the csv, and the label map if it is not there.

    Args:
        rate: keyframes per second, of tracks.
        attributes: names of those that hold actions; empty for all.
        person_attribute: of VIA, the name of the one that holds the person's id.

    Raises:
        AnnotationError: a bad export, a missing video, an unknown action.
        VideoDecodeError: a video cannot be read.
    """
    sizes: dict[str, tuple[int, int]] = {}

    def find(name: str, place: str) -> str:
        video_id = video_id_of(name)
        found = find_movies(video_dir, [video_id])
        if not found:
            raise AnnotationError(
                f"{place}: video '{name}' is not in {video_dir}. Put it there; its extension may "
                "be another one."
            )
        return found[video_id]

    def frame_size(name: str, place: str) -> tuple[int, int]:
        if name not in sizes:
            with VideoReader(find(name, place)) as reader:
                sizes[name] = reader.width, reader.height
        return sizes[name]

    def frame_times(name: str, place: str) -> np.ndarray:
        return presentation_times(find(name, place))

    boxes: list[DrawnBox] = []
    for export in exports:
        if export.lower().endswith(".xml"):
            boxes += read_cvat(export, frame_times, rate=rate, attributes=attributes)
            continue
        drawn, num_segments = read_via(
            export, frame_size, attributes=attributes, person_attribute=person_attribute
        )
        boxes += drawn
        if num_segments:
            print(f"{export}: left out {num_segments} temporal segments, which have no box")
    used = [box for box in boxes if box.actions]
    if not used:
        raise AnnotationError(f"{', '.join(exports)}: no box with an action")
    given = load_label_map(label_map) if os.path.exists(label_map) else None
    id_of = number_actions(used, given, label_map)
    write_ava_csv(output, used, id_of)
    if given is None:
        write_label_map(label_map, id_of)
    keyframes = {(box.video, box.second) for box in used}
    print(
        f"{output}: {len({video for video, _ in keyframes})} videos, {len(keyframes)} keyframes, "
        f"{len(used)} boxes of {len(id_of)} actions; {len(boxes) - len(used)} boxes without an "
        f"action left out. Label map: {label_map}, {'as it was' if given else 'new'}"
    )


def main(argv: list[str] | None = None) -> int:
    """Returns 1 after a line on stderr if input is bad."""
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLE, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("exports", nargs="+", metavar="EXPORT", help="json, csv or xml")
    parser.add_argument("--videos", required=True, metavar="DIR", help="the annotated videos")
    parser.add_argument("--output", required=True, metavar="FILE", help="csv to write")
    parser.add_argument("--label-map", required=True, metavar="FILE", help="to write, or to use")
    parser.add_argument(
        "--rate", type=float, default=1.0, metavar="HZ", help="keyframes a second, of tracks (1)"
    )
    parser.add_argument(
        "--attributes", nargs="+", default=[], metavar="NAME", help="that hold actions (all)"
    )
    parser.add_argument("--person-attribute", default="person", metavar="NAME", help="VIA (person)")
    args = parser.parse_args(argv)
    if args.rate <= 0:
        parser.error("--rate must be positive")
    try:
        Path(args.output).parent.mkdir(parents=True, exist_ok=True)
        convert(
            args.exports,
            args.videos,
            args.output,
            args.label_map,
            rate=args.rate,
            attributes=args.attributes,
            person_attribute=args.person_attribute,
        )
    except (AnnotationError, VideoDecodeError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
