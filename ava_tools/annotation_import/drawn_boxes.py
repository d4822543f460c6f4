"""Boxes drawn in an annotation tool, and their conversion to files in AVA's format."""

import os
import re
import reprlib
import unicodedata
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from avsf_det.structures import AnnotationError, Box, LabelMap
from avsf_det.structures.ava_csv import write_action_boxes

_SHORT = reprlib.Repr()
_SHORT.maxlevel, _SHORT.maxstring, _SHORT.maxlist, _SHORT.maxother = 3, 60, 9, 60
_NO_ACTION = {"", "none", "false", "__undefined__"}  # the last is CVAT's "nothing chosen"
IMAGE_EXTENSIONS = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".gif", ".tif", ".tiff")
_MAX_NUMBER = 1e7  # pixels or seconds; larger ones are damage, and overflow when multiplied
# long_000031, or a folder long with 000031 or frame_000031 in it.
_FRAME = re.compile(r"(?:(?P<video>.*\S)[_.\- ])?(?:frame|img|image)?[_\-]?(?P<number>[0-9]{1,9})")
_NO_VIDEO = {"frame", "frames", "img", "image", "images"}


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


@dataclass
class Export:
    """Content of one file of an annotation tool.

    Attributes:
        boxes: all boxes, also those without an action.
        left_out: what has no place in AVA's format -> how often it occurs.
        attributes: name of each attribute -> number of its values that are actions.
        notes: further lines for the summary.
        is_of_bouts: whether the file has bouts, which need the boxes of persons.
    """

    boxes: list[DrawnBox] = field(default_factory=list)
    left_out: Counter[str] = field(default_factory=Counter)
    attributes: Counter[str] = field(default_factory=Counter)
    notes: list[str] = field(default_factory=list)
    is_of_bouts: bool = False

    def count_actions(self, actions: Mapping[str, Sequence[str]]) -> tuple[str, ...]:
        """Count the actions of a box by attribute, and return them."""
        self.attributes.update({name: len(values) for name, values in actions.items()})
        return tuple(action for values in actions.values() for action in values)


def quote(value: object) -> str:
    """Format a value of any kind and size for a message."""
    text = _SHORT.repr(value)
    return text if len(text) <= 80 else f"{text[:60]} ... {text[-15:]}"


def short(text: str) -> str:
    """Return a text as it is if it is short and printable, else quoted, for a message."""
    return text if len(text) <= 100 and text.isprintable() else quote(text)


def is_number(value: object) -> bool:
    """Return whether a parsed value is a number of pixels or seconds: not NaN, not huge."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return False
    return -_MAX_NUMBER <= value <= _MAX_NUMBER


def video_id_of(file: str) -> str:
    """Return a file's name without its folder (of any system, or of a URL) and its extension."""
    return os.path.splitext(file.replace("\\", "/").rsplit("/", 1)[-1])[0]


def frame_of_image(file: str) -> tuple[str, int] | None:
    """Return video and number of an image of a frame, from its name.

    ``long_000031.jpg`` and ``long/frame_000031.jpg`` are frame 31 of the video ``long``.

    Returns:
        file name of the video (its extension is arbitrary) and the number as written; None if the
        name has another form.
    """
    match = _FRAME.fullmatch(video_id_of(file))
    if not match:
        return None
    video = match["video"]
    if not video or video.lower() in _NO_VIDEO:
        video = file.replace("\\", "/").rpartition("/")[0].rpartition("/")[2]
    return (f"{video}.mp4", int(match["number"])) if video.strip(".") else None


def second_of_image(file: str, place: str, rate: float | None) -> tuple[str, float]:
    """Return the video of a frame's image and the second of the frame.

    The first image is number 1, as ffmpeg and the recipes for AVA number them.

    Args:
        file: name of the image.
        place: place of the annotation, for messages.
        rate: images per second of the video; None if the user gave none.

    Raises:
        AnnotationError: the name has no number, or there is no rate.
    """
    found = frame_of_image(file)
    if not found or found[1] < 1:
        raise AnnotationError(
            f"{place}: image {quote(file)} of no known frame. Name images by video and frame, from "
            "1 (long_000031.jpg for long.mp4), or annotate the video itself."
        )
    if rate is None:
        raise AnnotationError(
            f"{place}: {quote(file)} is an image. Give --rate, the number of images that were made "
            f"for each second of the video; the second is then ({found[1]} - 1) / rate."
        )
    return found[0], (found[1] - 1) / rate


def actions_in(attributes: Mapping[str, str], wanted: Collection[str]) -> dict[str, list[str]]:
    """Return the actions in the attributes of a box.

    A value is an action, or several separated by ";". For a ticked checkbox ("true"), the action is
    the name of the attribute. An empty value, "none" and "false" are no action.

    Args:
        attributes: attribute name -> value.
        wanted: attributes that contain actions; empty for all.

    Returns:
        name of each attribute, without those that are not wanted -> its actions.
    """
    actions = {}
    for name, text in attributes.items():
        if not wanted or name in wanted:
            # Text areas and xml contain line breaks.
            values = (" ".join(value.split()) for value in text.split(";"))
            actions[name] = [
                " ".join(name.split()) if value.lower() == "true" else value
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
        AnnotationError: the box is outside the frame, or has no area.
    """
    x1, x2 = (min(max(x / width, 0.0), 1.0) for x in box[::2])
    y1, y2 = (min(max(y / height, 0.0), 1.0) for y in box[1::2])
    # As written, with four decimals.
    if round(x1, 4) >= round(x2, 4) or round(y1, 4) >= round(y2, 4):
        is_outside = max(box[0], 0) >= min(box[2], width) or max(box[1], 0) >= min(box[3], height)
        empty = not is_outside or box[0] >= box[2] or box[1] >= box[3]
        raise AnnotationError(
            f"{place}: box {', '.join(f'{c:g}' for c in box)} "
            f"{'has no area in' if empty else 'lies outside'} the frame of {width:g} x {height:g} "
            "pixels. Remove it, or check the video."
        )
    return x1, y1, x2, y2


def check_texts(box: DrawnBox) -> None:
    """Check that the names of a box's actions and person can be written.

    Raises:
        AnnotationError: one has a control character, or half of a UTF-16 pair.
    """
    for text in (*box.actions, box.person):
        if any(unicodedata.category(character) in ("Cc", "Cs") for character in text):
            raise AnnotationError(
                f"{box.place}: {quote(text)} has a character that is no text. Correct it in the "
                "annotation tool."
            )


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
                f"{place}: action '{short(action)}' is not in {source}. Add it there, correct the "
                "annotation, or choose the attributes that name actions."
            )
    return id_of


def write_ava_csv(path: str, boxes: Iterable[DrawnBox], id_of: Mapping[str, int]) -> None:
    """Write a csv with a row for each box and action, sorted by video, time and person."""
    # A set: exports of overlapping jobs have the same boxes.
    rows = sorted(
        {
            (video_id_of(box.video), round(box.second, 3), box.person, box.box, id_of[action])
            for box in boxes
            for action in box.actions
        }
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
