"""Divide the labelled clips of a folder into lists for training and evaluation."""

import csv
import io
import os
import random
import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from ava_tools.preparation.video_lists import videos_in
from avsf_det.data.datasets import AnnotationError, load_kinetics, load_kinetics_classes
from avsf_det.data.datasets.annotation_files import read_table
from avsf_det.utils.atomic import write_atomic

COLUMNS = ("label", "youtube_id", "time_start", "time_end")
# "<youtube id>_<start>_<end>": segments of one video go all to training, or all to evaluation.
_SEGMENT = re.compile(r"_\d{6}_\d{6}$")


class Clip(NamedTuple):
    """Labelled clip.

    Attributes:
        path: path relative to the folder of the videos.
        label: name of the class.
        split: split of the official csv; "" where there is none.
    """

    path: str
    label: str
    split: str


def split_by_video(
    clips: Sequence[Clip], val_share: float, seed: int
) -> tuple[list[Clip], list[Clip]]:
    """Divide clips by class into those for training and evaluation; no video is in both.

    A class of two videos or more has at least one in each, unless ``val_share`` is 0.

    Args:
        clips: the clips.
        val_share: fraction of the videos for evaluation, 0..1.
        seed: seed of the random division.
    """
    videos_of: dict[str, list[str]] = defaultdict(list)
    for video, label in {_source_video(clip.path): clip.label for clip in clips}.items():
        videos_of[label].append(video)
    held_out: set[str] = set()
    for label, videos in videos_of.items():
        count = min(max(round(val_share * len(videos)), val_share > 0), len(videos) - 1)
        # A generator per class: a new class does not change the division of the others.
        held_out.update(random.Random(f"{seed} {label}").sample(sorted(videos), count))
    train = [clip for clip in clips if _source_video(clip.path) not in held_out]
    return train, [clip for clip in clips if _source_video(clip.path) in held_out]


def read_folders(video_dir: str) -> list[Clip]:
    """Return the videos of a folder; the outermost folder in it is the class.

    Raises:
        AnnotationError: there is no video, or one outside the folders.
    """
    paths = list(videos_in(video_dir))
    if flat := [path for path in paths if os.sep not in path]:
        raise AnnotationError(
            f"{video_dir}/{flat[0]}: is in no folder of a class. Put it into one."
        )
    return [Clip(path, path.split(os.sep)[0], "") for path in paths]


def read_official(csv_file: str, video_dir: str) -> tuple[list[Clip], list[list[str]]]:
    """Return the clips of an official csv whose video exists, and the rows of the others.

    Raises:
        AnnotationError: a bad row, a clip twice, no video at all.
    """
    rows = dict(read_table(csv_file, COLUMNS, ("split",)))
    found = load_kinetics(csv_file, video_dir, load_kinetics_classes(csv_file))
    file_of = {clip["source"]: os.path.relpath(clip["file_name"], video_dir) for clip in found}
    clips = [Clip(file, rows[place][0], rows[place][-1]) for place, file in file_of.items()]
    return clips, [row for place, row in rows.items() if place not in file_of]


def write_lists(
    csv_file: str | None, video_dir: str, output: Path, val_share: float, seed: int
) -> int:
    """Write ``train.csv``, ``val.csv``, ``classes.txt`` and, with a csv, ``missing.csv``.

    Args:
        csv_file: official csv of Kinetics; None: the folders of ``video_dir`` are the classes.
        video_dir: folder of the videos.
        output: folder of the lists.
        val_share: fraction of the videos for evaluation, unless the csv has splits.
        seed: seed of the random division.

    Returns:
        number of missing videos.
    """
    if csv_file:
        clips, missing = read_official(csv_file, video_dir)
    else:
        clips, missing = read_folders(video_dir), []
    train, val = split_by_video(clips, val_share, seed)
    if all(clip.split for clip in clips):
        train = [clip for clip in clips if clip.split == "train"]
        val = [clip for clip in clips if clip.split != "train"]
    names = sorted({clip.label for clip in clips} | {row[0] for row in missing})
    write_atomic(output / "classes.txt", "".join(f"{name}\n" for name in names))
    for split, part in (("train", train), ("val", val)):
        _write_csv(output / f"{split}.csv", ("video", "label"), [clip[:2] for clip in part])
    if csv_file:
        _write_csv(output / "missing.csv", (*COLUMNS, "split"), missing)
    print(
        f"{output}: {len(names)} classes, {len(train)} clips to train on, {len(val)} to evaluate "
        f"on, {len(missing)} missing"
    )
    return len(missing)


def _source_video(path: str) -> str:
    """Return the video that a clip was cut from, if its name has the form of a segment."""
    stem = os.path.splitext(os.path.basename(path))[0]
    return _SEGMENT.sub("", stem) if _SEGMENT.search(stem) else path


def _write_csv(path: Path, header: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    text = io.StringIO(newline="")
    csv.writer(text).writerows([header, *rows])
    write_atomic(path, text.getvalue())
