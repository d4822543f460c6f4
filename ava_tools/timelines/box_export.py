"""Boxes of persons with their actions as files of VIA 3 and CVAT, to correct by hand."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING
from xml.etree.ElementTree import Element, ElementTree, SubElement, indent

import numpy as np

from ava_tools.preparation.video_check import presentation_times
from avsf_det.data import VideoReader
from avsf_det.utils.atomic import atomic_path, write_atomic

from .bouts import Bout
from .page import PersonBoxes

if TYPE_CHECKING:
    from .pipeline import Timeline

_TEXT, _CHECKBOX = 1, 2  # VIA's types of attributes
_REGION_OF_FRAME = "FILE1_Z1_XY1"  # VIA's attributes of a rectangle in a video
_VIDEO, _FILE_URI = 4, 3  # VIA's type and location of a file
_RECTANGLE = 2  # VIA's shape
_CLOCK = 0.0005  # seconds; the time base of video files is a millisecond or finer


def write_via(path: str | Path, results: Iterable["Timeline"], actions: Sequence[str]) -> None:
    """Write a project of VIA 3 with all videos: the boxes of at most one moment per second.

    Each box has the attributes "person" (text) and "action" (checkboxes).
    """
    results = [*results]
    options = {str(i): action for i, action in enumerate(actions)}
    number = {action: i for i, action in options.items()}
    files: dict[str, dict] = {}
    metadata: dict[str, dict] = {}
    for i, result in enumerate(results, 1):
        absolute = Path(result.path).absolute()
        files[str(i)] = {
            "fid": str(i),
            "fname": absolute.name,
            "type": _VIDEO,
            "loc": _FILE_URI,
            "src": absolute.as_uri(),
        }
        for box in _via_boxes(result, number):
            metadata[f"{i}_{len(metadata)}"] = {"vid": str(i), "flg": 0, **box}
    project = {
        "project": {
            "pid": "__VIA_PROJECT_ID__",
            "rev": "__VIA_PROJECT_REV_ID__",
            "rev_timestamp": "__VIA_PROJECT_REV_TIMESTAMP__",
            "pname": Path(path).name.split(".")[0],
            "creator": "avsf_det",
            "created": 0,
            "data_format_version": "3.1.1",
            "vid_list": [*files],
        },
        "config": {
            "file": {"loc_prefix": dict.fromkeys("1234", "")},
            "ui": {
                "file_content_align": "center",
                "file_metadata_editor_visible": False,
                "spatial_metadata_editor_visible": True,
                "spatial_region_label_attribute_id": "2",
            },
        },
        "attribute": {
            "1": _attribute("action", _CHECKBOX, options),
            "2": _attribute("person", _TEXT, {}),
        },
        "file": files,
        "metadata": metadata,
        "view": {i: {"fid_list": [i]} for i in files},
    }
    write_atomic(path, json.dumps(project, ensure_ascii=False))


def _via_boxes(result: "Timeline", number: Mapping[str, str]) -> Iterator[dict]:
    """Yield time, rectangle in pixels and attributes of each box; ``number``: action -> option."""
    with VideoReader(result.path) as reader:
        size = np.array([reader.width, reader.height] * 2)
    persons = result.persons
    moments = set(_thin_out(sorted({s for p in persons for s in p.seconds.tolist()})))
    for person in persons:
        bouts = [b for b in result.bouts if b.person == person.person]
        for second, box in zip(person.seconds.tolist(), person.boxes, strict=True):
            if second not in moments:
                continue
            x1, y1, x2, y2 = (box * size).round(2).tolist()
            done = ",".join(number[b.action] for b in bouts if b.start <= second < b.end)
            shape = [_RECTANGLE, x1, y1, round(x2 - x1, 2), round(y2 - y1, 2)]
            yield {"z": [second], "xy": shape, "av": {"1": done, "2": person.person}}


def _attribute(name: str, kind: int, options: dict[str, str]) -> dict:
    return {
        "aname": name,
        "anchor_id": _REGION_OF_FRAME,
        "type": kind,
        "desc": "",
        "options": options,
        "default_option_id": "",
    }


def _thin_out(seconds: Sequence[float]) -> Iterator[float]:
    """Yield the first of the ascending times, and each that is a second after the last one."""
    last = -1.0
    for second in seconds:
        if second - last > 1 - _CLOCK:
            last = second
            yield second


def write_cvat(path: str | Path, result: "Timeline", actions: Sequence[str]) -> None:
    """Write the tracks of one video as "CVAT for video 1.1", with a checkbox for each action."""
    times = presentation_times(result.path)
    with VideoReader(result.path) as reader:
        width, height = reader.width, reader.height
    root = Element("annotations")
    SubElement(root, "version").text = "1.1"
    meta = SubElement(root, "meta")
    task = SubElement(meta, "task")
    last = len(times) - 1
    facts = {"size": len(times), "mode": "interpolation", "start_frame": 0, "stop_frame": last}
    for tag, value in {"name": Path(result.path).stem, **facts}.items():
        SubElement(task, tag).text = str(value)
    label = SubElement(SubElement(task, "labels"), "label")
    SubElement(label, "name").text = "person"
    attributes = SubElement(label, "attributes")
    for definition in _cvat_attributes(actions):
        attribute = SubElement(attributes, "attribute")
        for tag, value in definition.items():
            SubElement(attribute, tag).text = value
    size = SubElement(task, "original_size")
    SubElement(size, "width").text, SubElement(size, "height").text = str(width), str(height)
    SubElement(meta, "source").text = Path(result.path).name
    scale = np.array([width, height] * 2)
    seconds = np.unique([s for p in result.persons for s in p.seconds])
    step = np.diff(seconds).min() if len(seconds) > 1 else 1.0
    for number, person in enumerate(result.persons):
        track_id = person.person if person.person.isdecimal() else str(number)
        track = SubElement(root, "track", id=track_id, label="person", source="auto")
        bouts = [b for b in result.bouts if b.person == person.person]
        for frame, box, done in _shapes(person, bouts, times, step):
            corners = zip(("xtl", "ytl", "xbr", "ybr"), (box * scale).tolist(), strict=True)
            state = {"frame": str(frame), "outside": str(int(done is None)), "occluded": "0"}
            place = {name: f"{value:.2f}" for name, value in corners}
            shape = SubElement(track, "box", state | {"keyframe": "1"} | place | {"z_order": "0"})
            for action in actions:
                text = "true" if action in (done or ()) else "false"
                SubElement(shape, "attribute", name=action).text = text
    indent(root)
    with atomic_path(path) as temporary:
        ElementTree(root).write(temporary, encoding="utf-8", xml_declaration=True)


def write_cvat_labels(path: str | Path, actions: Sequence[str]) -> None:
    """Write the labels of a task for CVAT's "Raw" constructor, without which it takes no upload."""
    attributes = [
        {**x, "mutable": True, "values": [x["values"]]} for x in _cvat_attributes(actions)
    ]
    label = {"name": "person", "type": "rectangle", "attributes": attributes}
    write_atomic(path, json.dumps([label], indent=1, ensure_ascii=False))


def _cvat_attributes(actions: Sequence[str]) -> list[dict[str, str]]:
    kind = {"mutable": "True", "input_type": "checkbox"}
    return [{"name": name, **kind, "default_value": "false", "values": "false"} for name in actions]


def _shapes(
    person: PersonBoxes, bouts: Sequence[Bout], times: np.ndarray, step: float
) -> Iterator[tuple[int, np.ndarray, set[str] | None]]:
    """Yield frame, box (4,) and actions where a track gets a box; no actions where it is outside.

    CVAT moves boxes linearly from one to the next, and actions last until the next one. So there
    is a box at each time with one, and where a bout starts or ends in between.
    """

    def frames_of(seconds: np.ndarray) -> np.ndarray:
        return np.maximum(np.searchsorted(times, seconds + _CLOCK, side="right") - 1, 0)

    at, first = np.unique(frames_of(person.seconds), return_index=True)
    boxes = person.boxes[first]
    spans = [(b.action, *frames_of(np.array([b.start, b.end])).tolist()) for b in bouts]
    # Where the person has no box for longer than a step, the track is outside.
    cuts = np.flatnonzero(np.diff(person.seconds[first]) > 1.5 * step) + 1
    for part in np.split(np.arange(len(at)), cuts):
        start, end = int(at[part[0]]), int(at[part[-1]])
        edges = {frame for _, *span in spans for frame in span if start < frame <= end}
        for frame in sorted({*at[part].tolist(), *edges}):
            box = np.array([np.interp(frame, at[part], side) for side in boxes[part].T])
            yield frame, box, {action for action, a, b in spans if a <= frame < b}
        if end + 1 < len(times):
            yield end + 1, boxes[part[-1]], None
