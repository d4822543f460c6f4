from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from detectron2.data import DatasetCatalog, MetadataCatalog


@pytest.fixture
def write(tmp_path: Path) -> Callable[[str, str], str]:
    """Write a text to a file of the folder; gives its path."""

    def write_file(name: str, text: str) -> str:
        path = tmp_path / name
        path.write_text(text)
        return str(path)

    return write_file


@pytest.fixture
def name() -> Iterator[str]:
    """A dataset name to register, removed after the test."""
    name = "test_drawn_boxes"
    yield name
    for catalog in (DatasetCatalog, MetadataCatalog):
        if name in catalog.list():
            catalog.remove(name)
