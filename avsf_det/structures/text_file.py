"""Text files of annotations, read so that every failure names the file and the remedy.

Files are UTF-8, whatever the locale, or UTF-16 with its byte-order mark. A line has at most
``MAX_LINE`` characters, so that a file of another kind is refused early and in little memory.
"""

import codecs
import csv
import gzip
import os
import stat
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, TextIO, cast

from .addresses import local_path, name_of
from .errors import AnnotationError

MAX_LINE = 1_000_000  # characters
_MAX_BLANK = 100_000  # blank lines one after another
# A csv shrinks to a tenth. What shrinks more, and is large, would fill the memory.
_MAX_UNPACKED, _MAX_RATIO = 1 << 26, 50
_MARKS = {
    codecs.BOM_UTF32_LE: "utf-32",  # first: it starts with the mark of UTF-16
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}


@contextmanager
def reading(path: str | Path) -> Iterator[None]:
    """Turn every failure to read a file or folder into an AnnotationError that names it."""
    try:
        yield
    except UnicodeError as error:
        raise AnnotationError(
            f"{path}{_line_of(path, error)}: not a text file ({error}). Save it as UTF-8."
        ) from None
    except (OSError, EOFError, zlib.error) as error:
        # Errors of gzip have no strerror.
        reason = getattr(error, "strerror", None) or error
        raise AnnotationError(
            f"{path}: cannot be read ({reason}). Put it there, or give another path."
        ) from None


@contextmanager
def open_text(path: str | Path) -> Iterator[TextIO]:
    """Open a UTF-8 file, or that of an address, for reading. ``.gz`` is unpacked."""
    with reading(path):
        check_file(path)
        with _open_binary(path) as file:
            head = file.read(4)
        # utf-8-sig: spreadsheets write a byte-order mark, which would become part of the first
        # field.
        encoding = next((e for mark, e in _MARKS.items() if head.startswith(mark)), "utf-8-sig")
        opener = gzip.open if _is_packed(path) else open
        # newline="": the csv module finds the line ends, also those inside quotes.
        with cast(TextIO, opener(local_path(path), "rt", encoding=encoding, newline="")) as file_:
            yield file_


def check_file(path: str | Path) -> None:
    """Check that a path is a file, and that its unpacked size can be read.

    Raises:
        AnnotationError: a folder, pipe or device, or a .gz that unpacks to very much.
        OSError: there is no such file.
    """
    local = local_path(path)
    status = os.stat(local)
    if not stat.S_ISREG(status.st_mode):
        kind = "a folder" if stat.S_ISDIR(status.st_mode) else "a pipe or a device"
        raise AnnotationError(f"{path}: cannot be read ({kind}). Give a file.")
    if _is_packed(path) and status.st_size > 4:
        with open(local, "rb") as file:
            file.seek(-4, os.SEEK_END)
            size = int.from_bytes(file.read(4), "little")  # by the trailer of the file
        if size > max(_MAX_UNPACKED, _MAX_RATIO * status.st_size):
            raise AnnotationError(
                f"{path}: cannot be read ({status.st_size} bytes that unpack to {size >> 20} MB: "
                "damaged, or no annotations). Give another file, or unpack it."
            )


def bounded_lines(file: TextIO, path: str | Path) -> Iterator[str]:
    """Yield the lines of a file with their ends.

    Raises:
        AnnotationError: a line is longer than ``MAX_LINE`` or has a NUL, or very many are blank.
    """
    number = num_blank = 0
    while line := file.readline(MAX_LINE + 1):
        number += 1
        num_blank = num_blank + 1 if line.isspace() else 0
        fault = ""
        if len(line) > MAX_LINE:
            fault = f"a line of more than {MAX_LINE:,} characters"
        elif "\0" in line:
            fault = "a NUL character, as in binary files and in UTF-16 without a byte-order mark"
        elif num_blank > _MAX_BLANK:
            fault = f"{num_blank:,} blank lines one after another"
        if fault:
            raise AnnotationError(f"{path}:{number}: {fault}. Give a text file in UTF-8.")
        yield line


def read_rows(
    path: str | Path, *, skip_blank: bool = True, delimiter: str = ",", comments: bool = False
) -> Iterator[tuple[str, list[str]]]:
    """Yield ("file:line", fields) for every row of a comma-separated file.

    ``comments`` says that rows that start with "#" are skipped. A blank line that is not skipped
    is a row without fields.
    """
    with open_text(path) as file:
        reader = csv.reader(bounded_lines(file, path), delimiter=delimiter)
        try:
            for row in reader:
                if comments and row and row[0].startswith("#"):
                    continue
                if row or not skip_blank:
                    yield f"{path}:{reader.line_num}", row
        except csv.Error as error:
            raise AnnotationError(
                f"{path}:{reader.line_num}: {error}. Save the file as comma-separated text."
            ) from None


def _is_packed(path: str | Path) -> bool:
    return name_of(path).endswith(".gz")


def _open_binary(path: str | Path) -> BinaryIO:
    return cast(BinaryIO, (gzip.open if _is_packed(path) else open)(local_path(path), "rb"))


def _line_of(path: str | Path, error: UnicodeError) -> str:
    """Return ":line" of the first bytes that are not UTF-8, "" if they are not found."""
    if not isinstance(error, UnicodeDecodeError) or not error.encoding.startswith("utf-8"):
        return ""
    with _open_binary(path) as file:
        number = 0
        while line := file.readline(MAX_LINE):
            number += 1
            try:
                line.decode()
            except UnicodeDecodeError:
                return f":{number}"
    return ""
