#!/usr/bin/env python
"""List the labelled clips of a folder, as register_clip_csv and register_kinetics take them.

Videos lie in folders named after their class, or are those of an official csv of Kinetics. Writes
train.csv and val.csv (columns video,label; paths relative to --videos) and classes.txt; and
missing.csv, the rows of an official csv whose video is not there, with which the exit code is 1.
"""

import argparse
import csv
import os
import random
import re
import sys
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from avsf_det.data.datasets import AnnotationError, load_kinetics, load_kinetics_classes
from avsf_det.data.datasets.annotation_files import read_table
from avsf_det.data.datasets.video_lists import videos_in

EXAMPLE = """examples:
  class folders           python ava_tools/prepare_video_lists.py --videos clips/ --output lists/
  another fifth           python ava_tools/prepare_video_lists.py --videos clips/ --output lists/ \\
                              --val-share 0.2 --seed 1
  official csv            python ava_tools/prepare_video_lists.py --csv kinetics-400_val.csv \\
                              --videos videos/val --output lists/

An official csv may say itself, in a column split, what is to train on (train) and what to evaluate
on (anything else)."""
COLUMNS = ("label", "youtube_id", "time_start", "time_end")
# "<youtube id>_<start>_<end>": parts of one video are all to train on, or all to evaluate on.
_SEGMENT = re.compile(r"_\d{6}_\d{6}$")


class Clip(NamedTuple):
    """``path`` is relative to the folder of the videos; ``split`` is "" where nobody says it."""

    path: str
    label: str
    split: str


def split_by_video(clips: Sequence[Clip], val_share: float, seed: int) -> tuple[list, list]:
    """Divide clips into those to train and to evaluate on, class by class; no video is in both.

    Of a class of two videos or more, at least one is in each, unless ``val_share`` is 0.
    """
    videos_of: dict[str, list[str]] = defaultdict(list)
    for video, label in {_video(clip.path): clip.label for clip in clips}.items():
        videos_of[label].append(video)
    held_out: set[str] = set()
    for label, videos in videos_of.items():
        count = min(max(round(val_share * len(videos)), val_share > 0), len(videos) - 1)
        held_out.update(random.Random(f"{seed} {label}").sample(sorted(videos), count))
    train = [clip for clip in clips if _video(clip.path) not in held_out]
    return train, [clip for clip in clips if _video(clip.path) in held_out]


def read_folders(video_dir: str) -> list[Clip]:
    """The videos of a folder; the outermost folder in it is the class.

    Raises:
        AnnotationError: no video, or one outside the folders.
    """
    paths = list(videos_in(video_dir))
    if flat := [path for path in paths if os.sep not in path]:
        raise AnnotationError(
            f"{video_dir}/{flat[0]}: is in no folder of a class. Put it into one."
        )
    return [Clip(path, path.split(os.sep)[0], "") for path in paths]


def read_official(csv_file: str, video_dir: str) -> tuple[list[Clip], list[list[str]]]:
    """The clips of an official csv that are there, and the rows of those that are not.

    Raises:
        AnnotationError: a bad row, a clip twice, no video at all.
    """
    rows = dict(read_table(csv_file, COLUMNS, ("split",)))
    found = load_kinetics(csv_file, video_dir, load_kinetics_classes(csv_file))
    file_of = {clip["source"]: os.path.relpath(clip["file_name"], video_dir) for clip in found}
    clips = [Clip(file, rows[place][0], rows[place][-1]) for place, file in file_of.items()]
    return clips, [row for place, row in rows.items() if place not in file_of]


def prepare(csv_file: str | None, video_dir: str, output: Path, val_share: float, seed: int) -> int:
    """Write the lists. Returns the number of missing videos."""
    if csv_file:
        clips, missing = read_official(csv_file, video_dir)
    else:
        clips, missing = read_folders(video_dir), []
    train, val = split_by_video(clips, val_share, seed)
    if all(clip.split for clip in clips):
        train = [clip for clip in clips if clip.split == "train"]
        val = [clip for clip in clips if clip.split != "train"]
    output.mkdir(parents=True, exist_ok=True)
    names = sorted({clip.label for clip in clips} | {row[0] for row in missing})
    (output / "classes.txt").write_text("".join(f"{name}\n" for name in names))
    for split, part in (("train", train), ("val", val)):
        _write(output / f"{split}.csv", ("video", "label"), [clip[:2] for clip in part])
    if csv_file:
        _write(output / "missing.csv", (*COLUMNS, "split"), missing)
    print(
        f"{output}: {len(names)} classes, {len(train)} clips to train on, {len(val)} to evaluate "
        f"on, {len(missing)} missing"
    )
    return len(missing)


def _video(path: str) -> str:
    """What the clip was cut from, if its name says it."""
    stem = os.path.splitext(os.path.basename(path))[0]
    return _SEGMENT.sub("", stem) if _SEGMENT.search(stem) else path


def _write(path: Path, header: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    with open(path, "w", newline="") as file:
        csv.writer(file).writerows([header, *rows])


def main(argv: list[str] | None = None) -> int:
    """Returns 1 if videos are missing, or after a line on stderr if input is bad."""
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLE, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--videos", required=True, metavar="DIR", help="folder of the videos")
    parser.add_argument("--csv", metavar="FILE", help="official csv of Kinetics")
    parser.add_argument("--output", type=Path, required=True, metavar="DIR", help="for the lists")
    parser.add_argument(
        "--val-share", type=float, default=0.2, help="of the videos, to evaluate on (0.2)"
    )
    parser.add_argument("--seed", type=int, default=0, help="another one, another division (0)")
    args = parser.parse_args(argv)
    if not 0 <= args.val_share < 1:
        parser.error("--val-share must be at least 0 and less than 1")
    try:
        missing = prepare(args.csv, args.videos, args.output, args.val_share, args.seed)
    except (AnnotationError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return int(missing > 0)


if __name__ == "__main__":
    sys.exit(main())
