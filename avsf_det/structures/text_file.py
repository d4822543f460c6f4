"""Text files of annotations, read so that every failure names the file and the remedy."""

import csv
import gzip
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO, cast

from .errors import AnnotationError


@contextmanager
def reading(path: str | Path) -> Iterator[None]:
    """Turn every failure to read a file or folder into an AnnotationError that names it."""
    try:
        yield
    except UnicodeDecodeError as error:
        raise AnnotationError(f"{path}: not a text file ({error}). Save it as UTF-8.") from None
    except (OSError, EOFError, zlib.error) as error:
        # Errors of gzip have no strerror.
        reason = getattr(error, "strerror", None) or error
        raise AnnotationError(
            f"{path}: cannot be read ({reason}). Put it there, or give another path."
        ) from None


@contextmanager
def open_text(path: str | Path) -> Iterator[TextIO]:
    """Open a UTF-8 file for reading. ``.gz`` is unpacked.

    Raises:
        AnnotationError: the file cannot be read, at opening or later.
    """
    opener = gzip.open if str(path).endswith(".gz") else open
    # utf-8-sig: spreadsheets write a byte-order mark, which would become part of the first field.
    # newline="": the csv module finds the line ends, also those inside quotes.
    with reading(path), cast(TextIO, opener(path, "rt", encoding="utf-8-sig", newline="")) as file:
        yield file


def read_rows(path: str | Path, *, skip_blank: bool = True) -> Iterator[tuple[str, list[str]]]:
    """Yield ("file:line", fields) for every row of a comma-separated file.

    Args:
        path: csv or csv.gz.
        skip_blank: whether to skip blank lines, else they are rows without fields.

    Raises:
        AnnotationError: the file cannot be read, or is not csv.
    """
    with open_text(path) as file:
        reader = csv.reader(file)
        try:
            for row in reader:
                if row or not skip_blank:
                    yield f"{path}:{reader.line_num}", row
        except csv.Error as error:
            raise AnnotationError(
                f"{path}:{reader.line_num}: {error}. Save the file as comma-separated text."
            ) from None
