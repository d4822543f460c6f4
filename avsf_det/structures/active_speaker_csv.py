"""The csv files of AVA-ActiveSpeaker: faces of every frame, each with whether it speaks.

Rows are ``video_id,frame_timestamp,x1,y1,x2,y2,label,entity_id``; predictions have a score at the
end. Boxes are fractions of the frame, timestamps are seconds. Some copies of the files have a
header line, and more columns after the entity's id.
"""

import math
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple, TextIO

from .ava_boxes import ANNOTATIONS, parse_keyframe
from .errors import AnnotationError
from .text_file import read_rows

LABELS = ("NOT_SPEAKING", "SPEAKING_AUDIBLE", "SPEAKING_NOT_AUDIBLE")
SCORED_LABEL = LABELS[1]


class Face(NamedTuple):
    """Face of an entity in a frame."""

    place: str  # "file:line"
    video_id: str
    second: float
    box: tuple[float, ...]  # x1, y1, x2, y2 in 0..1
    label: str
    entity: str  # the same for the faces of one person in consecutive frames
    score: float = 1.0


def read_faces(path: str | Path, *, has_score: bool = False) -> Iterator[Face]:
    """Yield the rows of a csv; an AnnotationError names the first that is wrong."""
    columns = "video_id,frame_timestamp,x1,y1,x2,y2,label,entity_id" + ",score" * has_score
    for number, (place, row) in enumerate(read_rows(path)):
        if number == 0 and row[0].strip() == "video_id":
            continue
        if len(row) < 8 + has_score:
            raise AnnotationError(f"{place}: {len(row)} columns, expected {columns}")
        video_id, second = parse_keyframe(place, row[:2], ANNOTATIONS)
        try:
            box, score = tuple(map(float, row[2:6])), float(row[8]) if has_score else 1.0
        except ValueError:
            box, score = (), 1.0
        # Faces overshoot the frame; what is beyond -1..2 counts pixels.
        if not (box and all(-1 <= value <= 2 for value in box) and math.isfinite(score)):
            raise AnnotationError(
                f"{place}: box or score {','.join(row[2:6] + row[8:9])}. They must be numbers, "
                f"coordinates fractions of the frame; a row is {columns}."
            )
        label, entity = row[6].strip(), row[7].strip()
        if label not in LABELS:
            raise AnnotationError(
                f"{place}: label '{label}'. It must be one of {', '.join(LABELS)}."
            )
        yield Face(place, video_id, second, box, label, entity, score)


def write_predictions(file: TextIO, faces: Iterable[Face]) -> None:
    """Write predictions in the official form, numbers in full."""
    for face in faces:
        numbers = ",".join(repr(value) for value in (face.second, *face.box))
        end = f"{SCORED_LABEL},{face.entity},{face.score:.9g}"
        file.write(f"{face.video_id},{numbers},{end}\n")
