"""Files that are written whole or not at all."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TextIO


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
