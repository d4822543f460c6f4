"""Files that a killed process cannot leave half written, and logs that a later run continues."""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO


@contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """Give the path of a temporary file, and rename that file to ``path`` when the block ends.

    For libraries that write to a path themselves::

        with atomic_path("features.npz") as temporary:
            np.savez(temporary, **arrays)

    The temporary file lies beside ``path``, because a rename is atomic within one file system only.
    Its name, ``.part-<name>``, keeps the suffix, from which many libraries choose the format. A
    killed process leaves it behind, and the next run writes over it. Two processes must not write
    the same file at the same time.

    Args:
        path: file to write; an existing file is replaced. Missing folders are created.

    Yields:
        path of the temporary file. If the block raises, the file is removed and ``path`` stays as
        it was.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".part-{path.name}")
    try:
        yield temporary
        os.replace(temporary, path)
    except BaseException:  # also Ctrl-C: nothing may stay behind
        temporary.unlink(missing_ok=True)
        raise


def write_atomic(path: str | Path, content: str | bytes) -> None:
    """Write a file whole or not at all; see :func:`atomic_path`.

    Args:
        path: file to write; an existing file is replaced. Missing folders are created.
        content: text, which is written as UTF-8 with its line ends unchanged, or bytes.
    """
    data = content.encode() if isinstance(content, str) else content
    with atomic_path(path) as temporary:
        temporary.write_bytes(data)


class JsonLinesLog:
    """Append-only log of JSON values, one per line, that a killed run can be resumed from.

    Each value is written through to the file at once. A last line without a line end comes from a
    killed process: readers skip it, and :meth:`resume` or :meth:`append` removes it. Reading
    changes nothing on the disk.

        with JsonLinesLog("boxes.jsonl") as log:
            done = {record["video"] for record in log}
            ...
            log.append({"video": "a.mp4", "boxes": []})

    Args:
        path: file to continue, or to create.

    Attributes:
        path: the file; created by :meth:`resume` or the first :meth:`append`, with missing folders.
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
            except ValueError:  # not JSON, or not UTF-8
                raise ValueError(
                    f"{self.path}:{number}: not a line of JSON. Delete the file to start again"
                ) from None

    def resume(self) -> BinaryIO:
        """Open the file for writing, without a torn last line; return it."""
        if self._file is None:
            length = sum(map(len, self._complete_lines()))
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._file = open(self.path, "ab")
            self._file.truncate(length)
        return self._file

    def append(self, value: object) -> None:
        """Write one value, which :mod:`json` can encode, as the new last line."""
        file = self.resume()
        file.write(json.dumps(value).encode() + b"\n")
        file.flush()

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
