"""Fixtures: annotation files and empty videos. Parsers read the names of videos only."""

from collections.abc import Callable, Iterable
from pathlib import Path

import pytest
from detectron2.data import DatasetCatalog, MetadataCatalog


@pytest.fixture
def write(tmp_path) -> Callable[[str, str], str]:
    """Return a function that writes a text to a file and returns its path."""

    def write_file(name: str, text: str) -> str:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return str(path)

    return write_file


@pytest.fixture
def touch(tmp_path) -> Callable[[Iterable[str]], str]:
    """Return a function that makes empty files in the folder "videos" and returns its path."""

    def touch_files(names: Iterable[str]) -> str:
        folder = tmp_path / "videos"
        for path in (folder / name for name in ["readme.txt", *names]):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
        return str(folder)

    return touch_files


@pytest.fixture
def name():
    """Name to register; it is removed after the test."""
    name = "test_clips"
    yield name
    for catalog in (DatasetCatalog, MetadataCatalog):
        if name in catalog.list():
            catalog.remove(name)


@pytest.fixture
def shared() -> Path:
    """Folder of the official label files; skips the test if it is not there."""
    folder = Path(__file__).resolve().parents[3] / ".." / "shared" / "data" / "labels"
    if not folder.exists():
        pytest.skip(f"{folder} is not there")
    return folder
