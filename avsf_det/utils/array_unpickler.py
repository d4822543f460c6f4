"""Unpickler of arrays and plain containers, for weights and annotations; it runs no other code.

The file decides neither which functions are called nor how much memory is used. Each global of
ALLOWED_GLOBALS is replaced by a function of this module, which checks its arguments. What these
functions copy is counted, so that a short pickle cannot fill the memory. The unpickler in Python
is used, because the one in C allocates as many entries of its memo as an opcode asks for.
"""

import collections
import math
import pickle
import re
import struct
from collections.abc import Callable, Hashable, Sequence
from pickle import _Unpickler as PythonUnpickler  # type: ignore[attr-defined]
from typing import Any, BinaryIO, ClassVar

import numpy as np
import torch

# NumPy's own functions are used where they only look at bytes that the file holds.
_frombuffer: Any = np.zeros(1).__reduce_ex__(5)[0]
_scalar: Any = np.float64(0).__reduce__()[0]
# Numbers and text. Arrays of objects would be allocated before their elements are there.
DTYPE = r"[<>=|]?(\?|[biufcSU]\d{1,9}|[bBhHiIlLqQefdFD])"
# Copies beyond the size of the file: names, small buffers and repeated arguments.
SPARE_BYTES = 64 << 20
# Tensors may be expanded (stride 0) up to this number of elements.
MAX_EXPANDED = 1 << 20

# The classes themselves warn when they are looked at.
STORAGE_DTYPES = {
    **{"UntypedStorage": torch.uint8, "ByteStorage": torch.uint8, "CharStorage": torch.int8},
    **{"ShortStorage": torch.int16, "IntStorage": torch.int32, "LongStorage": torch.int64},
    **{"HalfStorage": torch.float16, "FloatStorage": torch.float32, "BoolStorage": torch.bool},
    **{"DoubleStorage": torch.float64, "BFloat16Storage": torch.bfloat16},
    **{"ComplexFloatStorage": torch.complex64, "ComplexDoubleStorage": torch.complex128},
}

# Exceptions of unpickling bytes in another format, or damaged ones.
UNREADABLE = (
    *(pickle.UnpicklingError, ArithmeticError, AssertionError, AttributeError, EOFError),
    *(ImportError, LookupError, RuntimeError, TypeError, ValueError, struct.error, MemoryError),
    SystemError,  # from the state of a NumPy dtype
)

# Function of (key, dtype, number of bytes) that returns a storage.
ReadStorage = Callable[[str, torch.dtype, int], torch.UntypedStorage]


class ArrayUnpickler(PythonUnpickler):
    """Unpickler that accepts tensors, NumPy arrays and containers only.

    Args:
        file: file to read; several pickles may follow each other.
        size: number of bytes that the objects may take up.
        read_storage: function that returns a tensor's storage, for files of torch.save.
        load_nested: function that reads a file of torch.save in bytes, as a pickle of a tensor
            holds it; None inside such a file.

    Raises:
        pickle.UnpicklingError: in :meth:`load`, for all other content.
    """

    dispatch: ClassVar[dict[int, Callable[[Any], None]]] = dict(PythonUnpickler.dispatch)

    def __init__(
        self,
        file: BinaryIO,
        size: int,
        read_storage: ReadStorage | None = None,
        load_nested: Callable[[bytes], object] | None = None,
    ) -> None:
        # latin-1 for the bytes in pickles of Python 2.
        super().__init__(file, encoding="latin1")
        self.stack: list[Any]
        self.pop_mark: Callable[[], list[Any]]
        self.read: Callable[[int], bytes]

        def read_line() -> bytes:
            line = file.readline()
            if not line.endswith(b"\n"):  # half of a name would be another name
                raise EOFError("a line without an end")
            return line

        self._file_readline = read_line
        # Twice: protocol 2 holds bytes as text, which is copied to bytes and these to an array.
        self._left = 2 * size + SPARE_BYTES
        self._read_storage, self._load_nested = read_storage, load_nested

    def find_class(self, module: str, name: str) -> object:
        """Return the replacement of a global, or a dtype for the class of a storage."""
        module = "builtins" if module == "__builtin__" else module  # its name in Python 2
        # numpy.core became numpy._core in NumPy 2.
        found = ALLOWED_GLOBALS.get((module.replace("numpy._core", "numpy.core"), name))
        if found is not None:
            return getattr(self, found) if isinstance(found, str) else found
        if module in ("torch", "torch.storage") and name in STORAGE_DTYPES:
            return STORAGE_DTYPES[name]
        if module == "torch" and isinstance(dtype := getattr(torch, name, None), torch.dtype):
            return dtype
        if (module, name) in IGNORED_TYPES:
            return None
        raise pickle.UnpicklingError(f"GLOBAL {module}.{name} is not allowed")

    def persistent_load(self, pid: Any) -> torch.UntypedStorage:
        """Return the storage of ("storage", dtype, key, device, elements, None); all on the CPU."""
        if self._read_storage is None:
            raise pickle.UnpicklingError("a storage outside a file of torch.save")
        kind, dtype, key, _, count, *view = pid
        if kind != "storage" or any(x is not None for x in view):
            raise pickle.UnpicklingError(f"{kind!r} instead of a storage")
        count = _whole(count)
        # The dtype goes along with the storage, as torch's typed storages do.
        storage = self._read_storage(str(key), dtype, count * dtype.itemsize)
        return _TypedStorage((storage, dtype))  # type: ignore[return-value]

    def _charge(self, size: int) -> None:
        self._left -= size
        if self._left < 0:
            raise pickle.UnpicklingError("its objects are larger than the file")

    # Replacements of the globals. Arguments come from the file.

    def _build_tensor(
        self, storage: Any, offset: int, size: Sequence[int], stride: Sequence[int], *rest: Any
    ) -> torch.Tensor:
        """Return a tensor; ``rest`` holds whether it needs a gradient, hooks, and a dtype (v3)."""
        if not isinstance(storage, _TypedStorage):
            raise pickle.UnpicklingError("a tensor without a storage")
        (untyped, dtype), size, stride = storage, [*map(_whole, size)], [*map(_whole, stride)]
        dtype = next((x for x in rest if isinstance(x, torch.dtype)), dtype)
        elements = untyped.nbytes() // dtype.itemsize
        count = math.prod(size)
        last = _whole(offset) + sum((n - 1) * step for n, step in zip(size, stride, strict=True))
        too_large = count > 0 and (last >= elements or count > max(elements, MAX_EXPANDED))
        if too_large or len(size) > 16:
            raise pickle.UnpicklingError(f"a tensor {tuple(size)} in a storage of {elements}")
        return torch.empty(0, dtype=dtype).set_(untyped, offset, size, stride)

    def _build_nested(self, data: bytes) -> object:
        """Return a storage, which a plain pickle holds as a file of torch.save."""
        if self._load_nested is None:
            raise pickle.UnpicklingError("a file of torch.save inside another one")
        self._charge(len(data))
        return self._load_nested(data)

    def _build_array(self, _: None, shape: Sequence[int], __: object) -> np.ndarray:
        """Return the empty array that a state follows."""
        if math.prod(shape):
            raise pickle.UnpicklingError(f"an array {shape} without values")
        return np.empty(0)

    def _build_dtype(self, code: str | bytes, *_: object) -> np.dtype:
        code = code.decode("latin1") if isinstance(code, bytes) else code
        if not isinstance(code, str) or not re.fullmatch(DTYPE, code):
            raise pickle.UnpicklingError(f"an array of {str(code)[:40]!r}, not of numbers")
        return np.dtype(code, copy=True)  # a copy: a state follows, and dtypes are shared

    def _build_frombuffer(
        self, data: bytes, dtype: np.dtype, shape: Sequence[int], order: str
    ) -> np.ndarray:
        self._charge(0 if isinstance(data, bytes | bytearray | pickle.PickleBuffer) else len(data))
        return _frombuffer(data, dtype, shape, order)

    def _build_encode(self, text: str, encoding: str) -> bytes:
        """Return bytes, which protocol 2 holds as text."""
        if encoding not in ("latin1", "latin-1"):
            raise pickle.UnpicklingError(f"bytes in {str(encoding)[:20]!r}")
        self._charge(len(text))
        return text.encode("latin-1")

    def _build_bytes(self, data: bytes | str = b"", encoding: str = "latin-1") -> bytes:
        if isinstance(data, str):
            return self._build_encode(data, encoding)
        if not isinstance(data, bytes | bytearray):  # a number would be a length
            raise pickle.UnpicklingError(f"bytes of {type(data).__name__}")
        self._charge(len(data))
        return bytes(data)

    def _build_bytearray(self, *arguments: Any) -> bytearray:
        return bytearray(self._build_bytes(*arguments))

    def _build_set(self, items: Sequence[Hashable] = ()) -> set:
        self._charge(64 * len(items))
        return set(map(_key, items))

    def _build_frozenset(self, items: Sequence[Hashable] = ()) -> frozenset:
        return frozenset(self._build_set(items))

    def _build_ordered_dict(self, items: Any = ()) -> collections.OrderedDict:
        self._charge(128 * len(items))
        items = list(items.items() if isinstance(items, dict) else items)
        return collections.OrderedDict((_key(key), value) for key, value in items)

    def _build_counter(self, items: dict) -> collections.Counter:
        return collections.Counter(self._build_ordered_dict(items))

    # Opcodes whose target the file could choose. The state of a dict (torch's metadata) is ignored.

    def _load_build(self) -> None:
        state, target = self.stack.pop(), self.stack[-1]
        if isinstance(target, np.ndarray):
            *_, dtype, _, data = state
            if not isinstance(dtype, np.dtype) or isinstance(data, list):
                raise pickle.UnpicklingError("an array of objects")
            self._charge(len(data))
            target.__setstate__(state)
        elif isinstance(target, np.dtype):
            if target.fields or any(x is not None for x in state[2:5]):
                raise pickle.UnpicklingError("an array with fields")
            self.stack[-1].__setstate__(state)
        elif not isinstance(target, dict):
            raise pickle.UnpicklingError(f"a state for {type(target).__name__}")

    def _load_bytearray8(self) -> None:
        # The buffer is not allocated before its bytes are there.
        (size,) = struct.unpack("<Q", self.read(8))
        self.stack.append(bytearray(self.read(size)))

    def _load_setitem(self) -> None:
        value, key = self.stack.pop(), self.stack.pop()
        self._set_items([key, value])

    def _load_setitems(self) -> None:
        self._set_items(self.pop_mark())

    def _load_dict(self) -> None:
        items = self.pop_mark()  # which replaces self.stack
        self.stack.append({})
        self._set_items(items)

    def _set_items(self, items: list[Any]) -> None:
        pairs = zip(map(_key, items[::2]), items[1::2], strict=True)
        self._target(dict).update(pairs)

    def _target(self, kind: type) -> Any:
        if not isinstance(target := self.stack[-1], kind):
            raise pickle.UnpicklingError(f"items for {type(target).__name__}")
        return target

    def _load_additems(self) -> None:
        items = self.pop_mark()
        self._target(set).update(map(_key, items))

    def _load_frozenset(self) -> None:
        items = self.pop_mark()
        self.stack.append(frozenset(map(_key, items)))

    dispatch |= {
        pickle.BUILD[0]: _load_build,
        pickle.BYTEARRAY8[0]: _load_bytearray8,
        pickle.SETITEM[0]: _load_setitem,
        pickle.SETITEMS[0]: _load_setitems,
        pickle.DICT[0]: _load_dict,
        pickle.ADDITEMS[0]: _load_additems,
        pickle.FROZENSET[0]: _load_frozenset,
    }


# (module, name) in a pickle, to the method of ArrayUnpickler or the function that replaces it.
ALLOWED_GLOBALS: dict[tuple[str, str], str | Callable[..., object]] = {
    ("_codecs", "encode"): "_build_encode",
    ("builtins", "bytes"): "_build_bytes",
    ("builtins", "bytearray"): "_build_bytearray",
    ("builtins", "set"): "_build_set",
    ("builtins", "frozenset"): "_build_frozenset",
    ("builtins", "complex"): lambda real, imaginary: complex(real, imaginary),
    ("collections", "OrderedDict"): "_build_ordered_dict",
    ("collections", "Counter"): "_build_counter",
    ("torch", "Size"): lambda size: torch.Size(size),
    ("torch", "device"): lambda *_: torch.device("cpu"),
    ("torch.storage", "_load_from_bytes"): "_build_nested",
    ("torch._tensor", "_rebuild_from_type_v2"): lambda rebuild, _, args, __: rebuild(*args),
    ("torch._utils", "_rebuild_tensor_v2"): "_build_tensor",
    ("torch._utils", "_rebuild_tensor_v3"): "_build_tensor",
    ("torch._utils", "_rebuild_parameter"): lambda data, *_: data,
    ("torch._utils", "_rebuild_parameter_with_state"): lambda data, *_: data,
    ("numpy", "dtype"): "_build_dtype",
    ("numpy.core.multiarray", "_reconstruct"): "_build_array",
    ("numpy.core.multiarray", "scalar"): lambda dtype, data: _scalar(dtype, data),
    ("numpy.core.numeric", "_frombuffer"): "_build_frombuffer",
}
# Classes that are only arguments, which are ignored.
IGNORED_TYPES = (
    *(("numpy", "ndarray"), ("torch", "Tensor")),
    *(("torch._tensor", "Tensor"), ("torch.nn.parameter", "Parameter")),
)


def explain_unreadable(error: Exception, what_it_is: str) -> str:
    """Return why a file was refused; ``what_it_is`` says so for one that is damaged."""
    if forbidden := re.search(r"GLOBAL ([\w.]+)", str(error)):
        return (
            f"refused, because it asks for {forbidden[1][:80]}: such a file can run code when it "
            "is read. Data need nothing but tensors, arrays and plain containers"
        )
    reason = str(error).strip().partition("\n")[0][:120]
    return f"{what_it_is} ({type(error).__name__}: {reason})"


class _TypedStorage(tuple):
    """Storage and dtype of its elements."""


def _whole(number: object) -> int:
    """Return a number of elements."""
    if not isinstance(number, int) or number < 0:
        raise pickle.UnpicklingError(f"{str(number)[:20]} elements")
    return number


def _key(key: Any) -> Hashable:
    """Return a key. The hash of a tuple is that of its elements, in recursion without a limit."""
    if isinstance(key, tuple) and any(isinstance(x, tuple) for x in key):
        raise pickle.UnpicklingError("a key of nested tuples")
    return key
