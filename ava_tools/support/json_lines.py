"""Log of JSON values that a later run continues."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from avsf_det.utils.atomic import make_folder


class JsonLinesLog:
    """Append-only log of JSON values, one per line, that a killed run can be resumed from.

    Each value is written through to the file at once. A last line without a line end comes from a
    killed process: readers skip it, and :meth:`resume` or :meth:`append` removes it. Reading
    changes nothing on the disk.

        with JsonLinesLog("boxes.jsonl") as log:
            done = {record["video"] for record in log}
            ...
            log.append({"video": "a.mp4", "boxes": []})

    The file, with missing folders, is created by :meth:`resume` or the first :meth:`append`.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._file: BinaryIO | None = None

    def __iter__(self) -> Iterator[Any]:
        """Yield the values in the file, first to last.

        Raises:
            ValueError: a complete line is not JSON; names file and line.
        """
        for number, line in enumerate(self._complete_lines(), 1):
            try:
                yield json.loads(line)
            except (ValueError, RecursionError):  # not JSON, or not UTF-8
                raise ValueError(
                    f"{self.path}:{number}: not a line of JSON. Delete the file to start again"
                ) from None

    def resume(self) -> BinaryIO:
        """Open the file for writing, without a torn last line; return it."""
        if self._file is None:
            length = sum(map(len, self._complete_lines()))
            make_folder(self.path.parent)
            # Without a buffer: what a full disk refuses must not be written when the file closes.
            self._file = open(self.path, "ab", buffering=0)
            self._file.truncate(length)
        return self._file

    def append(self, value: object) -> None:
        """Write one value, which :mod:`json` can encode, as the new last line.

        Raises:
            OSError: the disk is full; the part of a line that was written is torn, see above.
        """
        file, line = self.resume(), json.dumps(value).encode() + b"\n"
        try:
            while line:
                line = line[file.write(line) :]
        except OSError as error:  # which names no file
            raise OSError(error.errno, error.strerror, str(self.path)) from None

    def close(self) -> None:
        """Close the file; a later :meth:`append` opens it again."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def __enter__(self) -> "JsonLinesLog":
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def _complete_lines(self) -> Iterator[bytes]:
        if self.path.exists():
            with open(self.path, "rb") as file:
                yield from (line for line in file if line.endswith(b"\n"))
