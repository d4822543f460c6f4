"""Convert exports of annotation tools to a csv and a label map in AVA's formats."""

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from ava_tools.annotation_import.boris import is_boris, read_boris
from ava_tools.annotation_import.bouts import boxes_of_bouts, read_bouts
from ava_tools.annotation_import.cvat import read_cvat
from ava_tools.annotation_import.drawn_boxes import (
    Export,
    check_texts,
    number_actions,
    quote,
    write_ava_csv,
)
from ava_tools.annotation_import.elan import ROOT_TAG, read_elan
from ava_tools.annotation_import.export_file import kind_of_file, parse_json, read_xml
from ava_tools.annotation_import.label_studio import is_label_studio, read_label_studio
from ava_tools.annotation_import.table import find_table, read_table
from ava_tools.annotation_import.tracks import MAX_RATE
from ava_tools.annotation_import.via import read_via
from ava_tools.annotation_import.videos import AnnotatedVideos
from ava_tools.timelines.bouts import Bout
from ava_tools.timelines.page import PersonBoxes
from ava_tools.timelines.persons import boxes_by_person, read_persons
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
    boxes: str = "",
) -> str:
    """Write the csv, and the label map unless it exists.

    Args:
        exports: VIA projects (json) and csv files, CVAT xml files, Label Studio json files, tables
            of boxes; BORIS projects, ELAN files, tables of bouts.
        video_dir: folder of the annotated videos.
        output: csv to write.
        label_map: label map to use, or to write if it does not exist.
        rate: keyframes per second of tracks, None for 1. If images of frames were annotated, the
            number of images per second of video.
        attributes: attributes that contain actions; empty for all.
        person_attribute: attribute of VIA that contains the id of the person.
        boxes: csv of person boxes with ids, for bouts; "" for the whole frame.

    Returns:
        summary for people, which counts all that was left out.

    Raises:
        AnnotationError: a malformed export, a missing video, an unknown action.
        AVSFError: a wrong rate, or an output that is one of the inputs.
        VideoDecodeError: a video cannot be read.
    """
    if rate is not None and not 1 / MAX_RATE <= rate <= MAX_RATE:  # false for nan
        raise AVSFError(f"--rate {rate:g}; it must be {1 / MAX_RATE:g}..{MAX_RATE:g} per second")
    _check_outputs([*exports, video_dir, *filter(None, [boxes])], output, label_map)
    videos = AnnotatedVideos(video_dir)
    given = read_label_map(label_map) if os.path.exists(label_map) else None
    options = _Options(rate, attributes, person_attribute, given, _read_persons(boxes))
    read = {path: _read(path, videos, options) for path in exports}
    if boxes and not any(export.is_of_bouts for export in read.values()):
        raise AVSFError(f"--boxes {boxes}: for BORIS, ELAN and bouts; other exports have boxes")
    notes = [f"{path}: {note}" for path, export in read.items() for note in _notes_of(export)]
    drawn = [box for export in read.values() for box in export.boxes]
    used = [box for box in drawn if box.actions]
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
            f"{', '.join(exports)}: no box with an action, {len(drawn)} without. {found}"
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
        f"{len(used)} boxes of {len(id_of)} actions; {len(drawn) - len(used)} boxes without an "
        f"action left out. Label map: {label_map}, {'as it was' if given else 'new'}"
    )
    return "\n".join(notes)


class _Options(NamedTuple):
    """Options of the readers."""

    rate: float | None
    attributes: Sequence[str]
    person_attribute: str
    label_map: LabelMap | None
    persons: Mapping[str, Sequence[PersonBoxes]] | None


def _read_persons(path: str) -> dict[str, list[PersonBoxes]] | None:
    if not path:
        return None
    return {video: boxes_by_person(frames) for video, frames in read_persons(path).items()}


def _read(path: str, videos: AnnotatedVideos, options: _Options) -> Export:
    rate, attributes, person_attribute, label_map, _ = options
    kind, left_out = kind_of_file(path), Counter[str]()
    bouts: list[Bout] | None = None
    if kind == "xml":
        root = read_xml(path)
        if root.tag != ROOT_TAG:
            return read_cvat(path, root, videos, rate=rate, attributes=attributes)
        bouts = read_elan(path, root, left_out)
    elif kind == "json":
        value = parse_json(path)
        if is_label_studio(value):
            return read_label_studio(path, value, videos, rate=rate, attributes=attributes)
        bouts = read_boris(path, value, left_out) if is_boris(value) else None
    elif table := find_table(path):
        return read_table(table, videos, attributes=attributes, label_map=label_map)
    else:
        bouts = read_bouts(path, left_out)
    if bouts is None:
        return read_via(
            path, videos, rate=rate, attributes=attributes, person_attribute=person_attribute
        )
    seconds = 1.0 if rate is None else rate
    export = boxes_of_bouts(path, bouts, videos, rate=seconds, persons=options.persons)
    export.left_out.update(left_out)
    return export


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
