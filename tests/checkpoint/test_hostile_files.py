"""Damaged and hostile checkpoints end in one line, in little memory; none loads silently."""

import io
import os
import pickle
import resource
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from avsf_det.checkpoint import CheckpointError, find_weights, safe_load

WEIGHTS = {"a": torch.arange(4096.0), "b": torch.arange(3)}
Q, I = (lambda n: struct.pack("<Q", n)), (lambda n: struct.pack("<I", n))  # noqa: E741
GLOBAL = b"c%s\n%s\n"
RECONSTRUCT = GLOBAL % (b"numpy.core.multiarray", b"_reconstruct")
NDARRAY, DTYPE = GLOBAL % (b"numpy", b"ndarray"), GLOBAL % (b"numpy", b"dtype")
EMPTY_ARRAY = RECONSTRUCT + b"(" + NDARRAY + b"(K\x00tC\x01btR"
HUGE = 1 << 35

PICKLES = {
    "long4": b"\x80\x02\x8b" + struct.pack("<i", 2**31 - 1) + b"1.",
    "binbytes": b"\x80\x03B" + I(2**32 - 1) + b"x.",
    "binbytes8": b"\x80\x04\x8e" + Q(HUGE) + b"x.",
    "binbytes8, more than a size": b"\x80\x04\x8e" + Q(2**64 - 1) + b"x.",
    "binunicode": b"\x80\x02X" + I(2**32 - 1) + b"x.",
    "binunicode8": b"\x80\x04\x8d" + Q(HUGE) + b"x.",
    "bytearray8": b"\x80\x05\x96" + Q(HUGE) + b"x.",
    "frame": b"\x80\x04\x95" + Q(HUGE) + b"N.",
    "memo index": b"\x80\x02Nr" + I(2**32 - 1) + b".",
    "text memo index": b"Np4000000000\n.",
    "digits": b"I" + b"9" * 10**6 + b"\n.",
    "bytes of a length": GLOBAL % (b"builtins", b"bytes") + b"(\x8b\x05\0\0\0\0\0\0\0\x10tR.",
    "bytearray of a length": GLOBAL % (b"builtins", b"bytearray") + b"(J\xff\xff\xff\x7ftR.",
    "array without values": RECONSTRUCT + b"(" + NDARRAY + b"(J\xff\xff\xff\x7fJ\xff\xff\xff\x7ft"
    b"C\x01btR.",
    "array called": NDARRAY + b"(J\xff\xff\xff\x7ftR.",
    "array of objects": EMPTY_ARRAY + b"(K\x01(J\xff\xff\xff\x7ft" + DTYPE + b"(C\x01OtR\x89]tb.",
    "array larger than its values": EMPTY_ARRAY
    + b"(K\x01(J\xff\xff\xff\x7ft"
    + DTYPE
    + b"(X\x02\0\0\0f4tR\x89C\x04\0\0\0\0tb.",
    "dtype of subarrays": DTYPE + b"(X\x0e\0\0\0(2000000000,)f4tR.",
    "wide dtype": DTYPE + b"(X\x0c\0\0\0V99999999999tR.",
    "scalar without a value": GLOBAL % (b"numpy.core.multiarray", b"scalar")
    + b"("
    + DTYPE
    + b"(X\x0a\0\0\0S999999999tRtR.",
    "doubling codec": GLOBAL % (b"_codecs", b"encode") + b"(C\x01xX\x03\0\0\0hextR.",
    "deep key": b"}N" + b"\x85" * 200_000 + b"Ns.",
    "deep member of a set": b"\x80\x04\x8f(N" + b"\x85" * 200_000 + b"\x90.",
    "deep member of a frozenset": b"\x80\x04(N" + b"\x85" * 200_000 + b"\x91.",
    "copies of one argument": b"\x80\x03B"
    + I(10**6)
    + bytes(10**6)
    + b"q\x01]q\x02"
    + (b"h\x02c__builtin__\nbytearray\nh\x01\x85Ra0" * 2000)
    + b".",
    "state of a function": GLOBAL % (b"_codecs", b"encode") + b"}X\x01\0\0\0aK\x01sb.",
    "state of a shared dtype": DTYPE + b"(C\x02f4tR(K\x03C\x01>K\x01NNJ\xff\xff\xff\x7fK\x01K\0tb.",
    "persistent id": b"(X\x07\0\0\0storageK\x01X\x01\0\0\0aX\x01\0\0\0bJ\xff\xff\xff\x7ftQ.",
    "nested file of torch.save": GLOBAL % (b"torch.storage", b"_load_from_bytes")
    + b"(C\x04abcdtR.",
    "no stop": b"\x80\x02}" * 3,
}


def refused(path: Path) -> str:
    """Return the message of the refusal, which is one line, and came with little memory."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(CheckpointError) as caught:
        find_weights(safe_load(str(path)), str(path))
    message = str(caught.value)
    assert message.startswith(str(path)) and "\n" not in message
    assert len(message) <= 300 + len(str(path))
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 500 << 10  # KiB
    return message


@pytest.mark.parametrize("name", PICKLES)
@pytest.mark.parametrize("in_zip", [False, True], ids=["plain", "zip"])
def test_pickles_that_declare_more_than_they_hold(name: str, in_zip: bool, tmp_path: Path):
    path = tmp_path / "w"
    if in_zip:
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("w/data.pkl", PICKLES[name])
    else:
        path.write_bytes(PICKLES[name])
    refused(path)


def test_nesting_of_lists_is_no_crash(tmp_path: Path):
    (tmp_path / "w").write_bytes(b"]" * 200_000 + b"a" * 199_999 + b".")
    assert "contains no weights" in refused(tmp_path / "w")


def test_a_nested_file_in_a_nested_file(tmp_path: Path):
    inner, data = GLOBAL % (b"torch.storage", b"_load_from_bytes"), b"N."
    for _ in range(3):
        head = io.BytesIO()
        torch.save({}, head, _use_new_zipfile_serialization=False)
        start = head.getvalue().index(b"}q\x00.")
        data = b"\x80\x03" + inner + b"(B" + I(len(data) + start) + head.getvalue()[:start] + data
        data += b"tR."
    (tmp_path / "w").write_bytes(data)
    refused(tmp_path / "w")


def rewrite(path: Path, change: Callable[[str, bytes], bytes], **kwargs) -> None:
    """Write the entries of a zip file again, with other content."""
    with zipfile.ZipFile(path) as archive:
        entries = {entry.filename: archive.read(entry) for entry in archive.infolist()}
    with zipfile.ZipFile(path, "w", **kwargs) as archive:
        for name, data in entries.items():
            archive.writestr(name, change(name, data))


def test_zip_entries_that_are_compressed(tmp_path: Path):
    torch.save(WEIGHTS, path := tmp_path / "w")
    rewrite(path, lambda _, data: data, compression=zipfile.ZIP_STORED)
    assert safe_load(str(path)).keys() == WEIGHTS.keys()
    rewrite(path, lambda _, data: data, compression=zipfile.ZIP_DEFLATED)
    assert "is compressed; torch.save does not compress" in refused(path)


@pytest.mark.parametrize("field", [20, 24], ids=["compressed size", "size"])
def test_zip_sizes_larger_than_the_file(field: int, tmp_path: Path):
    torch.save(WEIGHTS, path := tmp_path / "w")
    content = bytearray(path.read_bytes())
    start = content.rindex(b"PK\x01\x02")  # the last entry of the directory
    content[start + field : start + field + 4] = I(2**31)
    path.write_bytes(content)
    refused(path)
    content[start + 20 : start + 28] = I(2**31) * 2
    path.write_bytes(content)
    assert "larger than the file" in refused(path)


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_zip_entries_of_one_name_or_place(tmp_path: Path):
    torch.save(WEIGHTS, path := tmp_path / "w")
    whole = path.read_bytes()
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("w/data/0", b"x")
    assert "two entries of one name" in refused(path)

    # The directory says that one storage lies where another one does.
    content = bytearray(whole)
    starts = [i for i in range(len(content)) if content[i : i + 4] == b"PK\x01\x02"]
    content[starts[1] + 42 : starts[1] + 46] = content[starts[0] + 42 : starts[0] + 46]
    path.write_bytes(content)
    assert "overlaps with another entry" in refused(path)


def test_tensors_larger_than_their_storage(tmp_path: Path):
    torch.save(WEIGHTS, path := tmp_path / "w")
    rewrite(path, lambda n, data: data[:100] if n.endswith("data/0") else data)
    assert "storage 0 of 100 bytes, not 16384" in refused(path)
    # Strides of 0: many elements of little memory.
    huge = torch.zeros(1).expand(1 << 30, 1 << 20)
    torch.save({"a": huge}, path)
    assert "a tensor (1073741824, 1048576) in a storage of 1" in refused(path)
    torch.save({"a": torch.arange(2.0).expand(3, 2)}, path)
    assert safe_load(str(path))["a"].tolist() == [[0, 1]] * 3


WRITERS = {
    "zip": lambda path: torch.save(WEIGHTS, path),
    "legacy": lambda path: torch.save(WEIGHTS, path, _use_new_zipfile_serialization=False),
    "pickle": lambda path: path.write_bytes(
        pickle.dumps({k: v.numpy() for k, v in WEIGHTS.items()})
    ),
}


@pytest.mark.parametrize("kind", WRITERS)
def test_flipped_bytes(kind: str, tmp_path: Path):
    """A zip file has checksums; in the others, a changed value is a finite number of its type."""
    path, random = tmp_path / "w", np.random.default_rng(0)
    WRITERS[kind](path)
    whole, loaded = path.read_bytes(), 0
    for position in random.integers(0, len(whole), 60):
        content = bytearray(whole)
        content[position] ^= int(random.integers(1, 256))
        path.write_bytes(content)
        try:
            state, _ = find_weights(safe_load(str(path)), "w")
        except CheckpointError as error:
            assert "\n" not in str(error)
            continue
        loaded += 1
        if kind == "zip":  # a byte without a meaning, such as the time of an entry
            assert all(torch.equal(state[name], x) for name, x in WEIGHTS.items())
    assert kind != "zip" or loaded < 20


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16])
def test_weights_must_be_finite(value: float, dtype: torch.dtype):
    weights = torch.zeros(3, 2, dtype=dtype)
    assert find_weights({"ok": weights}, "f")
    weights[2, 1] = value
    with pytest.raises(CheckpointError, match=r"f: weight 'head\.w' holds NaN or infinite values"):
        find_weights({"ok": torch.zeros(2), "head.w": weights}, "f")
    if dtype != torch.bfloat16:
        with pytest.raises(CheckpointError, match=r"f: weight 'head\.w' holds NaN"):
            find_weights({"head.w": weights.numpy()}, "f")


def test_types_of_training_checkpoints(tmp_path: Path):
    from collections import Counter

    shared = torch.arange(6.0)
    parts = {
        "views": [shared[2:], shared.view(2, 3).T, shared],
        "parameter": torch.nn.Parameter(torch.ones(2)),
        "types": [torch.zeros(1, dtype=d) for d in (torch.bool, torch.uint16, torch.complex64)],
        "others": [Counter("aab"), torch.float16, torch.Size([1, 2]), torch.device("cpu"), {1}],
        "random": (torch.get_rng_state(), np.random.RandomState(3).get_state(), (3, (1, 2), None)),
    }
    for zipped in (True, False):
        torch.save(parts, path := tmp_path / "w", _use_new_zipfile_serialization=zipped)
        got = safe_load(str(path))
        assert got["others"] == parts["others"]
        for name in ("views", "types"):
            assert all(map(torch.equal, got[name], parts[name]))
        assert [x.dtype for x in got["types"]] == [x.dtype for x in parts["types"]]
        assert got["views"][0].data_ptr() == got["views"][2][2:].data_ptr()
        assert torch.equal(got["parameter"], parts["parameter"])
        torch.set_rng_state(got["random"][0])
        np.random.RandomState().set_state(got["random"][1])
    assert os.path.getsize(path) < 20000
