"""Text files of annotations, opened so that every failure names the file and the remedy."""

import gzip
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO, cast

from .errors import AnnotationError


@contextmanager
def open_text(path: str | Path) -> Iterator[TextIO]:
    """Open a UTF-8 file for reading, without its byte order mark. ``.gz`` is unpacked.

    Raises:
        AnnotationError: the file cannot be read, at opening or later.
    """
    opener = gzip.open if str(path).endswith(".gz") else open
    try:
        # newline="": the csv module finds the line ends, also those inside quotes.
        with cast(TextIO, opener(path, "rt", encoding="utf-8-sig", newline="")) as file:
            yield file
    except UnicodeDecodeError as error:
        raise AnnotationError(f"{path}: not a text file ({error}). Save it as UTF-8.") from None
    except (OSError, EOFError, zlib.error) as error:
        reason = getattr(error, "strerror", None) or error
        raise AnnotationError(
            f"{path}: cannot be read ({reason}). Put it there, or give another path."
        ) from None
