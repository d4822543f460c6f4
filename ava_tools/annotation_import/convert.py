"""Convert exports of annotation tools to a csv and a label map in AVA's formats."""

import os
from collections.abc import Sequence
from typing import NamedTuple

from ava_tools.annotation_import.cvat import read_cvat
from ava_tools.annotation_import.drawn_boxes import (
    Export,
    check_texts,
    number_actions,
    quote,
    write_ava_csv,
)
from ava_tools.annotation_import.export_file import kind_of_file, parse_json
from ava_tools.annotation_import.label_studio import is_label_studio, read_label_studio
from ava_tools.annotation_import.table import find_table, read_table
from ava_tools.annotation_import.tracks import MAX_RATE
from ava_tools.annotation_import.via import read_via
from ava_tools.annotation_import.videos import AnnotatedVideos
from avsf_det.structures import AnnotationError, AVSFError, LabelMap
from avsf_det.structures.label_map import read_label_map, write_label_map
from avsf_det.utils.atomic import atomic_path, open_atomic


def convert_annotations(
    exports: Sequence[str],
    video_dir: str,
    output: str,
    label_map: str,
    *,
    rate: float | None = None,
    attributes: Sequence[str] = (),
    person_attribute: str = "person",
) -> str:
    """Write the csv, and the label map unless it exists.

    Args:
        exports: VIA projects (json) and csv files, CVAT xml files, Label Studio json files, tables.
        video_dir: folder of the annotated videos.
        output: csv to write.
        label_map: label map to use, or to write if it does not exist.
        rate: keyframes per second of tracks, None for 1. If images of frames were annotated, the
            number of images per second of video.
        attributes: attributes that contain actions; empty for all.
        person_attribute: attribute of VIA that contains the id of the person.

    Returns:
        summary for people, which counts all that was left out.

    Raises:
        AnnotationError: a malformed export, a missing video, an unknown action.
        AVSFError: a wrong rate, or an output that is one of the inputs.
        VideoDecodeError: a video cannot be read.
    """
    if rate is not None and not 1 / MAX_RATE <= rate <= MAX_RATE:  # false for nan
        raise AVSFError(f"--rate {rate:g}; it must be {1 / MAX_RATE:g}..{MAX_RATE:g} per second")
    _check_outputs([*exports, video_dir], output, label_map)
    videos = AnnotatedVideos(video_dir)
    given = read_label_map(label_map) if os.path.exists(label_map) else None
    options = _Options(rate, attributes, person_attribute, given)
    read = {path: _read(path, videos, options) for path in exports}
    notes = [f"{path}: {note}" for path, export in read.items() for note in _notes_of(export)]
    boxes = [box for export in read.values() for box in export.boxes]
    used = [box for box in boxes if box.actions]
    known = {name for export in read.values() for name in export.attributes}
    unknown = [name for name in attributes if name not in known]
    if unknown:
        raise AnnotationError(
            f"{exports[0]}: no attribute {quote(unknown[0])}; there are {quote(sorted(known))}. "
            "Correct --attributes."
        )
    if not used:
        found = "; ".join(note for export in read.values() for note in _notes_of(export))
        raise AnnotationError(
            f"{', '.join(exports)}: no box with an action, {len(boxes)} without. {found}"
        )
    for box in used:
        check_texts(box)
        videos.check_second(box.video, box.second, box.place)
    id_of = number_actions(used, given, label_map)
    with atomic_path(output) as path:
        write_ava_csv(str(path), used, id_of)
    if given is None:
        with open_atomic(label_map) as file:
            write_label_map(file, {number: name for name, number in id_of.items()})
    sources = {name for export in read.values() for name, n in export.attributes.items() if n}
    if len(sources) > 1 and not attributes:
        notes.append(
            f"actions are the values of {quote(sorted(sources))}; choose with --attributes"
        )
    keyframes = {(box.video, box.second) for box in used}
    notes.append(
        f"{output}: {len({video for video, _ in keyframes})} videos, {len(keyframes)} keyframes, "
        f"{len(used)} boxes of {len(id_of)} actions; {len(boxes) - len(used)} boxes without an "
        f"action left out. Label map: {label_map}, {'as it was' if given else 'new'}"
    )
    return "\n".join(notes)


class _Options(NamedTuple):
    """Options of the readers."""

    rate: float | None
    attributes: Sequence[str]
    person_attribute: str
    label_map: LabelMap | None


def _read(path: str, videos: AnnotatedVideos, options: _Options) -> Export:
    rate, attributes, person_attribute, label_map = options
    kind = kind_of_file(path)
    if kind == "xml":
        return read_cvat(path, videos, rate=rate, attributes=attributes)
    if kind == "json" and is_label_studio(tasks := parse_json(path)):
        return read_label_studio(path, tasks, videos, rate=rate, attributes=attributes)
    if kind == "csv" and (table := find_table(path)):
        return read_table(table, videos, attributes=attributes, label_map=label_map)
    return read_via(
        path, videos, rate=rate, attributes=attributes, person_attribute=person_attribute
    )


def _notes_of(export: Export) -> list[str]:
    left_out = [f"{number} {what}" for what, number in sorted(export.left_out.items())]
    return ([f"left out {', '.join(left_out)}"] if left_out else []) + export.notes


def _check_outputs(inputs: Sequence[str], output: str, label_map: str) -> None:
    """Check that what a user has drawn is not overwritten."""
    paths = {os.path.realpath(path) for path in inputs}
    for path in (output, label_map):
        if os.path.realpath(path) in paths or os.path.isdir(path):
            raise AVSFError(f"{path}: an input or a folder. Give another path for the output.")
    if os.path.realpath(output) == os.path.realpath(label_map):
        raise AVSFError(f"{output}: both the csv and the label map. Give two paths.")
