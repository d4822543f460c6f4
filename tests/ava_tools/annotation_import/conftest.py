from collections.abc import Callable, Iterable
from pathlib import Path

import pytest


@pytest.fixture
def write(tmp_path: Path) -> Callable[[str, str], str]:
    """Write a text to a file of the folder; gives its path."""

    def write_file(name: str, text: str) -> str:
        path = tmp_path / name
        path.write_text(text)
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
