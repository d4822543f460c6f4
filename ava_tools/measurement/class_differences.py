"""Differences between two runs on the same clips, class by class."""

import csv
from dataclasses import astuple, dataclass

from avsf_det.evaluation import TaskResult
from avsf_det.utils.atomic import open_atomic


@dataclass(frozen=True)
class ClassDifference:
    """Metric of one class in two runs, in percent; ``difference`` in percentage points."""

    name: str
    clips: int
    before: float
    after: float
    difference: float


def class_differences(before: TaskResult, after: TaskResult) -> list[ClassDifference]:
    """Compare top-1 (or AP) per class of two runs on the same clips.

    Returns:
        Differences, greatest gain first. Classes without clips are left out.
    """
    metric = next(iter(after.class_metrics))
    values = zip(before.class_metrics[metric], after.class_metrics[metric], strict=True)
    rows = [
        ClassDifference(name, int(clips), float(old), float(new), float(new - old))
        for name, clips, (old, new) in zip(
            after.class_names, after.class_clips, values, strict=True
        )
        if clips
    ]
    return sorted(rows, key=lambda row: -row.difference)


def write_differences(differences: list[ClassDifference], path: str) -> None:
    """Write a csv of the fields of :class:`ClassDifference`."""
    with open_atomic(path) as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["class", "clips", "before", "after", "difference"])
        writer.writerows(astuple(row) for row in differences)
