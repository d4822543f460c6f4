"""Read exports of CVAT in the format "CVAT for video 1.1": xml with a track for each person.

Exports of tasks, jobs and projects are read, and "CVAT for images 1.1" where the names of the
images tell video and frame. Boxes are in pixels. Other shapes are left out.
"""

import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Collection, Mapping
from typing import NamedTuple

import numpy as np

from ava_tools.annotation_import.drawn_boxes import (
    DrawnBox,
    Export,
    actions_in,
    frame_of_image,
    is_number,
    quote,
    relative_box,
    second_of_image,
    short,
)
from ava_tools.annotation_import.tracks import (
    Shape,
    Span,
    find_unsampled,
    note_unsampled,
    sample_track,
)
from ava_tools.annotation_import.videos import AnnotatedVideos
from avsf_det.structures import AnnotationError

_CORNERS = ("xtl", "ytl", "xbr", "ybr")
_REMEDY = "Export the task as 'CVAT for video 1.1'."
_LABEL = "label"  # name by which the labels of tracks can be chosen as an attribute
_FRAME = re.compile(r"[0-9]{1,9}")
_DECIMAL = re.compile(r"-?[0-9]{1,20}(\.[0-9]{0,30})?([eE][-+]?[0-9]{1,3})?")


def read_cvat(
    path: str,
    root: ElementTree.Element,
    videos: AnnotatedVideos,
    *,
    rate: float | None = None,
    attributes: Collection[str] = (),
) -> Export:
    """Read the boxes of all persons, sampled at regular times from second 0 on.

    The label of a track without attributes is its action.

    Args:
        path: xml file, for messages.
        root: its root element.
        videos: annotated videos.
        rate: keyframes per second of tracks, None for 1; images per second of video, for images.
        attributes: attributes that contain actions, "label" for the label; empty for all attributes
            that are no numbers.

    Raises:
        AnnotationError: the file has another format, a box cannot be used, or the video lacks a
            frame.
    """
    reader = _Reader(root, attributes)
    has_tracks = root.find("track") is not None
    known = ("version", "meta", "track" if has_tracks else "image")
    reader.export.left_out.update(f"elements {short(e.tag)}" for e in root if e.tag not in known)
    if has_tracks:
        _read_tracks(path, root, reader, videos, 1.0 if rate is None else rate)
        return reader.export
    images = root.findall("image")
    # Images of a task that was made from a video are all named frame_000031.
    if not images or not all(frame_of_image(image.get("name", "")) for image in images):
        what = "images" if images else f"<{short(root.tag)}>"
        raise AnnotationError(f"{path}: no track, but {what}. {_REMEDY}")
    for image in images:
        reader.read_image(path, image, videos, rate)
    return reader.export


class _Video(NamedTuple):
    """A video that was annotated."""

    name: str
    times: np.ndarray  # float64 (frames,), seconds
    width: float  # pixels
    height: float


def _read_tracks(
    path: str, root: ElementTree.Element, reader: "_Reader", videos: AnnotatedVideos, rate: float
) -> None:
    export = reader.export
    annotated: dict[str, _Video] = {}
    unsampled: list[tuple[str, Span, np.ndarray]] = []
    for track in root.iter("track"):
        task = track.get("task_id", "")
        if task not in annotated:
            annotated[task] = _find_video(path, root, task, videos, export)
        video = annotated[task]
        name = f"track {short(track.get('id', ''))}"
        shapes = reader.read_shapes(f"{path}: {name}", track)
        # The mark of a track's end may lie one frame after the end of the video.
        visible = [shape.frame for shape in shapes if not shape.outside]
        if not visible:
            export.left_out["tracks without a visible box"] += 1
            continue
        if visible[-1] >= len(video.times):
            raise AnnotationError(
                f"{path}: {name}: box at frame {visible[-1]}, but {short(video.name)} has only "
                f"{len(video.times)} frames. Give the video that was annotated."
            )
        sampled = []
        person = " ".join(track.get("id", "").split())
        for second, shape in sample_track(shapes, video.times, rate):
            place = f"{path}: {name}, frame {shape.frame}"
            box = relative_box(place, shape.box, video.width, video.height)
            export.boxes.append(DrawnBox(video.name, second, box, shape.actions, person, place))
            sampled.append(shape.frame)
        lost = find_unsampled(shapes, sampled)
        unsampled += [(name, span, video.times) for span in lost]
    export.notes += note_unsampled(unsampled, rate)


def _find_video(
    path: str, root: ElementTree.Element, task: str, videos: AnnotatedVideos, export: Export
) -> _Video:
    """Find the video of a task of a project, or the one of another export (task "")."""
    meta = root.find("meta")
    if meta is not None and meta.find("project") is not None:
        tasks = {_text_of(element, "id"): element for element in meta.iter("task")}
        meta = tasks.get(task) if task or len(tasks) != 1 else next(iter(tasks.values()))
        if meta is None or not _text_of(meta, "source"):
            raise AnnotationError(
                f"{path}: an export of a whole project, where task {short(task)} names no video. "
                "Export each task alone as 'CVAT for video 1.1'."
            )
    name, size = "", None
    if meta is not None:
        name = _text_of(meta, ".//source")
        # Exports of jobs have the size elsewhere than those of tasks.
        size = meta.find(".//original_size")
    if not name:
        name = videos.guess(path)
        export.notes.append(f"names no video; taken for annotations of {name}")
    times = videos.frame_times(name, path)
    width, height = videos.frame_size(name, path) if size is None else _size_of(path, size)
    return _Video(name, times, width, height)


class _Reader:
    """Reader of the boxes of one file.

    Args:
        root: root of the file.
        wanted: attributes that contain actions; empty for all that are no numbers.
    """

    def __init__(self, root: ElementTree.Element, wanted: Collection[str]) -> None:
        self.export = Export()
        self._wanted = wanted
        kinds = {
            _text_of(definition, "name"): _text_of(definition, "input_type")
            for definition in root.findall("meta//attributes/attribute")
        }
        self.export.attributes.update(dict.fromkeys([*kinds, _LABEL], 0))
        # Such as an age: no action, unless chosen.
        self._helpers = {n for n, kind in kinds.items() if kind == "number" and n not in wanted}

    def read_shapes(self, place: str, track: ElementTree.Element) -> list[Shape]:
        """Return the boxes of a track, sorted by frame, one for each frame."""
        names = {element.get("name", "") for element in track.iter("attribute")}
        shapes: dict[int, Shape] = {}
        for element in self._boxes_in(track):
            where = f"{place}, box at frame {short(element.get('frame', ''))}"
            if not _FRAME.fullmatch(element.get("frame", "")):
                raise AnnotationError(f"{where}: lacks a number ('frame'). {_REMEDY}")
            frame = int(element.get("frame", ""))
            if frame in shapes:
                raise AnnotationError(f"{where}: is the second one there. Remove one in CVAT.")
            values = {**_values_of(track), **_values_of(element)}
            actions = self._actions(track.get("label", ""), values, names)
            outside = element.get("outside") == "1"
            shapes[frame] = Shape(frame, _box_of(where, element), outside, actions)
        return [shapes[frame] for frame in sorted(shapes)]

    def read_image(
        self, path: str, image: ElementTree.Element, videos: AnnotatedVideos, rate: float | None
    ) -> None:
        """Add the boxes of an image to the export."""
        name = image.get("name", "")
        place = f"{path}: image {quote(name)}"
        for element in self._boxes_in(image):
            video, second = second_of_image(name, place, rate)
            values = _values_of(element)
            actions = self._actions(element.get("label", ""), values, values.keys())
            box = relative_box(place, _box_of(place, element), *_size_of(path, image))
            self.export.boxes.append(DrawnBox(video, second, box, actions, "", place))

    def _boxes_in(self, parent: ElementTree.Element) -> list[ElementTree.Element]:
        """Return the boxes of a track or an image, and count its other shapes."""
        elements = [element for element in parent if element.tag != "attribute"]
        others = (element.tag for element in elements if element.tag != "box")
        self.export.left_out.update(f"shapes of kind {short(tag)}" for tag in others)
        return [element for element in elements if element.tag == "box"]

    def _actions(
        self, label: str, values: Mapping[str, str], names: Collection[str]
    ) -> tuple[str, ...]:
        """Return the actions of a box.

        Args:
            label: label of its track.
            values: attribute name -> value.
            names: names of all attributes of the track.
        """
        left_out = self._helpers & values.keys()
        self.export.left_out.update(f"values of the number {quote(name)}" for name in left_out)
        used = {name: text for name, text in values.items() if name not in left_out}
        self.export.attributes.update(dict.fromkeys(used, 0))
        actions = actions_in(used, self._wanted)
        label = " ".join(label.split())
        is_wanted = _LABEL in self._wanted and _LABEL not in names
        if label and (is_wanted or not set(names) - self._helpers):
            actions[_LABEL] = [label]
        return self.export.count_actions(actions)


def _text_of(element: ElementTree.Element, tag: str) -> str:
    return (element.findtext(tag) or "").strip()


def _values_of(element: ElementTree.Element) -> dict[str, str]:
    """Return attribute name -> value of a track or a shape."""
    return {e.get("name", ""): e.text or "" for e in element.findall("attribute")}


def _to_number(text: str) -> float | None:
    """Parse a decimal number; Python's float also takes "nan" and "1_0"."""
    value = float(text) if _DECIMAL.fullmatch(text.strip()) else None
    return value if is_number(value) else None


def _box_of(place: str, element: ElementTree.Element) -> tuple[float, ...]:
    """Return x1, y1, x2, y2 in pixels."""
    numbers = [_to_number(element.get(name, "")) for name in _CORNERS]
    box = tuple(number for number in numbers if number is not None)
    if len(box) < len(numbers):
        name = _CORNERS[numbers.index(None)]
        got = quote(element.get(name))
        raise AnnotationError(f"{place}: lacks a number ({name!r} is {got}). {_REMEDY}")
    if _to_number(element.get("rotation", "0")) != 0:
        raise AnnotationError(f"{place}: is rotated. Boxes of persons must be upright.")
    return box


def _size_of(path: str, element: ElementTree.Element) -> tuple[float, float]:
    """Return width and height, stored as children or as attributes of an element."""
    width, height = (
        _to_number(element.get(side) or element.findtext(side) or "")
        for side in ("width", "height")
    )
    if not (width and height and width > 0 and height > 0):
        raise AnnotationError(f"{path}: {element.tag} has no width or no height. {_REMEDY}")
    return width, height
