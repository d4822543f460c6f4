"""Read checkpoint files of any origin without running code that they contain.

The content of a file decides how it is read, not its name: files of safetensors, of torch.save (zip
and older) and plain pickles. ``torch.load`` is not used: it checks neither the checksums of a zip
file nor the sizes that a file declares. All pickles go through one unpickler, see
:class:`ArrayUnpickler`.
"""

import io
import json
import math
import os
import re
import struct
import sys
import zipfile
from collections.abc import Mapping
from numbers import Real
from typing import Any, BinaryIO

import numpy as np
import torch

from ..structures import AVSFError
from ..utils.array_unpickler import UNREADABLE, ArrayUnpickler, explain_unreadable

ZIP_MAGIC = b"PK\x03\x04"
# Files of torch.save before PyTorch 1.6 start with this number, pickled.
LEGACY_MAGIC = torch.serialization.MAGIC_NUMBER.to_bytes(10, "little")
LEGACY_PROTOCOL = 1001
CHUNK = 1 << 20  # bytes
SAFETENSORS_DTYPES = {
    **{"F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16},
    **{"I64": torch.int64, "I32": torch.int32, "I16": torch.int16, "I8": torch.int8},
    **{"U8": torch.uint8, "BOOL": torch.bool},
}

# Of damaged files, and of those in another format.
_UNREADABLE = (*UNREADABLE, zipfile.BadZipFile, NotImplementedError)

# Keys of the weights in a file, in the order of the search: PySlowFast and PyTorchVideo, Caffe2,
# Detectron2 and this project, many others.
CONTAINERS = ("model_state", "blobs", "model", "state_dict")


class CheckpointError(AVSFError):
    """Checkpoint that cannot be used; the message names the file and the reason."""


def safe_load(path: str) -> object:
    """Load the object in a local file of weights, with tensors on the CPU.

    Raises:
        CheckpointError: the file is in another format, damaged, or contains more than data.
        OSError: the file cannot be opened.
    """
    with open(path, "rb") as file:
        try:
            return _load(file, os.fstat(file.fileno()).st_size)
        except _UNREADABLE as error:
            kinds = "file of torch.save nor a complete pickle or safetensors file"
            message = explain_unreadable(error, f"neither a complete {kinds}")
            raise CheckpointError(f"{path}: {message}") from None


def _load(file: BinaryIO, size: int) -> object:
    """Load a file of ``size`` bytes of any of the four formats."""
    head = file.read(64)
    file.seek(0)
    if head[8:9] == b"{" and int.from_bytes(head[:8], "little") <= size:
        return _load_safetensors(file, size)
    if head.startswith(ZIP_MAGIC):
        return _load_zip(file, size)
    if LEGACY_MAGIC in head:
        return _load_legacy(file, size)
    return ArrayUnpickler(
        file, size, load_nested=lambda data: _load_legacy(io.BytesIO(data), len(data))
    ).load()


def _load_safetensors(file: BinaryIO, size: int) -> dict[str, torch.Tensor]:
    """Load a file of safetensors: length of the header (8 bytes), header as JSON, then values."""
    header = json.loads(file.read(struct.unpack("<Q", file.read(8))[0]))
    header.pop("__metadata__", None)
    tensors, size, place = {}, size - file.tell(), 0
    # Values follow each other without gaps.
    for name, entry in sorted(header.items(), key=lambda item: item[1]["data_offsets"]):
        dtype, (start, end) = SAFETENSORS_DTYPES[entry["dtype"]], entry["data_offsets"]
        nbytes = math.prod(entry["shape"]) * dtype.itemsize
        if not (start == place <= end <= size and end - start == nbytes):
            raise ValueError(f"{name[:60]} is not at {start} to {end}")
        storage = torch.UntypedStorage(nbytes)
        _read_into(storage, file)
        if sys.byteorder != "little":
            storage.byteswap(dtype)
        tensors[name] = torch.empty(0, dtype=dtype).set_(storage).view(entry["shape"])
        place = end
    if place != size:
        raise ValueError(f"{size - place} bytes that belong to no tensor")
    return tensors


def _load_zip(file: BinaryIO, size: int) -> object:
    """Load a zip file: data.pkl, and an entry for each storage. Checksums are checked."""
    with zipfile.ZipFile(file) as archive:
        entries = _check_entries(archive.infolist(), size)
        (root,) = {n.partition("/")[0] for n in entries if re.fullmatch(r"[^/]+/data\.pkl", n)}
        if f"{root}/byteorder" in entries:  # files before PyTorch 2.1 do not say
            _check_byte_order(archive.read(f"{root}/byteorder").decode())
        storages: dict[str, torch.UntypedStorage] = {}

        def read_storage(key: str, dtype: torch.dtype, nbytes: int) -> torch.UntypedStorage:
            if key not in storages:
                storage = torch.UntypedStorage(entries[f"{root}/data/{key}"].file_size)
                with archive.open(f"{root}/data/{key}") as entry:
                    _read_into(storage, entry)  # its end compares the checksum
                    entry.read(1)
                storages[key] = storage
            if storages[key].nbytes() != nbytes:
                raise ValueError(f"storage {key} of {storages[key].nbytes()} bytes, not {nbytes}")
            return storages[key]

        with archive.open(f"{root}/data.pkl") as entry:
            # A copy in memory is quicker, and its checksum is checked before anything is built.
            data = io.BytesIO(entry.read())
        return ArrayUnpickler(data, size, read_storage).load()


def _check_entries(entries: list[zipfile.ZipInfo], size: int) -> dict[str, zipfile.ZipInfo]:
    """Check that entries are stored as they are, one after the other; return them by name."""
    by_name = {entry.filename.lower(): entry for entry in entries}
    if len(by_name) < len(entries):
        raise ValueError("two entries of one name")
    end = 0
    for entry in sorted(entries, key=lambda entry: entry.header_offset):
        if entry.compress_type != zipfile.ZIP_STORED or entry.file_size != entry.compress_size:
            raise ValueError(f"{entry.filename[:60]} is compressed; torch.save does not compress")
        if entry.header_offset < end:
            raise ValueError(f"{entry.filename[:60]} overlaps with another entry")
        # 30 bytes of header, then the name.
        end = entry.header_offset + 30 + len(entry.filename.encode()) + entry.file_size
    if end > size:
        raise ValueError("entries are larger than the file")
    return {entry.filename: entry for entry in entries}


def _load_legacy(file: BinaryIO, size: int) -> object:
    """Load a file of torch.save before PyTorch 1.6: pickles, then the values of the storages."""

    def load_next() -> Any:
        return ArrayUnpickler(file, size).load()

    if load_next() != torch.serialization.MAGIC_NUMBER or load_next() != LEGACY_PROTOCOL:
        raise ValueError("another protocol")
    _check_byte_order("little" if load_next().get("little_endian", True) else "big")
    storages: dict[str, torch.UntypedStorage] = {}
    dtypes: dict[str, torch.dtype] = {}

    def make_storage(key: str, dtype: torch.dtype, nbytes: int) -> torch.UntypedStorage:
        if key not in storages:
            if sum(x.nbytes() for x in storages.values()) + nbytes > size:
                raise ValueError(f"storage {key[:20]} of {nbytes} bytes is larger than the file")
            storages[key], dtypes[key] = torch.UntypedStorage(nbytes), dtype
        return storages[key]

    data = ArrayUnpickler(file, size, make_storage).load()
    for key in load_next():
        (count,) = struct.unpack("<q", file.read(8))
        if count * dtypes[key].itemsize != storages[key].nbytes():
            raise ValueError(f"storage {key[:20]} of {count} elements has another size")
        _read_into(storages[key], file)
        del dtypes[key]
    if dtypes:
        raise EOFError(f"{len(dtypes)} storages are missing")
    return data


def _check_byte_order(order: str) -> None:
    if order != sys.byteorder:
        raise ValueError(f"bytes in the order {order[:20]!r}, unlike those of this machine")


def _read_into(storage: torch.UntypedStorage, file: Any) -> None:
    """Fill a storage, in chunks that need little memory beside it."""
    if not storage.nbytes():
        return
    values: Any = torch.empty(0, dtype=torch.uint8).set_(storage).numpy()
    view = memoryview(values)
    for start in range(0, len(view), CHUNK):
        part = view[start : start + CHUNK]
        if file.readinto(part) != len(part):
            raise EOFError("the file ends early")


def find_weights(data: object, path: str) -> tuple[dict[str, torch.Tensor | np.ndarray], dict]:
    """Find the weights in the content of a file, as :func:`safe_load` returns it.

    Returns:
        the weights by name, without the "module." of a distributed model; and the other entries
        of the dict around them, if there is one.

    Raises:
        CheckpointError: there are no weights, or a weight is NaN or infinite.
    """
    state, rest = data, {}
    if isinstance(data, Mapping):
        key = next((key for key in CONTAINERS if isinstance(data.get(key), Mapping)), None)
        if key is not None:
            state, rest = data[key], {k: v for k, v in data.items() if k != key}
    if not isinstance(state, Mapping) or not state:
        raise CheckpointError(
            f"{path}: contains no weights: expected a dict of arrays by name, or one under "
            f"{', '.join(CONTAINERS)}; it is {_describe(data)}"
        )
    for name, value in state.items():
        is_array = isinstance(value, np.ndarray) and value.dtype.kind in "biuf"
        if not isinstance(name, str) or not (is_array or isinstance(value, torch.Tensor | Real)):
            raise CheckpointError(
                f"{path}: entry {name!r} of the weights is no array of numbers, but "
                f"{_describe(value)}"
            )
        if not _is_finite(value):
            raise CheckpointError(
                f"{path}: weight {name!r} holds NaN or infinite values; the file is damaged, or "
                "its training diverged"
            )
    prefix = "module." if all(name.startswith("module.") for name in state) else ""
    return {name.removeprefix(prefix): value for name, value in state.items()}, rest


def _describe(value: object) -> str:
    if isinstance(value, Mapping):
        return f"a dict with {', '.join(repr(key) for key in list(value)[:5]) or 'nothing'}"
    if isinstance(value, np.ndarray):
        return f"an array of {value.dtype}"
    return f"of type {type(value).__name__}"


def _is_finite(value: np.ndarray | torch.Tensor | Real) -> bool:
    """Return whether all values are finite, in one pass without a copy."""
    if isinstance(value, Real):
        return math.isfinite(value)
    if isinstance(value, np.ndarray):
        # Byte orders and half-precision types that torch lacks.
        return value.dtype.kind != "f" or bool(np.isfinite(value).all())
    if not value.is_floating_point() or not value.numel():
        return True
    # float8 has no minimum.
    lowest, highest = torch.aminmax(value if value.element_size() > 1 else value.float())
    return math.isfinite(lowest) and math.isfinite(highest)
