"""Videos of a folder, found by the names that annotation tools give them."""

import glob
import os

import numpy as np

from ava_tools.annotation_import.drawn_boxes import quote, video_id_of
from ava_tools.preparation.video_check import presentation_times
from avsf_det.data import VideoReader
from avsf_det.data.datasets.annotation_files import find_videos
from avsf_det.structures import AnnotationError
from avsf_det.structures.ava_boxes import ANNOTATIONS, is_wrong_video_id

_PATTERNS = ("*", "*/*")
_TOLERANCE = 0.5  # seconds; players show a little more than the declared length


class AnnotatedVideos:
    """Videos of a folder. ``place`` is the place of an annotation, for messages.

    Args:
        folder: folder of the videos.
    """

    def __init__(self, folder: str) -> None:
        self.folder = folder
        self._facts: dict[str, tuple[tuple[int, int], float]] = {}
        self._times: dict[str, np.ndarray] = {}

    def find(self, name: str, place: str) -> str:
        """Return the path of a video.

        Args:
            name: file name or path in the annotation tool; the extension may differ.
            place: place of the annotation.

        Raises:
            AnnotationError: the video is not in the folder, or its name cannot be a video id.
        """
        video_id = video_id_of(name)
        found = find_videos(self.folder, _PATTERNS, [video_id])
        if not found:
            raise AnnotationError(
                f"{place}: video {quote(name)} is not in {self.folder}. Put it there; its "
                "extension may be another one."
            )
        if is_wrong_video_id(video_id, ANNOTATIONS):
            raise AnnotationError(
                f"{place}: video {quote(name)}. Rename it without '..', comma or control character."
            )
        return found[video_id]

    def guess(self, export: str) -> str:
        """Return the video of an export that names none: of its name, else the only one.

        Raises:
            AnnotationError: there are several videos, or none.
        """
        paths = (
            path for pattern in _PATTERNS for path in glob.iglob(pattern, root_dir=self.folder)
        )
        found = find_videos(self.folder, _PATTERNS, map(video_id_of, paths))
        own = video_id_of(export)
        if own not in found and len(found) != 1:
            raise AnnotationError(
                f"{export}: it names no video, and {self.folder} has {len(found)}. Name it "
                "like its video: kitchen.xml for kitchen.mp4."
            )
        return os.path.basename(found.get(own) or next(iter(found.values())))

    def frame_size(self, name: str, place: str) -> tuple[int, int]:
        """Return width and height of a video in pixels."""
        return self._read(name, place)[0]

    def frame_times(self, name: str, place: str) -> np.ndarray:
        """Return the time of each frame of a video in seconds."""
        if name not in self._times:
            self._times[name] = presentation_times(self.find(name, place))
        return self._times[name]

    def duration(self, name: str, place: str) -> float:
        """Return the length of a video in seconds."""
        return self._read(name, place)[1]

    def check_second(self, name: str, second: float, place: str) -> None:
        """Check that a moment is not after the end of a video.

        Raises:
            AnnotationError: it is.
        """
        duration = self.duration(name, place)
        if second > duration + _TOLERANCE:
            raise AnnotationError(
                f"{place}: second {second:g}, but {quote(name)} lasts {duration:g} s. Give the "
                "video that was annotated, or for images the right --rate."
            )

    def _read(self, name: str, place: str) -> tuple[tuple[int, int], float]:
        if name not in self._facts:
            with VideoReader(self.find(name, place)) as reader:
                self._facts[name] = (reader.width, reader.height), reader.duration
        return self._facts[name]
