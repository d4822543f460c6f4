"""Read annotation files and find the videos that they name.

Every function raises :class:`AnnotationError` with file and line for a row that cannot be used.
"""

import gc
import glob
import math
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager

from ...structures import AnnotationError
from ...structures.text_file import open_text, read_rows, reading
from ..video.formats import VIDEO_EXTENSIONS

_EXTENSION = "|".join(re.escape(extension) for extension in VIDEO_EXTENSIONS)
# Paths and class names may contain blanks, so the last video extension of the line ends the path.
_PATH_AND_LABEL = re.compile(rf"(?P<path>.*(?:{_EXTENSION}))(?:\s*,\s*|\s+)(?P<label>\S.*)", re.I)


# Text files ---------------------------------------------------------------------------------------


@contextmanager
def without_garbage_collection() -> Iterator[None]:
    """Disable the cyclic garbage collector (context manager or decorator).

    While millions of dicts are built, it costs a third of the load time.
    """
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def read_lines(path: str) -> Iterator[tuple[str, str]]:
    """Yield ("file:line", stripped text) for every line that is not blank."""
    with open_text(path) as file:
        for number, line in enumerate(file, 1):
            if text := line.strip():
                yield f"{path}:{number}", text


def read_header(path: str) -> list[str]:
    """Return the stripped fields of the first row; an empty list if the file is empty."""
    _, row = next(read_rows(path), ("", []))
    return [field.strip() for field in row]


def read_table(
    path: str, columns: Sequence[str], optional: Sequence[str] = ()
) -> Iterator[tuple[str, list[str]]]:
    """Read a comma-separated file whose first row names its columns, in any order.

    Args:
        path: csv file. Columns that are not asked for are ignored.
        columns: names of columns that the file must have.
        optional: names of columns that it may have.

    Yields:
        ("file:line", stripped fields of ``columns``, then of ``optional``) for each row; "" where
        the file lacks an optional column.
    """
    rows = read_rows(path)
    place, header = next(rows, (f"{path}:1", []))
    header = [name.strip() for name in header]
    missing = [name for name in columns if name not in header]
    if missing:
        raise AnnotationError(
            f"{place}: no column {', '.join(missing)}; got {','.join(header) or 'an empty file'}. "
            f"The first line must name the columns {','.join(columns)}."
        )
    wanted = [*columns, *optional]
    # An absent column points to the empty field that is appended to each row below.
    positions = [header.index(name) if name in header else len(header) for name in wanted]
    for place, row in rows:
        if len(row) != len(header):
            raise AnnotationError(
                f"{place}: {len(row)} columns, expected the {len(header)} of the first line: "
                f"{','.join(header)}. Put fields that contain a comma in double quotes."
            )
        fields = [*row, ""]
        yield place, [fields[i].strip() for i in positions]


def is_path_list(path: str) -> bool:
    """Return whether the first line of a file has the form ``path label``."""
    _, line = next(read_lines(path), ("", ""))
    return _PATH_AND_LABEL.fullmatch(line) is not None


def read_path_list(path: str) -> list[tuple[str, str, str]]:
    """Read lines ``path label``, separated by blanks or a comma; both may contain blanks.

    Returns:
        ("file:line", path, label) for each line.
    """
    rows = []
    for place, line in read_lines(path):
        match = _PATH_AND_LABEL.fullmatch(line)
        if not match:
            raise AnnotationError(
                f"{place}: '{line}' is not a path that ends in .mp4 or as other videos, and a "
                "label. Write 'walk/0001.mp4 3', or let the first line name columns: video,label."
            )
        rows.append((place, match["path"], match["label"]))
    return rows


# Fields -------------------------------------------------------------------------------------------


def parse_seconds(place: str, column: str, text: str) -> float:
    """Parse a time in seconds, at least 0; ``place`` and ``column`` are for messages."""
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 0 <= seconds < math.inf:  # false for nan as well
        raise AnnotationError(
            f"{place}: {column} '{text}'. It must be seconds from the start of the video, at least "
            "0, such as 11.9."
        )
    return seconds


def parse_class_id(place: str, column: str, text: str, num_classes: int) -> int:
    """Parse a class index in 0..num_classes-1; ``place`` and ``column`` are for messages."""
    if not (text.isdecimal() and int(text) < num_classes):
        raise AnnotationError(
            f"{place}: {column} '{text}'. It must be an integer 0..{num_classes - 1}: there are "
            f"{num_classes} classes and ids start at 0."
        )
    return int(text)


def first_few(items: Sequence) -> str:
    """Format at most five items for a message, with "..." if there are more."""
    return ", ".join(map(str, items[:5])) + (", ..." if len(items) > 5 else "")


# Video files --------------------------------------------------------------------------------------


def find_videos(video_dir: str, patterns: Sequence[str], stems: Iterable[str]) -> dict[str, str]:
    """Find videos by name without extension, listing each folder once.

    Args:
        video_dir: folder to search.
        patterns: glob patterns relative to ``video_dir``: "*" for the folder itself, "*/*" for its
            sub-folders.
        stems: file names without extension.

    Returns:
        stem -> file for the ``stems`` that were found.

    Raises:
        AnnotationError: the folder is missing, or a stem has several files.
    """
    with reading(video_dir), os.scandir(video_dir):
        pass  # glob treats a missing folder like an empty one
    wanted = set(stems)
    found: dict[str, list[str]] = {}
    # One listing of a folder is much faster than a query for each stem and extension.
    for pattern in patterns:
        for path in glob.iglob(pattern, root_dir=video_dir):
            stem, extension = os.path.splitext(os.path.basename(path))
            if stem in wanted and extension.lower() in VIDEO_EXTENSIONS:
                found.setdefault(stem, []).append(os.path.join(video_dir, path))
    for paths in found.values():
        if len(paths) > 1:
            raise AnnotationError(
                f"{video_dir}: {len(paths)} files for one video id: {first_few(sorted(paths))}. "
                "Keep one of them in the folder."
            )
    return {stem: paths[0] for stem, paths in found.items()}


def present_files(video_dir: str, paths: Sequence[str]) -> list[str | None]:
    """Join each path to ``video_dir``; None where there is no such file.

    One listing per folder is much faster than one query per file.
    """
    files = [os.path.join(video_dir, path) for path in paths]
    folders = {os.path.dirname(file) for file in files}
    # A missing folder has no files: its videos are reported together with the other missing ones.
    names_in = {f: set(os.listdir(f)) for f in folders if os.path.isdir(f)}
    return [
        file if os.path.basename(file) in names_in.get(os.path.dirname(file), ()) else None
        for file in files
    ]


def check_present(name: str, paths: Mapping[str, str], source: str, naming: str) -> None:
    """Raise an AnnotationError that shows the expected tree if a path of a dataset is missing.

    Args:
        name: name of the dataset.
        paths: role, such as "annotations" or "videos" -> file or folder; "" where there is none.
        source: where to get the files.
        naming: file name pattern of the videos, such as "<video_id>.mp4".
    """
    paths = {role: path for role, path in paths.items() if path}
    if all(map(os.path.exists, paths.values())):
        return
    tree = "\n".join(
        f"  {'found  ' if os.path.exists(path) else 'MISSING'} {role + ':':<20} "
        f"{os.path.abspath(path)}{'/' if role == 'videos' else ''}"
        for role, path in paths.items()
    )
    raise AnnotationError(
        f"Dataset '{name}' is incomplete. Expected, with the videos named {naming} (or mkv, webm, "
        f"avi, mov, ...):\n{tree}\n"
        + (source or "Put the files there, or register the dataset with other paths.")
    )
