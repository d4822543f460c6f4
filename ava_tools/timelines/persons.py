"""Boxes of persons with ids: the file ``persons.csv`` of a timeline."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from avsf_det.structures import AnnotationError
from avsf_det.structures.addresses import stem_of
from avsf_det.structures.ava_csv import read_person_boxes, write_person_boxes
from avsf_det.utils.atomic import open_atomic

from .page import PersonBoxes

if TYPE_CHECKING:
    from .pipeline import Timeline

# Second -> boxes (N, 6) of persons: x1 y1 x2 y2 in 0..1, score, id.
Frames = Mapping[float, np.ndarray]


def write_persons(path: Path, timelines: Iterable["Timeline"]) -> None:
    """Write the boxes of all videos as a csv that ``--boxes`` reads."""
    with open_atomic(path) as file:
        for timeline in timelines:
            keyframes = ((stem_of(timeline.path), second) for second in timeline.boxes)
            boxes = (rows.tolist() for rows in timeline.boxes.values())
            write_person_boxes(file, zip(keyframes, boxes, strict=True))


def read_persons(path: str | Path) -> dict[str, Frames]:
    """Return the boxes of each video; those without an id are left out.

    Raises:
        AnnotationError: a malformed row, two boxes of a person at one second, or no id at all.
    """
    found: dict[str, dict[float, np.ndarray]] = {}
    for (video, second), columns in read_person_boxes(path, take_ids=True).items():
        rows = np.column_stack(columns)
        if (rows[:, 5] >= 0).any():
            found.setdefault(video, {})[second] = rows[rows[:, 5] >= 0]
    if not found:
        raise AnnotationError(
            f"{path}: no box has an id in column 7. Give persons.csv of timeline.py, or boxes of "
            "detect_persons.py --track."
        )
    return {video: dict(sorted(frames.items())) for video, frames in found.items()}


def boxes_by_person(frames: Frames) -> list[PersonBoxes]:
    """Return the boxes of each person, by ascending id."""
    rows = by_person((second, found[:, 5], found[:, :4]) for second, found in frames.items())
    return [PersonBoxes(str(person), *arrays) for person, arrays in rows.items()]


def by_person(
    frames: Iterable[tuple[float, np.ndarray, np.ndarray]],
) -> dict[int, tuple[np.ndarray, np.ndarray]]:
    """Group (second, ids (N,), values (N, K)) of frames: id to seconds (T,) and values (T, K)."""
    found: dict[int, list[tuple[float, np.ndarray]]] = {}
    for second, ids, values in frames:
        for person, row in zip(ids.tolist(), values, strict=True):
            found.setdefault(int(person), []).append((second, row))
    return {
        person: (np.array([s for s, _ in rows]), np.stack([x for _, x in rows]))
        for person, rows in sorted(found.items())
    }
