"""Exports of CVAT in its format "CVAT for video 1.1": xml with a track for each person.

A track has boxes in pixels at some frames or at all of them; between two boxes it moves in a
straight line, and keeps its attributes until the next box. After a box "outside" it is not seen. A
track ends with its last box.
"""

import math
import xml.etree.ElementTree as ElementTree
from bisect import bisect_right
from collections.abc import Callable, Collection, Iterator
from typing import NamedTuple

import numpy as np

from ava_tools.annotation_import.drawn_boxes import DrawnBox, actions_in, relative_box
from avsf_det.data.datasets.annotation_files import AnnotationError, reading

_CORNERS = ("xtl", "ytl", "xbr", "ybr")
_REMEDY = "Export the task as 'CVAT for video 1.1'."
# Seconds; clocks of video files count in milliseconds or finer.
_CLOCK_TOLERANCE = 0.0005


class _Shape(NamedTuple):
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
    """Read the boxes of all persons, at regular times from second 0 on.

    Tracks whose boxes have no attribute do what their label says.

    Args:
        frame_times: (video as CVAT names it, place for messages) -> second of each frame.
        rate: keyframes per second.
        attributes: names of those that hold actions; empty for all.

    Raises:
        AnnotationError: not such an export, shapes that are not boxes, a frame the video lacks.
    """
    root = _parse(path)
    size = root.find("meta/*/original_size")
    video = root.findtext("meta/source") or root.findtext("meta/*/source") or ""
    if size is None or not video:
        raise AnnotationError(f"{path}: meta has no original_size or no source. {_REMEDY}")
    width, height = (float(size.findtext(side)) for side in ("width", "height"))
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
    """The boxes of a track, by frame."""
    elements = [e for e in track if e.tag != "attribute"]
    if others := sorted({e.tag for e in elements} - {"box"}) or not elements:
        got = ", ".join(others) if elements else "nothing"
        raise AnnotationError(f"{place}: has {got} instead of boxes. Draw persons as rectangles.")
    label = {} if track.find(".//attribute") is not None else {track.get("label", ""): "true"}
    shared = {e.get("name"): e.text or "" for e in track.findall("attribute")}
    shapes = []
    for element in elements:
        where = f"{place}, box at frame {element.get('frame')}"
        try:
            frame = int(element.attrib["frame"])
            box = tuple(float(element.attrib[name]) for name in _CORNERS)
            turned = float(element.get("rotation", 0)) != 0
        except (KeyError, ValueError) as error:
            raise AnnotationError(f"{where}: lacks a number ({error}). {_REMEDY}") from None
        if turned:
            raise AnnotationError(f"{where}: is turned. Boxes of persons must be upright.")
        own = {e.get("name"): e.text or "" for e in element.findall("attribute")}
        actions = actions_in(label, ()) or actions_in({**shared, **own}, attributes)
        shapes.append(_Shape(frame, box, element.get("outside") == "1", tuple(actions)))
    return sorted(shapes)


def _sample(shapes: list[_Shape], times: np.ndarray, rate: float) -> Iterator[tuple[float, _Shape]]:
    """The seconds k / rate at which a track is seen, and its shape in the frame on screen then."""
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
        share = (frame - shape.frame) / max(after.frame - shape.frame, 1)
        box = tuple(a + share * (b - a) for a, b in zip(shape.box, after.box, strict=True))
        yield second, shape._replace(frame=frame, box=box)
