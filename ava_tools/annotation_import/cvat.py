"""Read exports of CVAT in the format "CVAT for video 1.1": xml with a track for each person.

A track has boxes in pixels at some or all frames. Between two boxes its position is interpolated
linearly, and its attributes are those of the earlier box. After a box marked "outside" the person
is not visible. A track ends with its last box.
"""

import math
import xml.etree.ElementTree as ElementTree
from bisect import bisect_right
from collections.abc import Callable, Collection, Iterator
from typing import NamedTuple

import numpy as np

from ava_tools.annotation_import.drawn_boxes import DrawnBox, actions_in, relative_box
from avsf_det.structures import AnnotationError
from avsf_det.structures.text_file import reading

_CORNERS = ("xtl", "ytl", "xbr", "ybr")
_REMEDY = "Export the task as 'CVAT for video 1.1'."
# Seconds; the time base of video files is a millisecond or finer.
_CLOCK_TOLERANCE = 0.0005


class _Shape(NamedTuple):
    """A box of a track."""

    frame: int
    box: tuple[float, ...]  # x1, y1, x2, y2 in pixels
    outside: bool
    actions: tuple[str, ...]


def read_cvat(
    path: str,
    frame_times: Callable[[str, str], np.ndarray],
    *,
    rate: float = 1.0,
    attributes: Collection[str] = (),
) -> list[DrawnBox]:
    """Read the boxes of all persons, sampled at regular times from second 0 on.

    The label of a track without attributes is its action.

    Args:
        path: xml file.
        frame_times: (video name in CVAT, place for messages) -> time of each frame, seconds.
        rate: keyframes per second.
        attributes: attributes that contain actions; empty for all.

    Raises:
        AnnotationError: the file has another format, a shape is not a box, or the video lacks a
            frame.
    """
    root = _parse(path)
    size = root.find("meta/*/original_size")
    video = root.findtext("meta/source") or root.findtext("meta/*/source") or ""
    if size is None or not video:
        raise AnnotationError(f"{path}: meta has no original_size or no source. {_REMEDY}")
    width, height = (float(size.findtext(side) or 0) for side in ("width", "height"))
    if not (width and height):
        raise AnnotationError(f"{path}: original_size has no width or no height. {_REMEDY}")
    times = frame_times(video, path)
    boxes = []
    for track in root.iter("track"):
        place = f"{path}: track {track.get('id')}"
        shapes = _shapes(place, track, attributes)
        if shapes[-1].frame >= len(times):
            raise AnnotationError(
                f"{place}: box at frame {shapes[-1].frame}, but {video} has only {len(times)} "
                "frames. Give the video that was annotated."
            )
        for second, shape in _sample(shapes, times, rate):
            where = f"{place}, frame {shape.frame}"
            box = relative_box(where, shape.box, width, height)
            person = track.get("id", "")
            boxes.append(DrawnBox(video, second, box, shape.actions, person, where))
    return boxes


def _parse(path: str) -> ElementTree.Element:
    with reading(path), open(path, "rb") as file:
        try:
            root = ElementTree.parse(file).getroot()
        except ElementTree.ParseError as error:
            raise AnnotationError(f"{path}:{error.position[0]}: not xml ({error}).") from None
    if root.find("meta/project") is not None:
        raise AnnotationError(f"{path}: an export of a whole project. {_REMEDY}")
    if root.find("track") is None:
        what = "images" if root.find("image") is not None else f"<{root.tag}>"
        raise AnnotationError(f"{path}: no track, but {what}. {_REMEDY}")
    return root


def _shapes(place: str, track: ElementTree.Element, attributes: Collection[str]) -> list[_Shape]:
    """Return the boxes of a track, sorted by frame."""
    elements = [e for e in track if e.tag != "attribute"]
    others = sorted({e.tag for e in elements} - {"box"})
    if others or not elements:
        got = ", ".join(others) if elements else "nothing"
        raise AnnotationError(f"{place}: has {got} instead of boxes. Draw persons as rectangles.")
    label = {} if track.find(".//attribute") is not None else {track.get("label", ""): "true"}
    shared = {e.get("name", ""): e.text or "" for e in track.findall("attribute")}
    shapes = []
    for element in elements:
        where = f"{place}, box at frame {element.get('frame')}"
        try:
            frame = int(element.attrib["frame"])
            box = tuple(float(element.attrib[name]) for name in _CORNERS)
            rotated = float(element.get("rotation", 0)) != 0
        except (KeyError, ValueError) as error:
            raise AnnotationError(f"{where}: lacks a number ({error}). {_REMEDY}") from None
        if rotated:
            raise AnnotationError(f"{where}: is rotated. Boxes of persons must be upright.")
        own = {e.get("name", ""): e.text or "" for e in element.findall("attribute")}
        actions = actions_in(label, ()) or actions_in({**shared, **own}, attributes)
        shapes.append(_Shape(frame, box, element.get("outside") == "1", tuple(actions)))
    return sorted(shapes)


def _sample(shapes: list[_Shape], times: np.ndarray, rate: float) -> Iterator[tuple[float, _Shape]]:
    """Yield the times k / rate at which a track is visible, and its box in the frame shown then."""
    frames = [shape.frame for shape in shapes]
    first = math.ceil((times[frames[0]] - _CLOCK_TOLERANCE) * rate)
    for k in range(max(first, 0), math.floor(times[-1] * rate) + 1):
        second = k / rate
        frame = int(np.searchsorted(times, second + _CLOCK_TOLERANCE, side="right")) - 1
        if frame > frames[-1]:
            return
        before = bisect_right(frames, frame) - 1
        shape = shapes[before]
        if shape.outside:
            continue
        after = shapes[min(before + 1, len(shapes) - 1)]
        fraction = (frame - shape.frame) / max(after.frame - shape.frame, 1)
        box = tuple(a + fraction * (b - a) for a, b in zip(shape.box, after.box, strict=True))
        yield second, shape._replace(frame=frame, box=box)
