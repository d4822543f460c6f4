"""Read checkpoint files of any origin without running code that they contain.

The content of a file decides how it is read, not its name. Files of torch.save (zip and older) go
through ``torch.load(weights_only=True)``. All others are read as plain pickles, by an unpickler
that accepts tensors, NumPy arrays and containers only.
"""

import _codecs
import collections
import io
import pickle
import re
import struct
from collections.abc import Mapping
from numbers import Real
from typing import Any

import numpy as np
import torch

from ..structures import AVSFError

ZIP_MAGIC = b"PK\x03\x04"
# Files of torch.save before PyTorch 1.6 start with this number, pickled.
LEGACY_MAGIC = torch.serialization.MAGIC_NUMBER.to_bytes(10, "little")


def _load_storage(data: bytes) -> object:
    """Load a tensor's storage, which a plain pickle holds as a file of torch.save."""
    return torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)


# The functions that pickles of NumPy arrays call. NumPy itself returns them, because their module
# differs between versions.
_reconstruct: Any = np.zeros(1).__reduce__()[0]
_scalar: Any = np.float64(0).__reduce__()[0]
_frombuffer: Any = np.zeros(1).__reduce_ex__(5)[0]
# (module, name) in a pickle to the object. numpy.core became numpy._core in NumPy 2.
SAFE_GLOBALS = {
    ("_codecs", "encode"): _codecs.encode,  # bytes in pickles of protocol 2
    ("collections", "OrderedDict"): collections.OrderedDict,
    ("torch._utils", "_rebuild_tensor_v2"): torch._utils._rebuild_tensor_v2,  # noqa: SLF001
    ("torch.storage", "_load_from_bytes"): _load_storage,
    **{("builtins", t.__name__): t for t in (bytes, bytearray, set, frozenset, complex)},
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): np.dtype,
    **{
        (f"numpy.{core}.{module}", function.__name__): function
        for core in ("core", "_core")
        for module, function in (
            ("multiarray", _reconstruct),
            ("multiarray", _scalar),
            ("numeric", _frombuffer),
        )
    },
}
# The state of hooks and schedulers in a checkpoint may hold NumPy numbers.
torch.serialization.add_safe_globals(
    [_reconstruct, _scalar, np.ndarray, np.dtype]
    + [type(np.dtype(code)) for code in np.typecodes["AllInteger"] + "?efd"]
)

# Exceptions of torch.load and of unpickling for bytes in another format, or damaged ones.
_UNREADABLE = (
    *(pickle.UnpicklingError, ArithmeticError, AssertionError, AttributeError, EOFError),
    *(ImportError, LookupError, RuntimeError, TypeError, ValueError, struct.error),
)

# Keys of the weights in a file, in the order of the search: PySlowFast and PyTorchVideo, Caffe2,
# Detectron2 and this project, many others.
CONTAINERS = ("model_state", "blobs", "model", "state_dict")


class CheckpointError(AVSFError):
    """Checkpoint that cannot be used; the message names the file and the reason."""


class ArrayUnpickler(pickle.Unpickler):
    """Unpickler that cannot run code: it accepts no global outside SAFE_GLOBALS.

    Raises:
        pickle.UnpicklingError: in :meth:`load`, for any other global.
    """

    def find_class(self, module: str, name: str) -> object:
        """Return the object of a global in SAFE_GLOBALS."""
        module = "builtins" if module == "__builtin__" else module  # its name in Python 2
        if (module, name) not in SAFE_GLOBALS:
            raise pickle.UnpicklingError(f"GLOBAL {module}.{name} is not allowed")
        return SAFE_GLOBALS[module, name]


def safe_load(path: str) -> object:
    """Load the object in a file of torch.save or pickle, with tensors on the CPU.

    Args:
        path: path of a local file; the extension does not matter.

    Raises:
        CheckpointError: the file is in another format, damaged, or contains more than data.
        OSError: the file cannot be opened.
    """
    with open(path, "rb") as f:
        head = f.read(64)
        f.seek(0)
        try:
            if head.startswith(ZIP_MAGIC) or LEGACY_MAGIC in head:
                return torch.load(f, map_location="cpu", weights_only=True)
            return ArrayUnpickler(f, encoding="latin1").load()
        except _UNREADABLE as error:
            # Both readers report a refused global as "GLOBAL module.name".
            forbidden = re.search(r"GLOBAL ([\w.]+)", str(error))
            reason = str(error).strip().partition("\n")[0]
            kind = type(error).__name__
    if forbidden:
        raise CheckpointError(
            f"{path}: refused, because it asks for {forbidden[1]}: such a file can run code when "
            "it is read. Data need nothing but tensors, arrays and plain containers"
        )
    raise CheckpointError(
        f"{path}: neither a complete file of torch.save nor a complete pickle ({kind}: {reason})"
    )


def find_weights(data: object, path: str) -> tuple[dict[str, torch.Tensor | np.ndarray], dict]:
    """Find the weights in the content of a file.

    Args:
        data: content of the file, as :func:`safe_load` returns it.
        path: path of the file, for error messages.

    Returns:
        the weights by name, without the "module." of a distributed model; and the other entries
        of the dict around the weights, if there is one.

    Raises:
        CheckpointError: there are no weights.
    """
    state: object = data
    rest: dict = {}
    if isinstance(data, Mapping):
        for key in CONTAINERS:
            if isinstance(data.get(key), Mapping):
                state, rest = data[key], {k: v for k, v in data.items() if k != key}
                break
    if not isinstance(state, Mapping) or not state:
        raise CheckpointError(
            f"{path}: contains no weights: expected a dict of arrays by name, or one under "
            f"{', '.join(CONTAINERS)}; it is {_describe(data)}"
        )
    for name, value in state.items():
        is_array = isinstance(value, np.ndarray) and value.dtype.kind in "biuf"
        if not isinstance(name, str) or not (is_array or isinstance(value, torch.Tensor | Real)):
            found = _describe(value)
            raise CheckpointError(
                f"{path}: entry {name!r} of the weights is no array of numbers, but {found}"
            )
    prefix = "module." if all(name.startswith("module.") for name in state) else ""
    return {name.removeprefix(prefix): value for name, value in state.items()}, rest


def _describe(value: object) -> str:
    if isinstance(value, Mapping):
        return f"a dict with {', '.join(repr(key) for key in list(value)[:5]) or 'nothing'}"
    if isinstance(value, np.ndarray):
        return f"an array of {value.dtype}"
    return f"of type {type(value).__name__}"
