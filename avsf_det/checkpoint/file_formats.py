"""Reading checkpoint files of any origin without running what is in them.

What a file is, is told from its content. PyTorch's files, zip and older, go through
``torch.load(weights_only=True)``; all others are taken for plain pickles, and through an unpickler
that knows tensors, numpy arrays and containers only.
"""

import _codecs
import collections
import io
import pickle
import re
import struct
from collections.abc import Mapping
from numbers import Real

import numpy as np
import torch

from ..structures import AVSFError

ZIP_MAGIC = b"PK\x03\x04"
# Files of torch.save before PyTorch 1.6 start with this number, pickled.
LEGACY_MAGIC = torch.serialization.MAGIC_NUMBER.to_bytes(10, "little")


def _load_storage(data: bytes) -> object:
    """The numbers of a tensor in a plain pickle, which hold a file of torch.save themselves."""
    return torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)


_reconstruct = np.zeros(1).__reduce__()[0]
_scalar = np.float64(0).__reduce__()[0]
_frombuffer = np.zeros(1).__reduce_ex__(5)[0]
# (module, name) of a pickle to the object. numpy.core became numpy._core in numpy 2.
SAFE_GLOBALS = {
    ("_codecs", "encode"): _codecs.encode,  # bytes in pickles of protocol 2
    ("collections", "OrderedDict"): collections.OrderedDict,
    ("torch._utils", "_rebuild_tensor_v2"): torch._utils._rebuild_tensor_v2,
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
# The state of hooks and schedulers in a checkpoint may hold numpy numbers.
torch.serialization.add_safe_globals(
    [_reconstruct, _scalar, np.ndarray, np.dtype]
    + [type(np.dtype(code)) for code in np.typecodes["AllInteger"] + "?efd"]
)

# What torch.load and unpickling raise for bytes that are something else, or damaged.
_UNREADABLE = (pickle.UnpicklingError, ArithmeticError, AssertionError, AttributeError, EOFError)
_UNREADABLE += (ImportError, LookupError, RuntimeError, TypeError, ValueError, struct.error)


class CheckpointError(AVSFError):
    """A checkpoint that cannot be used; the message names the file and says why."""


class ArrayUnpickler(pickle.Unpickler):
    """An unpickler that cannot run anything: of all globals it knows SAFE_GLOBALS only.

    Raises:
        pickle.UnpicklingError: in :meth:`load`, for any other.
    """

    def find_class(self, module: str, name: str) -> object:
        module = {"__builtin__": "builtins"}.get(module, module)  # as Python 2 calls it
        if (module, name) not in SAFE_GLOBALS:
            raise pickle.UnpicklingError(f"GLOBAL {module}.{name} is not allowed")
        return SAFE_GLOBALS[module, name]


def read_file(path: str) -> object:
    """The object in a file of torch.save or pickle; tensors on the CPU.

    Args:
        path: of a local file; its name does not matter.

    Raises:
        CheckpointError: if it is neither, is damaged, or holds more than data.
        OSError: if it cannot be opened.
    """
    with open(path, "rb") as f:
        head = f.read(64)
        f.seek(0)
        try:
            if head.startswith(ZIP_MAGIC) or LEGACY_MAGIC in head:
                return torch.load(f, map_location="cpu", weights_only=True)
            return ArrayUnpickler(f, encoding="latin1").load()
        except _UNREADABLE as error:
            # Both readers call what they refuse "GLOBAL module.name".
            forbidden = re.search(r"GLOBAL ([\w.]+)", str(error))
            reason = str(error).strip().partition("\n")[0]
            kind = type(error).__name__
    if forbidden:
        raise CheckpointError(
            f"{path}: refused, because it asks for {forbidden[1]}: such a file can run code when "
            "it is read. Data need nothing but tensors, arrays and plain containers"
        )
    raise CheckpointError(
        f"{path}: neither a whole file of torch.save nor a whole pickle ({kind}: {reason})"
    )


# Where the weights are, in the order of looking: PySlowFast and PyTorchVideo, Caffe2, Detectron2
# and ours, many others.
CONTAINERS = ("model_state", "blobs", "model", "state_dict")


def find_state(data: object, path: str) -> tuple[dict[str, torch.Tensor | np.ndarray], dict]:
    """The weights in what a file holds.

    Args:
        data: what :func:`read_file` gives.
        path: for error messages.

    Returns:
        the weights by name, without the "module." of a distributed model; and the rest of the
        container around them, if there is one.

    Raises:
        CheckpointError: if there are no weights.
    """
    state, rest = data, {}
    if isinstance(data, Mapping):
        for key in CONTAINERS:
            if isinstance(data.get(key), Mapping):
                state, rest = data[key], {k: v for k, v in data.items() if k != key}
                break
    if not isinstance(state, Mapping) or not state:
        raise CheckpointError(
            f"{path}: holds no weights: expected a dict of arrays by name, or one under "
            f"{', '.join(CONTAINERS)}; it is {_describe(data)}"
        )
    for name, value in state.items():
        array = isinstance(value, np.ndarray) and value.dtype.kind in "biuf"
        if not isinstance(name, str) or not (array or isinstance(value, torch.Tensor | Real)):
            raise CheckpointError(
                f"{path}: entry {name!r} of the weights is no array of numbers, but "
                f"{_describe(value)}"
            )
    prefix = "module." if all(name.startswith("module.") for name in state) else ""
    return {name.removeprefix(prefix): value for name, value in state.items()}, rest


def _describe(value: object) -> str:
    if isinstance(value, Mapping):
        return f"a dict with {', '.join(repr(key) for key in list(value)[:5]) or 'nothing'}"
    if isinstance(value, np.ndarray):
        return f"an array of {value.dtype}"
    return f"of type {type(value).__name__}"
