"""Files are recognised by their content, and no code in them is run."""

import collections
import os
import pickle
import re
from pathlib import Path

import numpy as np
import pytest
import torch

from avsf_det.checkpoint import (
    CheckpointError,
    find_weights,
    read_checkpoint,
    safe_load,
)
from avsf_det.utils import array_unpickler

WEIGHTS = {"layer1.0.conv1.weight": torch.arange(6.0).view(1, 2, 3)}


class Evil:
    """Object that creates a file when it is unpickled."""

    def __init__(self, marker: Path):
        self.marker = marker

    def __reduce__(self):
        return os.system, (f"touch {self.marker}",)


WRITERS = {
    "zip": lambda data, path: torch.save(data, path),
    "legacy": lambda data, path: torch.save(data, path, _use_new_zipfile_serialization=False),
    "pickle 2": lambda data, path: path.write_bytes(pickle.dumps(data, protocol=2)),
    "pickle 5": lambda data, path: path.write_bytes(pickle.dumps(data, protocol=5)),
}


@pytest.mark.parametrize("kind", WRITERS)
@pytest.mark.parametrize("name", ["w.pkl", "w.pyth", "w.pth", "w"])
def test_the_name_of_a_file_does_not_matter(kind: str, name: str, tmp_path: Path):
    weights = WEIGHTS
    if kind.startswith("pickle"):
        weights = {k: v.numpy() for k, v in WEIGHTS.items()}
    WRITERS[kind]({"state_dict": weights, "epoch": 3}, tmp_path / name)
    state, name_format, rest = read_checkpoint(str(tmp_path / name))
    (value,) = state.values()
    assert torch.equal(value, WEIGHTS["layer1.0.conv1.weight"])
    assert name_format == "torchvision" and rest == {}


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("value", [0, 0x7F, 0xFF])
def test_files_of_any_size_are_read_from_every_protocol(protocol, value, tmp_path, monkeypatch):
    """Bytes are text in the first protocols, of one or two bytes each."""
    monkeypatch.setattr(array_unpickler, "SPARE_BYTES", 0)
    blobs = {name: np.full(1000, value, np.uint8) for name in "ab"}
    (tmp_path / "w.pkl").write_bytes(pickle.dumps({"blobs": blobs}, protocol))
    loaded = safe_load(str(tmp_path / "w.pkl"))
    np.testing.assert_array_equal(loaded["blobs"]["b"], blobs["b"])


@pytest.mark.parametrize("kind", WRITERS)
@pytest.mark.parametrize("name", ["evil.pkl", "evil.pth"])
def test_a_file_that_would_run_code_is_refused(kind: str, name: str, tmp_path: Path):
    marker, path = tmp_path / "marker", tmp_path / name
    WRITERS[kind]({"model": dict.fromkeys(WEIGHTS, Evil(marker))}, path)
    message = rf"{re.escape(str(path))}: refused, because it asks for (posix|nt)\.system: .* code"
    with pytest.raises(CheckpointError, match=message):
        safe_load(str(path))
    assert not marker.exists()
    pickle.loads(pickle.dumps(Evil(marker)))  # else this test proves nothing
    assert marker.exists()


@pytest.mark.parametrize(
    ("code", "name"),
    [
        (b"cposix\nsystem\n(S'true'\ntR.", "posix.system"),
        (b"c__builtin__\neval\n(S'1'\ntR.", "builtins.eval"),
        (b"(S'true'\niposix\nsystem\n.", "posix.system"),
        (b"\x80\x04\x8c\x08builtins\x8c\x07getattr\x93.", "builtins.getattr"),
        (b"cnumpy.core.multiarray\n__dict__\n.", "numpy.core.multiarray.__dict__"),
        (b"\x80\x04\x8c\x05numpy\x8c\x0edtype.__init__\x93.", "numpy.dtype.__init__"),
        (b"\x80\x02ctorch._utils\n_rebuild_tensor\n.", "torch._utils._rebuild_tensor"),
    ],
)
def test_handwritten_pickles_are_refused(code: bytes, name: str, tmp_path: Path):
    (tmp_path / "w.pkl").write_bytes(code)
    with pytest.raises(CheckpointError, match=f"asks for {re.escape(name)}: "):
        safe_load(str(tmp_path / "w.pkl"))


@pytest.mark.parametrize("protocol", range(6))
def test_pickles_of_arrays_and_containers(protocol: int, tmp_path: Path):
    data = collections.OrderedDict(
        a=np.arange(6, dtype=np.float32).reshape(2, 3),
        transposed=np.arange(6).reshape(2, 3).T,
        scalar=np.float64(0.5),
        names=np.array(["x", "yz"]),
        others=[b"\x80\xff", {1, 2}, frozenset(), complex(1, 2), (None, True, "ü")],
    )
    path = tmp_path / "w"
    path.write_bytes(pickle.dumps(data, protocol=protocol))
    got = safe_load(str(path))
    assert got.keys() == data.keys() and got["others"] == data["others"]
    for key in ("a", "transposed", "names"):
        np.testing.assert_array_equal(got[key], data[key])
    assert got["scalar"] == 0.5 and got["scalar"].dtype == np.float64


@pytest.mark.parametrize("core", [b"core", b"_core"])
def test_arrays_of_numpy_1_and_2_and_of_python_2(core: bytes, tmp_path: Path):
    """Written by hand: the module of arrays has two names, and Python 2's bytes are latin-1."""
    array = (
        b"cnumpy.%s.multiarray\n_reconstruct\n(cnumpy\nndarray\n(I0\ntS'b'\ntR(I1\n(I2\ntcnumpy\n"
        b"dtype\n(S'f4'\nI0\nI1\ntR(I3\nS'<'\nNNNI-1\nI-1\nI0\ntbI00\nS'%s'\ntb."
    )
    values = rb"\x00\x00\x80?\x00\x00\x00\xc0"
    (tmp_path / "w").write_bytes(array % (core, values))
    np.testing.assert_array_equal(safe_load(str(tmp_path / "w")), np.float32([1, -2]))


@pytest.mark.parametrize("kind", ["zip", "legacy"])
def test_numpy_numbers_in_a_training_checkpoint(kind: str, tmp_path: Path):
    path = tmp_path / "w"
    data = {"best": np.float64(0.25), "step": np.int64(3), "ap": np.float32([1, 2])}
    WRITERS[kind]({"model": WEIGHTS, "hooks": data}, path)
    hooks = safe_load(str(path))["hooks"]
    assert hooks["best"] == 0.25 and hooks["step"] == 3
    np.testing.assert_array_equal(hooks["ap"], [1, 2])


@pytest.mark.parametrize("kind", WRITERS)
def test_a_truncated_file_is_an_error(kind: str, tmp_path: Path):
    path = tmp_path / "w.pth"
    weights = {k: v.numpy() if "pickle" in kind else v for k, v in WEIGHTS.items()}
    WRITERS[kind](weights, path)
    whole = path.read_bytes()
    for size in (len(whole) - 1, len(whole) // 2, 70, 3):
        if size < len(whole):
            path.write_bytes(whole[:size])
            with pytest.raises(CheckpointError, match=rf"{path}: neither a complete file"):
                safe_load(str(path))


@pytest.mark.parametrize("content", [b"", b"hello\n", b"<html>", bytes(100), b"PK\x03\x04", b"."])
def test_other_files_are_an_error(content: bytes, tmp_path: Path):
    (tmp_path / "w.pth").write_bytes(content)
    with pytest.raises(CheckpointError, match=r"neither a complete file of torch\.save nor a"):
        safe_load(str(tmp_path / "w.pth"))


def test_containers_and_prefixes():
    array = np.zeros(2)
    for key in ("model_state", "blobs", "model", "state_dict"):
        state, rest = find_weights({"epoch": 1, key: {"a": array}}, "f")
        assert state == {"a": array} and rest == {"epoch": 1}
    assert find_weights({"module.a": array, "module.b": array}, "f")[0].keys() == {"a", "b"}
    assert find_weights({"module.a": array, "b": array}, "f")[0].keys() == {"module.a", "b"}


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ([1, 2], "f: contains no weights: .*; it is of type list"),
        ({}, "f: contains no weights: .*; it is a dict with nothing"),
        ({"model": {}}, "f: contains no weights: .*; it is a dict with 'model'"),
        ({"cfg": "x"}, "f: entry 'cfg' of the weights is no array of numbers, but of type str"),
        ({"a": np.array(["x"])}, "f: entry 'a' of the weights is no array of numbers, but an ar"),
        ({"model": {1: np.zeros(1)}}, "f: entry 1 of the weights"),
    ],
)
def test_files_without_weights_are_an_error(data: object, message: str):
    with pytest.raises(CheckpointError, match=message):
        find_weights(data, "f")


def test_unknown_names_name_the_file(tmp_path: Path):
    torch.save({"backbone.bottom_up.x": torch.zeros(1)}, tmp_path / "w.pth")
    with pytest.raises(CheckpointError, match=r"w\.pth: .*unknown names \(backbone\.bottom_up\.x"):
        read_checkpoint(str(tmp_path / "w.pth"))
