"""Read exports of Label Studio in the format "JSON": boxes drawn into videos.

A region of a video (``videorectangle``) is a person. Its ``sequence`` has the boxes of keyframes::

    {"frame": 1, "time": 0.04, "enabled": true, "x": .., "y": .., "width": .., "height": ..}

Coordinates are percent of the frame. Frames are numbered from 1 at Label Studio's own frame rate,
so that frame n is shown from second (n - 1) / rate on. In between boxes are interpolated. After a
keyframe with ``"enabled": false`` the person is not visible.
"""

import math
import re
from collections.abc import Collection, Mapping
from typing import Any
from urllib.parse import unquote

import numpy as np

from ava_tools.annotation_import.drawn_boxes import (
    DrawnBox,
    Export,
    actions_in,
    is_number,
    quote,
    relative_box,
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

_LABEL = "label"  # name by which the labels of regions can be chosen as an attribute
_LISTS = {"choices": "choices", "textarea": "text", "labels": "labels"}  # type -> key of its value
_UPLOAD = re.compile(r"[0-9a-f]{8}-")  # put before the names of uploaded files
_MAX_FRAMES = 10_000_000
_REMEDY = "Export the project again, as JSON."


def is_label_studio(value: object) -> bool:
    """Return whether parsed JSON is an export in the format "JSON": tasks with annotations."""
    tasks = value if isinstance(value, list) else [value]
    return bool(tasks) and all(
        isinstance(task, dict) and "data" in task and "annotations" in task for task in tasks
    )


def read_label_studio(
    path: str,
    tasks: list | dict,
    videos: AnnotatedVideos,
    *,
    rate: float | None = None,
    attributes: Collection[str] = (),
) -> Export:
    """Read the boxes of all persons, sampled at regular times from second 0 on.

    Actions are the choices and texts of a region; in a file without any, the labels.

    Args:
        path: file, for messages.
        tasks: content of the file.
        videos: annotated videos.
        rate: keyframes per second, None for 1.
        attributes: names of controls (``from_name``) that contain actions, "label" for the labels;
            empty for all.

    Raises:
        AnnotationError: a region cannot be used, or a video is missing.
    """
    export, rate = Export(), 1.0 if rate is None else rate
    unsampled: list[tuple[str, Span, np.ndarray]] = []
    results = [
        (f"{path}: task {quote(task.get('id', i))}", task, _result_of(task, export))
        for i, task in enumerate(tasks if isinstance(tasks, list) else [tasks], 1)
    ]
    values = {place: _values_of(result) for place, _, result in results}
    has_values = any(by_name for by_region in values.values() for by_name in by_region.values())
    for place, task, result in results:
        video, person = "", 0
        for item in result:
            if item.get("type") != "videorectangle":
                if str(item.get("type")) not in _LISTS:
                    export.left_out[f"results of type {quote(item.get('type'))}"] += 1
                continue
            video = video or _find_video(place, task, videos)
            where, value = f"{place}, region {person}", item.get("value")
            named = dict(values[place].get(str(item.get("id")), {}))
            labels = value.get("labels") if isinstance(value, dict) else None
            if not has_values or _LABEL in attributes:
                named[_LABEL] = _join(labels)
            export.attributes.update(dict.fromkeys(named, 0))
            actions = export.count_actions(actions_in(named, attributes))
            shapes, times = _shapes_of(where, value, actions)
            sampled = []
            for second, shape in sample_track(shapes, times, rate):
                box = relative_box(f"{where}, {second:g} s", shape.box, 100, 100)
                export.boxes.append(DrawnBox(video, second, box, actions, str(person), where))
                sampled.append(shape.frame)
            lost = find_unsampled(shapes, sampled)
            unsampled += [(f"region {person}", span, times) for span in lost]
            person += 1
    export.notes += note_unsampled(unsampled, rate)
    return export


def _result_of(task: Mapping[str, Any], export: Export) -> list[dict]:
    """Return the results of the first annotation of a task that was not cancelled."""
    found = [
        annotation["result"]
        for annotation in (task["annotations"] if isinstance(task["annotations"], list) else [])
        if isinstance(annotation, dict)
        and isinstance(annotation.get("result"), list)
        and not annotation.get("was_cancelled")
    ]
    if found[1:]:
        export.left_out["further annotations of the same task"] += len(found) - 1
    return [item for item in found[0] if isinstance(item, dict)] if found else []


def _values_of(result: list[dict]) -> dict[str, dict[str, str]]:
    """Return id of the region -> name of the control -> its values, separated by ";"."""
    values: dict[str, dict[str, str]] = {}
    for item in result:
        value, key = item.get("value"), _LISTS.get(str(item.get("type")))
        if key and isinstance(value, dict):
            of_region = values.setdefault(str(item.get("id")), {})
            of_region[str(item.get("from_name", key))] = _join(value.get(key))
    return values


def _join(values: object) -> str:
    values = [values] if isinstance(values, str) else values
    return ";".join(map(str, values)) if isinstance(values, list) else ""


def _find_video(place: str, task: Mapping[str, Any], videos: AnnotatedVideos) -> str:
    """Return the name of a task's video, without what Label Studio puts before it."""
    data = task["data"] if isinstance(task["data"], dict) else {}
    texts = [text for text in data.values() if isinstance(text, str)]
    text = data.get("video", texts[0] if len(texts) == 1 else task.get("file_upload"))
    if not isinstance(text, str):
        raise AnnotationError(f"{place}: names no video ('data' is {quote(data)}). {_REMEDY}")
    # "/data/local-files/?d=folder/a.mp4", "s3://bucket/a.mp4", "/data/upload/1/0a1b2c3d-a.mp4"
    name = unquote(text.rpartition("?d=")[2]).replace("\\", "/").rpartition("/")[2]
    names = [name, _UPLOAD.sub("", name, count=1)]
    try:
        videos.find(names[0], place)
    except AnnotationError:
        videos.find(names[1], place)
        return names[1]
    return names[0]


def _shapes_of(
    place: str, value: object, actions: tuple[str, ...]
) -> tuple[list[Shape], np.ndarray]:
    """Return the boxes of a region by frame, from 0, and the times of the frames in seconds."""
    entries = value.get("sequence") if isinstance(value, dict) else None
    if not isinstance(value, dict) or not isinstance(entries, list) or not entries:
        raise AnnotationError(f"{place}: its sequence is {quote(entries)}. {_REMEDY}")
    shapes: dict[int, Shape] = {}
    rate, count = _frame_rate(place, value, entries)
    for entry in entries:
        corner = [entry.get(name) for name in ("x", "y", "width", "height")]
        if not all(map(is_number, corner)):
            raise AnnotationError(f"{place}: box {quote(entry)} lacks a number. {_REMEDY}")
        if entry.get("rotation"):
            raise AnnotationError(f"{place}: is rotated. Boxes of persons must be upright.")
        x, y, width, height = corner
        frame, box = entry["frame"] - 1, (x, y, x + width, y + height)
        shapes[frame] = Shape(frame, box, False, actions)
        if entry.get("enabled") is False:
            shapes.setdefault(frame + 1, Shape(frame + 1, box, True, actions))
    ordered = [shapes[frame] for frame in sorted(shapes)]
    if not ordered[-1].outside and count > ordered[-1].frame + 1:
        ordered.append(ordered[-1]._replace(frame=count - 1))  # the last box stays to the end
    return ordered, np.arange(max(count, ordered[-1].frame + 1)) / rate


def _frame_rate(place: str, value: Mapping[str, Any], entries: list) -> tuple[float, int]:
    """Return the frames per second that Label Studio counts, and their number."""
    for entry in entries:
        frame = entry.get("frame") if isinstance(entry, dict) else None
        if not isinstance(frame, int) or isinstance(frame, bool) or not 1 <= frame < _MAX_FRAMES:
            raise AnnotationError(f"{place}: keyframe {quote(entry)} has no frame. {_REMEDY}")
    count, duration = value.get("framesCount"), value.get("duration")
    last = max(entries, key=lambda entry: entry["frame"])
    # The time is that of the frame's end. Others write that of its start: least wrong at the end.
    rates = [(last["frame"], last.get("time")), (count, duration)]
    rate = next((n / t for n, t in rates if is_number(n) and is_number(t) and n > 0 and t > 0), 0.0)
    if not 1e-3 < rate < 1e4:
        raise AnnotationError(f"{place}: has no times, so that frames cannot be placed. {_REMEDY}")
    number = min(math.ceil(count or 0), _MAX_FRAMES) if is_number(count) else last["frame"]
    return rate, max(number, last["frame"])
