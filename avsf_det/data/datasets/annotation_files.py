"""Annotation files and the videos that they name.

Every defect is an :class:`AnnotationError`, with file and line.
"""

import csv
import gc
import glob
import math
import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager

from ...structures import AnnotationError

VIDEO_EXTENSIONS = (".mp4", ".mkv", ".webm", ".avi", ".mov")


@contextmanager
def reading(path: str) -> Iterator[None]:
    """Turn what goes wrong in reading a file into an AnnotationError."""
    try:
        yield
    except OSError as error:
        raise AnnotationError(
            f"{path}: cannot be read ({error.strerror}). Put it there, or give another path."
        ) from None
    except UnicodeDecodeError as error:
        raise AnnotationError(f"{path}: not a text file ({error}). Save it as UTF-8.") from None


@contextmanager
def without_garbage_collection() -> Iterator[None]:
    """Also a decorator. The collector would look again and again through the millions of objects of
    a large data set, for a third of the time that it takes to read."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def read_lines(path: str) -> Iterator[tuple[str, str]]:
    """Yield ("file:line", text without surrounding blanks) for every line that is not blank."""
    with reading(path), open(path, encoding="utf-8-sig") as f:
        for number, line in enumerate(f, 1):
            if text := line.strip():
                yield f"{path}:{number}", text


def read_rows(path: str) -> Iterator[tuple[str, list[str]]]:
    """Yield ("file:line", fields) for every row of a comma-separated file that is not blank."""
    with reading(path), open(path, encoding="utf-8-sig", newline="") as f:
        reader = csv.reader(f)
        try:
            for row in filter(None, reader):
                yield f"{path}:{reader.line_num}", row
        except csv.Error as error:
            raise AnnotationError(
                f"{path}:{reader.line_num}: {error}. Save the file as comma-separated text."
            ) from None


def read_header(path: str) -> list[str]:
    """The fields of the first row, without surrounding blanks; of an empty file, none."""
    _, row = next(read_rows(path), ("", []))
    return [field.strip() for field in row]


def read_table(
    path: str, columns: Sequence[str], optional: Sequence[str] = ()
) -> Iterator[tuple[str, list[str]]]:
    """Read a comma-separated file whose first row names its columns, in any order.

    Returns:
        For each row ("file:line", the fields of ``columns`` and then of ``optional``), without
        surrounding blanks; "" where the file lacks an optional column. Other columns are ignored.
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
    positions = [header.index(name) if name in header else len(header) for name in wanted]
    for place, row in rows:
        if len(row) != len(header):
            raise AnnotationError(
                f"{place}: {len(row)} columns, expected the {len(header)} of the first line: "
                f"{','.join(header)}. Put fields that contain a comma in double quotes."
            )
        fields = [*row, ""]
        yield place, [fields[i].strip() for i in positions]


def parse_seconds(place: str, column: str, text: str) -> float:
    """Seconds, at least 0, from their decimal form."""
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 0 <= seconds < math.inf:
        raise AnnotationError(
            f"{place}: {column} '{text}'. It must be seconds from the start of the video, at least "
            "0, such as 11.9."
        )
    return seconds


def find_videos(video_dir: str, patterns: Sequence[str], stems: Collection[str]) -> dict[str, str]:
    """Find videos by name without extension, by listing each folder once.

    Args:
        patterns: where to look in ``video_dir``, such as "*" and "*/*".

    Returns:
        stem -> file, for those of ``stems`` that are there.

    Raises:
        AnnotationError: no such folder; several files for a stem.
    """
    with reading(video_dir), os.scandir(video_dir):
        pass  # glob takes a missing folder for an empty one
    found: dict[str, list[str]] = {}
    for pattern in patterns:
        for path in glob.iglob(pattern, root_dir=video_dir):
            stem, extension = os.path.splitext(os.path.basename(path))
            if stem in stems and extension.lower() in VIDEO_EXTENSIONS:
                found.setdefault(stem, []).append(os.path.join(video_dir, path))
    for paths in found.values():
        if len(paths) > 1:
            raise AnnotationError(
                f"{video_dir}: {len(paths)} files for one video id: {some(sorted(paths))}. "
                "Keep one of them in the folder."
            )
    return {stem: paths[0] for stem, paths in found.items()}


def present_files(video_dir: str, paths: Sequence[str]) -> list[str | None]:
    """Each path joined to ``video_dir``, None where there is no such file.

    Every folder is listed once, which is much faster than to ask for each file.
    """
    files = [os.path.join(video_dir, path) for path in paths]
    folders = {os.path.dirname(file) for file in files}
    names_in = {f: set(os.listdir(f)) for f in folders if os.path.isdir(f)}
    return [
        file if os.path.basename(file) in names_in.get(os.path.dirname(file), ()) else None
        for file in files
    ]


def check_present(name: str, paths: Mapping[str, str], source: str, naming: str) -> None:
    """Raise with the whole expected tree if a file or folder of data set ``name`` is missing.

    Args:
        paths: what it is -> path. Where "person boxes" are missing it is shown but no error: the
            config may name others, and training needs none.
        source: where to get the files.
        naming: how the videos are named, such as "<video_id>.mp4".
    """
    if all(os.path.exists(path) for what, path in paths.items() if what != "person boxes"):
        return
    tree = "\n".join(
        f"  {'found  ' if os.path.exists(path) else 'MISSING'} {what + ':':<20} "
        f"{os.path.abspath(path)}{'/' if what == 'videos' else ''}"
        for what, path in paths.items()
    )
    raise AnnotationError(
        f"Data set '{name}' is incomplete. Expected, with the videos named {naming} (or "
        f"{', '.join(e[1:] for e in VIDEO_EXTENSIONS if not naming.endswith(e))}):\n{tree}\n"
        + (source or "Put the files there, or register the data set with other paths.")
    )


def some(items: Sequence) -> str:
    """The first few items in words."""
    return ", ".join(map(str, items[:5])) + (", ..." if len(items) > 5 else "")
