"""Read annotation files and find the videos that they name.

Every function raises :class:`AnnotationError` with file and line for a row that cannot be used.
Lines that start with "#" are comments. Fields are separated by commas, or by what the first line
uses: semicolons or tabs.

A list may name only files in its video folder: relative to it, or absolute within it, without
"..". So ``video_dir="/"`` allows any absolute path. Links that the user made are followed. Paths
of Windows (backslashes), paths without an ending and names whose accents are written in another
Unicode form are found, too, if the file as written is not there.

Folder and files may be addresses. Where their handler cannot list a folder, as for http, files are
taken as written, or as ``<folder>/<name>.mp4``, and missing ones are found when they are read.
"""

import functools
import gc
import glob
import os
import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager

from ...structures import AnnotationError
from ...structures.addresses import exists, is_address, is_folder, join, list_folder
from ...structures.errors import one_line
from ...structures.text_file import bounded_lines, open_text, read_rows, reading
from ..video.formats import VIDEO_EXTENSIONS

# Ends of paths in lines "path label". The extensions are sorted by length: ".mpeg" before ".mp".
_EXTENSIONS = "|".join(map(re.escape, sorted(VIDEO_EXTENSIONS, key=len, reverse=True)))
_PATH_END = re.compile(rf"(?:{_EXTENSIONS})(?=[\s,;])", re.I)


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
    """Yield ("file:line", stripped text) for every line that is neither blank nor a comment."""
    with open_text(path) as file:
        for number, line in enumerate(bounded_lines(file, path), 1):
            if (text := line.strip()) and not text.startswith("#"):
                yield f"{path}:{number}", text


def read_header(path: str) -> list[str]:
    """Return the stripped fields of the first row; an empty list if the file is empty."""
    _, row = next(read_rows(path, delimiter=_find_delimiter(path), comments=True), ("", []))
    return [field.strip() for field in row]


def _find_delimiter(path: str) -> str:
    """Return what separates the fields of the first line, by default a comma."""
    _, line = next(read_lines(path), ("", ""))
    return next((c for c in ";\t" if c in line and "," not in line), ",")


def read_table(
    path: str, columns: Sequence[str], optional: Sequence[str] = ()
) -> Iterator[tuple[str, list[str]]]:
    """Read a comma-separated file whose first row names its columns, in any order.

    Yields:
        ("file:line", stripped fields of ``columns``, then of ``optional``) for each row; "" where
        the file lacks an optional column. Other columns are ignored.
    """
    rows = read_rows(path, delimiter=_find_delimiter(path), comments=True)
    place, header = next(rows, (f"{path}:1", []))
    header = [name.strip() for name in header]
    missing = [name for name in columns if name not in header]
    if missing:
        raise AnnotationError(
            f"{place}: no column {', '.join(missing)}; got {','.join(header) or 'an empty file'}. "
            f"The first line must name the columns {','.join(columns)}."
        )
    wanted = [*columns, *optional]
    for name in wanted:
        if header.count(name) > 1:
            raise AnnotationError(f"{place}: column {name} occurs twice. Remove one of them.")
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
    file, label = _split_line(line)
    # Without a video extension, a line "high jump 2" may be the name of a class.
    return _has_extension(file) or ("/" in file and is_number(label))


def read_path_list(path: str) -> list[tuple[str, str, str]]:
    """Read lines ``path label``, separated by blanks, a comma or a semicolon.

    Path and label may contain blanks if the path ends in a video extension. A line without label
    is a path with such an ending; then no line may have a label, as in lists of test videos. Return
    ("file:line", path, label) of each line; the labels are "" if there are none.
    """
    rows: list[tuple[str, str, str]] = []
    for place, line in read_lines(path):
        file, label = _split_line(line)
        if not file or not (label or _has_extension(file)):
            raise AnnotationError(
                f"{place}: '{line}' is not a path of a video and a label. Write "
                "'walk/0001.mp4 3', or let the first line name columns: video,label."
            )
        if rows and bool(label) != bool(rows[0][2]):
            raise AnnotationError(
                f"{place}: '{line}' has {'a' if label else 'no'} label, unlike the first line. "
                "Give all lines a label, or none."
            )
        rows.append((place, file, label))
    return rows


def _split_line(line: str) -> tuple[str, str]:
    """Split ``path label``; the label is "" if there is none."""
    if line.startswith('"') and (end := line.find('"', 1)) > 0:
        return line[1:end], line[end + 1 :].strip(" \t,;")
    # Paths and class names may contain blanks, so the last video extension ends the path.
    ends = [found.end() for found in _PATH_END.finditer(line)]
    if ends:
        return line[: ends[-1]], line[ends[-1] :].strip(" \t,;")
    if _has_extension(line):
        return line, ""
    # Without extension, the last word is the label.
    words = re.split(r"[\s,;]", line)
    label = words[-1] if len(words) > 1 else ""
    return line[: len(line) - len(label)].rstrip(" \t,;"), label


def _has_extension(path: str) -> bool:
    return path.lower().endswith(VIDEO_EXTENSIONS)


def strip_extension(path: str) -> str:
    """Remove the extension of a video, and no other: names may contain dots."""
    return os.path.splitext(path)[0] if _has_extension(path) else path


def to_index(text: str) -> int | None:
    """Return the integer in 0..10**9 that a text gives, also as "3.0"; else None."""
    digits = text.partition(".")[0] if text.rstrip("0").endswith(".") else text
    # Longer numbers take time that grows with the square of their length, or are refused by int.
    return int(digits) if digits.isdecimal() and len(digits) <= 9 else None


def is_number(text: str) -> bool:
    """Return whether a label is an index or looks like one that is too large."""
    return text.isdecimal() or to_index(text) is not None


def normal_form(name: str) -> str:
    """Return a name in the Unicode form in which each accent is one character with its letter."""
    return name if name.isascii() else unicodedata.normalize("NFC", name)


# Video files --------------------------------------------------------------------------------------


def first_few(items: Sequence) -> str:
    """Format at most five items for a message, with "..." if there are more."""
    return ", ".join(one_line(str(item), 75) for item in items[:5]) + (
        ", ..." if len(items) > 5 else ""
    )


def find_videos(video_dir: str, patterns: Sequence[str], stems: Iterable[str]) -> dict[str, str]:
    """Find the files of videos by name without extension (stem), listing each folder once.

    Patterns are those of glob, relative to ``video_dir``: "*" for the folder itself, "*/*" for its
    sub-folders.

    Raises:
        AnnotationError: the folder is missing, or a stem has several files.
    """
    with reading(video_dir):  # glob treats a missing folder like an empty one
        can_list = list_folder(video_dir) is not None
    # macOS takes accents off their letters in names of files.
    wanted = {normal_form(stem): stem for stem in stems}
    if not can_list:
        names = {stem: inner_path(video_dir, f"{stem}.mp4", video_dir) for stem in wanted.values()}
        return {stem: join(video_dir, name) for stem, name in names.items()}
    found: dict[str, list[str]] = {}
    # One listing of a folder is much faster than a query for each stem and extension.
    for pattern in patterns:
        for path in list_matches(video_dir, pattern):
            stem, extension = os.path.splitext(os.path.basename(path))
            stem = normal_form(stem)
            if stem in wanted and extension.lower() in VIDEO_EXTENSIONS:
                found.setdefault(wanted[stem], []).append(join(video_dir, path))
    for paths in found.values():
        if len(paths) > 1:
            raise AnnotationError(
                f"{video_dir}: {len(paths)} files for one video id: {first_few(sorted(paths))}. "
                "Keep one of them in the folder."
            )
    return {stem: paths[0] for stem, paths in found.items()}


def list_matches(folder: str, pattern: str) -> Iterator[str]:
    """Yield the paths in a folder that match a pattern like "*/videos/*", relative to it."""
    if not is_address(folder):
        yield from glob.iglob(pattern, root_dir=folder)
        return
    first, _, rest = pattern.partition("/")
    for name in (list_folder(folder) or ()) if first == "*" else [first]:
        if not rest:
            yield name
        elif not _has_extension(name) and is_folder(inner := join(folder, name)):
            yield from (f"{name}/{path}" for path in list_matches(inner, rest))


def inner_path(place: str, path: str, video_dir: str) -> str:
    """Return a path of a list, of Unix or Windows, relative to the videos' folder, with slashes.

    Raises:
        AnnotationError: the path has "..", a drive, or is absolute and not in ``video_dir``.
    """
    if ".." not in path and path[:1] != "/" and "\\" not in path and ":" not in path:
        return path  # quickly, for the hundreds of thousands of a list
    inner = path.replace("\\", "/")
    leaves = False
    if is_address(video_dir):
        inner = inner.removeprefix(join(video_dir, ""))
        leaves = is_address(inner)
    elif os.path.isabs(inner):
        folder = os.path.join(os.path.abspath(video_dir), "")  # ends in a slash
        inner = os.path.normpath(inner).removeprefix(folder)
    leaves = leaves or os.path.isabs(inner) or ".." in inner.split("/")
    if leaves or re.match("[A-Za-z]:/", inner):
        raise AnnotationError(
            f"{place}: path '{path}' leaves the folder of the videos, {video_dir or '.'}. Write it "
            "relative to that folder, or give another folder ('/' for any absolute path)."
        )
    return inner


def present_files(video_dir: str, paths: Sequence[str]) -> list[str | None]:
    """Find the file of each path of a list in ``video_dir``; None where there is no such file.

    A file that is there as written is taken. Otherwise the Unicode form of accents does not count,
    and a path without extension finds a file with that of a video.

    Raises:
        AnnotationError: a path leaves the folder, or finds several files.
    """
    # One listing per folder is much faster than one query per file. A missing folder has no files:
    # its videos are reported together with the other missing ones.
    names_in = functools.cache(lambda f: set(list_folder(f) or ()) if is_folder(f) else set())
    names_by_form = functools.cache(lambda f: _by_normal_form(names_in(f)))
    if is_address(video_dir) and list_folder(video_dir) is None:
        return [join(video_dir, inner_path(video_dir, path, video_dir)) for path in paths]

    def find(path: str) -> str | None:
        path = inner_path(video_dir, path, video_dir)
        file = join(video_dir, path)
        if os.path.basename(file) in names_in(os.path.dirname(file)):
            return file
        file = video_dir
        for name in path.split("/"):
            name = normal_form(name)
            found = names_by_form(file or ".").get(name, [])
            found = [f for f in found if normal_form(f) == name] or found
            if len(found) > 1:
                raise AnnotationError(
                    f"{video_dir}: {len(found)} files for '{path}': {first_few(sorted(found))}. "
                    "Write the ending, or keep one of them."
                )
            if not found:
                return None
            file = join(file, found[0])
        return file

    return [find(path) for path in paths]


def _by_normal_form(names: Iterable[str]) -> dict[str, list[str]]:
    """Return the names of a folder by their normal form, with and without a video extension."""
    found: dict[str, list[str]] = {}
    for name in names:
        for key in {name, strip_extension(name)}:
            found.setdefault(normal_form(key), []).append(name)
    return found


def check_present(name: str, paths: Mapping[str, str], source: str, naming: str) -> None:
    """Raise an AnnotationError that names the paths of a dataset that are missing.

    For ``paths``, ``source`` and ``naming`` see :func:`.clips.register_clips`.
    """
    missing = {role: path for role, path in paths.items() if path and not exists(path)}
    if not missing:
        return
    place, files = "", ", ".join(missing.values())
    if not any(map(is_address, missing.values())):
        # Named once, a common folder leaves room for what lies in it.
        full = [os.path.abspath(path) for path in missing.values()]
        folder = os.path.commonpath([os.path.dirname(path) for path in full])
        place, files = f" in {folder}", ", ".join(os.path.relpath(path, folder) for path in full)
    videos = f" (videos named {naming})" if list(missing) == ["videos"] else ""
    raise AnnotationError(
        f"Dataset '{name}' is incomplete. MISSING{place}: {files}{videos}. "
        + (source or "Put the files there, or register the dataset with other paths.")
    )
