"""Boxes of persons with ids: the file ``persons.csv`` of a timeline."""

from pathlib import Path

import numpy as np

from avsf_det.structures import AnnotationError
from avsf_det.structures.ava_boxes import PERSON_BOXES
from avsf_det.structures.ava_csv import read_action_boxes

from .page import PersonBoxes


def read_persons(path: str | Path) -> dict[str, list[PersonBoxes]]:
    """Return the boxes of each person of each video; rows without an id are left out.

    Raises:
        AnnotationError: a malformed row, two boxes of a person at one second, or no id at all.
    """
    rows = read_action_boxes(path, PERSON_BOXES)  # column 7 is the id of the person
    found: dict[str, dict[int, dict[float, np.ndarray]]] = {}
    for keyframe, person, box in zip(rows.keyframe, rows.actions.tolist(), rows.boxes, strict=True):
        if person < 0:
            continue
        video, second = rows.keyframes[keyframe]
        boxes = found.setdefault(video, {}).setdefault(person, {})
        if second in boxes:
            raise AnnotationError(
                f"{path}: person {person} has two boxes at {second:g} s of '{video}'. Give one of "
                "them another id."
            )
        boxes[second] = box
    if not found:
        raise AnnotationError(
            f"{path}: no box has an id in column 7. Give persons.csv of timeline.py, or boxes of "
            "detect_persons.py --track."
        )
    return {
        video: [
            PersonBoxes(str(person), np.array([*boxes]), np.stack([*boxes.values()]))
            for person, unordered in sorted(persons.items())
            for boxes in [dict(sorted(unordered.items()))]
        ]
        for video, persons in found.items()
    }
