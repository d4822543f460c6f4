"""Fixtures: a name to register and the official label files."""

from pathlib import Path

import pytest
from detectron2.data import DatasetCatalog, MetadataCatalog


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
