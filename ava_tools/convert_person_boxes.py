#!/usr/bin/env python
"""Convert a pickle of detected persons, as of MultiSports and MMAction2, to a csv in AVA's format.

The pickle is a dict "video,number" -> array (N, 5) of x1, y1, x2, y2 in 0..1 and score. The number
is a second, or for tubes the number of a frame from 1. No code in the pickle is run.
"""

import argparse
import os
import sys

import numpy as np

from avsf_det.engine.defaults import make_parser, run_command
from avsf_det.structures import AVSFError, Keyframe

EXAMPLE = """example:
  python ava_tools/convert_person_boxes.py --input MultiSports_box/val.pkl \\
      --output datasets/multisports/trainval/multisports_val_boxes.csv"""


def to_keyframes(data: object, path: str) -> list[tuple[Keyframe, list[list[float]]]]:
    """Return the boxes of each keyframe, clipped to the frame; those without area are left out.

    Raises:
        AVSFError: an entry has another form.
    """
    if not isinstance(data, dict) or not data:
        raise AVSFError(f"{path}: is no dict of boxes, with keys 'video,number'")
    found = []
    for key, value in data.items():
        video, _, number = str(key).rpartition(",")
        try:
            rows = np.asarray(value, np.float64).reshape(len(value), 5)
        except (TypeError, ValueError):
            rows = np.full((1, 5), np.nan)
        if not video or not number.strip().isdecimal() or not np.isfinite(rows).all():
            raise AVSFError(
                f"{path}: entry '{str(key)[:80]}' is no array (N, 5) of boxes and scores, or its "
                "key is not 'video,number'"
            )
        if len(rows) and (rows.max() > 1.1 or rows.min() < -0.1):
            raise AVSFError(
                f"{path}: entry '{str(key)[:80]}' is in pixels; divide by width, height"
            )
        rows = rows.clip(0, 1)
        rows = rows[(rows[:, 2] > rows[:, 0]) & (rows[:, 3] > rows[:, 1])]
        found.append(((video.strip().replace("/", "-"), float(number)), rows.tolist()))
    return sorted(found)


def run(args: argparse.Namespace) -> None:
    """Write the csv."""
    from avsf_det.checkpoint import safe_load
    from avsf_det.structures.ava_csv import write_person_boxes
    from avsf_det.utils.atomic import open_atomic

    if os.path.exists(args.output):
        raise AVSFError(f"{args.output}: is there already. Delete it, or name another file")
    keyframes = to_keyframes(safe_load(args.input), args.input)
    with open_atomic(args.output) as file:
        write_person_boxes(file, keyframes)
    print(f"{sum(len(x) for _, x in keyframes)} boxes of {len(keyframes)} keyframes: {args.output}")


def main(argv: list[str] | None = None) -> int:
    """Run the tool; return its exit code, 1 after a line on stderr if the input is bad."""
    parser = make_parser(__doc__, EXAMPLE)
    parser.add_argument("--input", required=True, help="pickle of detected persons")
    parser.add_argument("--output", required=True, help="csv to write")
    return run_command(run, parser.parse_args(argv))


if __name__ == "__main__":
    sys.exit(main())
