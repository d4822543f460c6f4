"""Boxes that somebody drew in an annotation tool, and how they become files in AVA's format."""

import csv
import os
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import NamedTuple

from avsf_det.data.datasets.annotation_files import AnnotationError

_NO_ACTION = {"", "none", "false", "__undefined__"}  # the last is CVAT's "nothing chosen"


class DrawnBox(NamedTuple):
    """A person in one frame.

    Attributes:
        video: file name or path, as the annotation tool knows it.
        second: of the video.
        box: x1, y1, x2, y2 in 0..1 of the frame.
        actions: names.
        person: id of the person within the video, "" where nobody said.
        place: of the annotation, for messages.
    """

    video: str
    second: float
    box: tuple[float, float, float, float]
    actions: tuple[str, ...]
    person: str
    place: str


def video_id_of(file: str) -> str:
    """A file's name without folder (of any system, or of a URL) and extension."""
    return os.path.splitext(file.replace("\\", "/").rsplit("/", 1)[-1])[0]


def actions_in(attributes: Mapping[str, str], wanted: Collection[str]) -> list[str]:
    """The actions that a box's attributes name.

    A value is an action, or several separated by ";". A ticked checkbox ("true") is the action that
    the attribute is named after. Nothing, "none" and "false" are no action.

    Args:
        wanted: attributes to look at; empty for all.
    """
    actions = []
    for name, text in attributes.items():
        if not wanted or name in wanted:
            values = (value.strip() for value in text.split(";"))
            actions += [
                name if value.lower() == "true" else value
                for value in values
                if value.lower() not in _NO_ACTION
            ]
    return actions


def relative_box(
    place: str, box: Sequence[float], width: float, height: float
) -> tuple[float, float, float, float]:
    """Corners in pixels to 0..1 of the frame, cut at its edges.

    Raises:
        AnnotationError: nothing of the box is in the frame.
    """
    x1, x2 = (min(max(x / width, 0.0), 1.0) for x in box[::2])
    y1, y2 = (min(max(y / height, 0.0), 1.0) for y in box[1::2])
    if x1 >= x2 or y1 >= y2:
        raise AnnotationError(
            f"{place}: box {', '.join(f'{c:g}' for c in box)} lies outside the frame of "
            f"{width:g} x {height:g} pixels. Remove it, or check the video."
        )
    return x1, y1, x2, y2


def number_actions(
    boxes: Iterable[DrawnBox], label_map: tuple[list[int], list[str]] | None, source: str
) -> dict[str, int]:
    """Action name -> id in the csv: those of a label map, or from 1 in the order of the alphabet.

    Raises:
        AnnotationError: an action that the label map, read from ``source``, does not have.
    """
    place_of = {action: box.place for box in boxes for action in box.actions}
    if label_map is None:
        return {name: number for number, name in enumerate(sorted(place_of), 1)}
    id_of = dict(zip(label_map[1], label_map[0], strict=True))
    for action, place in place_of.items():
        if action not in id_of:
            raise AnnotationError(
                f"{place}: action '{action}' is not in {source}. Add it there, correct the "
                "annotation, or choose the attributes that name actions."
            )
    return id_of


def write_label_map(path: str, id_of: Mapping[str, int]) -> None:
    """Write ``item { name: "sit" id: 11 }`` for each action."""
    with open(path, "w", encoding="utf-8") as file:
        for name, number in sorted(id_of.items(), key=lambda item: item[1]):
            quoted = name.replace("\\", "\\\\").replace('"', '\\"')
            file.write(f'item {{\n  name: "{quoted}"\n  id: {number}\n}}\n')


def write_ava_csv(path: str, boxes: Iterable[DrawnBox], id_of: Mapping[str, int]) -> None:
    """Write a row for each box and action, ordered by video, time and person."""
    rows = sorted(
        (video_id_of(box.video), round(box.second, 3), box.person, box.box, id_of[action])
        for box in boxes
        for action in box.actions
    )
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        for video_id, second, person, box, action in rows:
            corners = [f"{corner:.4f}" for corner in box]
            writer.writerow([video_id, f"{second:.15g}", *corners, action, person])
