"""Files that are written whole or not at all, and logs that a later run continues."""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO, TextIO


@contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """Give the path of a temporary file, and rename that file to ``path`` when the block ends.

    For libraries that write to a path themselves::

        with atomic_path("features.npz") as temporary:
            np.savez(temporary, **arrays)

    The temporary file lies beside ``path``, because a rename is atomic within one file system only.
    Its name, ``.part-<name>``, keeps the suffix, from which many libraries choose the format. A
    killed process leaves it behind, and the next run writes over it. Two processes must not write
    the same file at the same time. The file is on the disk before it gets its name, so that also a
    power failure leaves the old file or the new one. A device is written to directly.

    An existing file is replaced, through a symbolic link too, and missing folders are created. If
    the block raises, the temporary file is removed and ``path`` stays as it was.

    Raises:
        OSError: the file cannot be written; names ``path``.
    """
    path = Path(os.path.realpath(path))
    if path.is_dir():
        raise IsADirectoryError(f"{path}: is a folder, where a file is to be written")
    is_device = path.exists() and not path.is_file()
    make_folder(path.parent)
    temporary = path if is_device else path.with_name(f".part-{path.name}")
    try:
        yield temporary
        if not is_device:
            replace_atomic(temporary, path)
    except BaseException as error:  # also Ctrl-C: nothing may stay behind
        # The folder may be gone, or read-only; the first error is the one to report.
        if not is_device:
            with suppress(OSError):
                temporary.unlink(missing_ok=True)
        if (cause := _system_error(error)) is None:
            raise
        if cause.filename is not None and str(cause.filename) != str(temporary):
            raise cause from None
        # The system names the temporary file, or none where a write fails ("No space left").
        raise OSError(cause.errno, cause.strerror or str(cause), str(path)) from None


def replace_atomic(temporary: str | Path, path: str | Path) -> None:
    """Give a whole file its name, which another file may have; both are safe on the disk then."""
    _sync(temporary)
    os.replace(temporary, path)
    with suppress(OSError):  # some network file systems cannot
        _sync(Path(path).parent)


@contextmanager
def open_atomic(path: str | Path) -> Iterator[TextIO]:
    """Open a text file to be written whole or not at all; see :func:`atomic_path`.

    The text is UTF-8 in every locale, and line ends are written as they are.
    """
    with atomic_path(path) as temporary, open(temporary, "w", encoding="utf-8", newline="") as file:
        yield file


def write_atomic(path: str | Path, content: str | bytes) -> None:
    """Write bytes, or text as UTF-8 with its line ends; see :func:`atomic_path`."""
    data = content.encode() if isinstance(content, str) else content
    with atomic_path(path) as temporary:
        temporary.write_bytes(data)


def make_folder(path: str | Path) -> None:
    """Create a folder, and those above it, unless it exists.

    Raises:
        OSError: a part of the path is a file, or may not be written.
    """
    try:
        Path(path).mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError):
        parts = (Path(path), *Path(path).parents)
        file = next((part for part in parts if part.exists()), Path(path))
        place = "" if file == Path(path) else f"{path}: "
        raise NotADirectoryError(f"{place}{file} is a file, not a folder") from None


def _sync(path: str | Path) -> None:
    """Have the system write a file or a folder to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _system_error(error: BaseException) -> OSError | None:
    """Return the failed system call, also where a library (torch.save) hides it."""
    cause: BaseException | None = error
    while isinstance(cause, RuntimeError):
        cause = cause.__cause__ or cause.__context__
    return cause if isinstance(cause, OSError) and cause.errno is not None else None


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
