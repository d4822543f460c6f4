"""Convert exports of annotation tools to a csv and a label map in AVA's formats."""

import os
from collections.abc import Sequence

import numpy as np

from ava_tools.annotation_import.cvat import read_cvat
from ava_tools.annotation_import.drawn_boxes import (
    DrawnBox,
    number_actions,
    video_id_of,
    write_ava_csv,
)
from ava_tools.annotation_import.via import read_via
from avsf_det.data import VideoReader
from avsf_det.data.datasets.annotation_files import find_videos
from avsf_det.data.video.check import presentation_times
from avsf_det.structures import AnnotationError
from avsf_det.structures.label_map import read_label_map, write_label_map
from avsf_det.utils.atomic import atomic_path, open_atomic


class AnnotatedVideos:
    """Videos of a folder, found by the names that annotation tools give them.

    Args:
        folder: folder of the videos.
    """

    def __init__(self, folder: str) -> None:
        self.folder = folder
        self._sizes: dict[str, tuple[int, int]] = {}

    def find(self, name: str, place: str) -> str:
        """Return the path of a video.

        Args:
            name: file name or path in the annotation tool; the extension may differ.
            place: place of the annotation, for messages.

        Raises:
            AnnotationError: the video is not in the folder.
        """
        video_id = video_id_of(name)
        found = find_videos(self.folder, ("*", "*/*"), [video_id])
        if not found:
            raise AnnotationError(
                f"{place}: video '{name}' is not in {self.folder}. Put it there; its extension may "
                "be another one."
            )
        return found[video_id]

    def frame_size(self, name: str, place: str) -> tuple[int, int]:
        """Return width and height of a video in pixels; arguments as of :meth:`find`."""
        if name not in self._sizes:
            with VideoReader(self.find(name, place)) as reader:
                self._sizes[name] = reader.width, reader.height
        return self._sizes[name]

    def frame_times(self, name: str, place: str) -> np.ndarray:
        """Return the time of each frame of a video in seconds; arguments as of :meth:`find`."""
        return presentation_times(self.find(name, place))


def convert_annotations(
    exports: Sequence[str],
    video_dir: str,
    output: str,
    label_map: str,
    *,
    rate: float = 1.0,
    attributes: Sequence[str] = (),
    person_attribute: str = "person",
) -> str:
    """Write the csv, and the label map unless it exists.

    Args:
        exports: VIA projects (json), VIA csv files, CVAT xml files.
        video_dir: folder of the annotated videos.
        output: csv to write.
        label_map: label map to use, or to write if it does not exist.
        rate: keyframes per second of tracks.
        attributes: attributes that contain actions; empty for all.
        person_attribute: attribute of VIA that contains the id of the person.

    Returns:
        summary for people.

    Raises:
        AnnotationError: a malformed export, a missing video, an unknown action.
        VideoDecodeError: a video cannot be read.
    """
    videos = AnnotatedVideos(video_dir)
    notes = []
    boxes: list[DrawnBox] = []
    for export in exports:
        if export.lower().endswith(".xml"):
            boxes += read_cvat(export, videos.frame_times, rate=rate, attributes=attributes)
            continue
        drawn, num_segments = read_via(
            export, videos.frame_size, attributes=attributes, person_attribute=person_attribute
        )
        boxes += drawn
        if num_segments:
            notes.append(f"{export}: left out {num_segments} temporal segments, which have no box")
    used = [box for box in boxes if box.actions]
    if not used:
        raise AnnotationError(f"{', '.join(exports)}: no box with an action")
    given = read_label_map(label_map) if os.path.exists(label_map) else None
    id_of = number_actions(used, given, label_map)
    with atomic_path(output) as path:
        write_ava_csv(str(path), used, id_of)
    if given is None:
        with open_atomic(label_map) as file:
            write_label_map(file, {number: name for name, number in id_of.items()})
    keyframes = {(box.video, box.second) for box in used}
    notes.append(
        f"{output}: {len({video for video, _ in keyframes})} videos, {len(keyframes)} keyframes, "
        f"{len(used)} boxes of {len(id_of)} actions; {len(boxes) - len(used)} boxes without an "
        f"action left out. Label map: {label_map}, {'as it was' if given else 'new'}"
    )
    return "\n".join(notes)
