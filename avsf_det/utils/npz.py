"""Read npz files that others may have written."""

import os
import zipfile
import zlib

import numpy as np

# Sizes that a file may declare: the bytes that lie in it, or so many of compressed ones.
LARGEST_COMPRESSED = 1 << 30
_DAMAGED = (
    *(zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, MemoryError, OSError),
    *(ValueError, TypeError, KeyError, SyntaxError, OverflowError, RuntimeError),
)


def read_npz(path: str | os.PathLike) -> dict[str, np.ndarray]:
    """Read all arrays of an npz file, whose checksums are checked; pickled objects are refused.

    Raises:
        ValueError: the file is no npz, is damaged, or declares more than it can hold.
        OSError: the file cannot be opened.
    """
    with open(path, "rb") as file:
        try:
            with zipfile.ZipFile(file) as archive:
                size = sum(entry.file_size for entry in archive.infolist())
            if size > max(LARGEST_COMPRESSED, os.fstat(file.fileno()).st_size):
                raise ValueError(f"its arrays would take {size} bytes")
            file.seek(0)
            with np.load(file, allow_pickle=False) as arrays:
                return dict(arrays)
        except _DAMAGED as error:
            reason = str(error).partition("\n")[0][:120] or type(error).__name__
            raise ValueError(f"{path}: not an npz file that is complete ({reason})") from None
