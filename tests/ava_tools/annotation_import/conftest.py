from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import numpy as np
import pytest

from ava_tools.annotation_import.drawn_boxes import video_id_of
from ava_tools.annotation_import.videos import AnnotatedVideos
from avsf_det.structures import AnnotationError


@pytest.fixture
def write(tmp_path: Path) -> Callable[[str, str], str]:
    """Write a text to a file of the folder; gives its path."""

    def write_file(name: str, text: str) -> str:
        path = tmp_path / name
        path.write_text(text, encoding="utf-8", newline="")
        return str(path)

    return write_file


@pytest.fixture
def touch(tmp_path: Path) -> Callable[[Iterable[str]], str]:
    """Make empty files in the folder "videos"; gives its path."""

    def touch_files(names: Iterable[str]) -> str:
        folder = tmp_path / "videos"
        folder.mkdir()
        for name in names:
            (folder / name).touch()
        return str(folder)

    return touch_files


class KnownVideos(AnnotatedVideos):
    """Videos of known sizes, all with the same frame times, and no files."""

    def __init__(self, sizes: Mapping[str, tuple[int, int]], times: np.ndarray) -> None:
        super().__init__("videos")
        self.sizes, self.times = sizes, times

    def find(self, name, place):
        found = [known for known in self.sizes if video_id_of(known) == video_id_of(name)]
        if not found:
            raise AnnotationError(f"{place}: video {name!r:.60} is not in videos.")
        return found[0]

    def guess(self, export):
        return next(iter(self.sizes))

    def frame_times(self, name, place):
        self.find(name, place)
        return self.times

    def _read(self, name, place):
        return self.sizes[self.find(name, place)], self.times[-1]
