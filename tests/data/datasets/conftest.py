"""A folder of annotation files and empty videos: parsers look at names, not into videos."""

from collections.abc import Callable, Iterable
from pathlib import Path

import pytest
from detectron2.data import DatasetCatalog, MetadataCatalog


@pytest.fixture
def write(tmp_path) -> Callable[[str, str], str]:
    """Write a text to a file of the folder; gives its path."""

    def write_file(name: str, text: str) -> str:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return str(path)

    return write_file


@pytest.fixture
def touch(tmp_path) -> Callable[[Iterable[str]], str]:
    """Make empty files in the folder "videos"; gives its path."""

    def touch_files(names: Iterable[str]) -> str:
        folder = tmp_path / "videos"
        for path in (folder / name for name in ["readme.txt", *names]):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
        return str(folder)

    return touch_files


@pytest.fixture
def name():
    """A name to register, removed after the test."""
    name = "test_clips"
    yield name
    for catalog in (DatasetCatalog, MetadataCatalog):
        if name in catalog.list():
            catalog.remove(name)


@pytest.fixture
def shared() -> Path:
    """The folder of official label files, if it is there."""
    folder = Path(__file__).resolve().parents[3] / ".." / "shared" / "data" / "labels"
    if not folder.exists():
        pytest.skip(f"{folder} is not there")
    return folder
