"""Boxes drawn in an annotation tool, and their conversion to files in AVA's format."""

import os
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import NamedTuple

from avsf_det.structures import AnnotationError, Box, LabelMap
from avsf_det.structures.ava_csv import write_action_boxes

_NO_ACTION = {"", "none", "false", "__undefined__"}  # the last is CVAT's "nothing chosen"


class DrawnBox(NamedTuple):
    """A person in one frame.

    Attributes:
        video: file name or path in the annotation tool.
        second: time in the video, seconds.
        box: x1, y1, x2, y2 as fractions of the frame, 0..1.
        actions: names of the actions.
        person: id of the person within the video; "" if unknown.
        place: place of the annotation, for messages.
    """

    video: str
    second: float
    box: Box
    actions: tuple[str, ...]
    person: str
    place: str


def video_id_of(file: str) -> str:
    """Return a file's name without its folder (of any system, or of a URL) and its extension."""
    return os.path.splitext(file.replace("\\", "/").rsplit("/", 1)[-1])[0]


def actions_in(attributes: Mapping[str, str], wanted: Collection[str]) -> list[str]:
    """Return the actions in the attributes of a box.

    A value is an action, or several separated by ";". For a ticked checkbox ("true"), the action is
    the name of the attribute. An empty value, "none" and "false" are no action.

    Args:
        attributes: attribute name -> value.
        wanted: attributes that contain actions; empty for all.
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


def relative_box(place: str, box: Sequence[float], width: float, height: float) -> Box:
    """Convert a box from pixels to fractions of the frame, clipped to it.

    Args:
        place: place of the annotation, for messages.
        box: x1, y1, x2, y2 in pixels.
        width: width of the frame, pixels.
        height: height of the frame, pixels.

    Raises:
        AnnotationError: the box is outside the frame.
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
    boxes: Iterable[DrawnBox], label_map: LabelMap | None, source: str
) -> dict[str, int]:
    """Return action name -> id in the csv.

    Args:
        boxes: boxes whose actions need ids.
        label_map: ids to use; None to number the actions alphabetically from 1.
        source: file of the label map, for messages.

    Raises:
        AnnotationError: the label map lacks an action.
    """
    place_of = {action: box.place for box in boxes for action in box.actions}
    if label_map is None:
        return {name: number for number, name in enumerate(sorted(place_of), 1)}
    id_of = {name: action_id for action_id, name in label_map.items()}
    for action, place in place_of.items():
        if action not in id_of:
            raise AnnotationError(
                f"{place}: action '{action}' is not in {source}. Add it there, correct the "
                "annotation, or choose the attributes that name actions."
            )
    return id_of


def write_ava_csv(path: str, boxes: Iterable[DrawnBox], id_of: Mapping[str, int]) -> None:
    """Write a csv with a row for each box and action, sorted by video, time and person."""
    rows = sorted(
        (video_id_of(box.video), round(box.second, 3), box.person, box.box, id_of[action])
        for box in boxes
        for action in box.actions
    )
    with open(path, "w", newline="", encoding="utf-8") as file:
        write_action_boxes(
            file,
            (
                ((video_id, second), box, action, person)
                for video_id, second, person, box, action in rows
            ),
            second_digits=1,
        )
