import os
import zipfile

import numpy as np
import pytest

from ava_tools.support.json_lines import JsonLinesLog
from avsf_det.utils.atomic import atomic_path, open_atomic, write_atomic
from avsf_det.utils.npz import read_npz

from ..checkpoint.test_safe_checkpointer import full_disk


@pytest.mark.parametrize("content", ["a line\r\nwith an umlaut: \u00fc\n", b"\x00\xff", ""])
def test_content_is_written_as_it_is(tmp_path, content):
    path = tmp_path / "new" / "folder" / "file.txt"
    write_atomic(path, content)
    assert path.read_bytes() == (content.encode() if isinstance(content, str) else content)
    assert os.listdir(path.parent) == ["file.txt"]


def test_an_existing_file_is_replaced(tmp_path):
    path = tmp_path / "file.txt"
    path.write_text("a much longer text than the new one")
    write_atomic(str(path), "new")
    assert path.read_text() == "new"


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_an_error_leaves_the_old_file_and_nothing_else(tmp_path, error):
    path = tmp_path / "file.txt"
    path.write_text("old")
    with pytest.raises(error), atomic_path(path) as temporary:
        temporary.write_text("half of the n")
        assert path.read_text() == "old"
        raise error
    assert path.read_text() == "old" and os.listdir(tmp_path) == ["file.txt"]


def test_a_killed_process_leaves_the_old_file_and_the_next_run_succeeds(tmp_path):
    path = tmp_path / "file.txt"
    path.write_text("old")
    if (child := os.fork()) == 0:
        with atomic_path(path) as temporary:
            temporary.write_text("a longer half of the new tex")
            os._exit(9)
    os.waitpid(child, 0)
    assert path.read_text() == "old" and len(os.listdir(tmp_path)) == 2
    write_atomic(path, "new")
    assert path.read_text() == "new" and os.listdir(tmp_path) == ["file.txt"]


def test_libraries_find_their_suffix(tmp_path):
    with atomic_path(tmp_path / "a.npz") as temporary:
        np.savez(temporary, x=np.arange(3))  # appends .npz to any other suffix
    assert np.load(tmp_path / "a.npz")["x"].tolist() == [0, 1, 2]


def test_a_log_continues_where_it_was_closed(tmp_path):
    path = tmp_path / "new" / "log.jsonl"
    with JsonLinesLog(path) as log:
        assert list(log) == [] and not path.exists()
        log.append({"second": 0.1, "boxes": [[0.25, 1]]})
        assert list(log) == [{"second": 0.1, "boxes": [[0.25, 1]]}]  # also while it is open
    with JsonLinesLog(path) as log:
        log.append([None, "\n\u00fc"])
        log.close()
        log.append(3)
    assert list(JsonLinesLog(path)) == [
        {"second": 0.1, "boxes": [[0.25, 1]]},
        [None, "\n\u00fc"],
        3,
    ]
    assert len(path.read_bytes().splitlines()) == 3


@pytest.mark.parametrize("torn", [b'{"second": 1', b"[1, 2]", b"\xc3"])
def test_a_torn_last_line_is_skipped_and_then_removed(tmp_path, torn):
    path = tmp_path / "log.jsonl"
    path.write_bytes(b"[1]\n[2]\n" + torn)
    log = JsonLinesLog(path)
    assert list(log) == [[1], [2]]
    assert path.read_bytes() == b"[1]\n[2]\n" + torn  # reading changes nothing
    log.resume()
    assert path.read_bytes() == b"[1]\n[2]\n"
    log.append([3])
    assert path.read_bytes() == b"[1]\n[2]\n[3]\n"
    log.close()


def test_a_line_that_is_not_json_is_named(tmp_path):
    path = tmp_path / "log.jsonl"
    path.write_text("[1]\nvideo,second\n")
    with pytest.raises(ValueError, match=r"log\.jsonl:2: not a line of JSON\. Delete the file"):
        list(JsonLinesLog(path))


@pytest.mark.parametrize(
    "write",
    [
        lambda path: write_atomic(path, "x" * 5000),
        lambda path: np.savez(path, x=np.zeros(5000)),
    ],
)
def test_a_full_disk_leaves_the_old_file_and_names_it(tmp_path, write):
    path = tmp_path / "a.npz"
    path.write_text("old")
    with full_disk(1000), pytest.raises(OSError, match=f"File too large: '{path}'"):
        with atomic_path(path) as temporary:
            write(temporary)
    assert path.read_text() == "old" and os.listdir(tmp_path) == ["a.npz"]


def test_folders_files_and_devices_in_the_way(tmp_path):
    (tmp_path / "file").write_text("mine")
    for path in (tmp_path / "file" / "x.csv", tmp_path / "file" / "deep" / "x.csv"):
        with pytest.raises(NotADirectoryError, match=r"file is a file, not a folder"):
            write_atomic(path, "x")
        with pytest.raises(NotADirectoryError, match=r"file is a file, not a folder"):
            JsonLinesLog(path).append(1)
    (tmp_path / "folder").mkdir()
    with pytest.raises(IsADirectoryError, match="folder: is a folder"):
        write_atomic(tmp_path / "folder", "x")
    assert (tmp_path / "file").read_text() == "mine"

    write_atomic(os.devnull, "x")
    assert not os.path.isfile(os.devnull)
    with pytest.raises(OSError, match="No space left on device: '/dev/full'"):
        write_atomic("/dev/full", "x")

    (tmp_path / "link").symlink_to(tmp_path / "file")
    write_atomic(tmp_path / "link", "new")
    assert (tmp_path / "link").is_symlink() and (tmp_path / "file").read_text() == "new"


def test_errors_of_other_files_and_of_the_block_stay(tmp_path):
    for error in (FileNotFoundError(2, "No such file", "input.csv"), RuntimeError("a bug")):
        with pytest.raises(type(error)) as caught, atomic_path(tmp_path / "x"):
            raise error
        assert caught.value is error


def test_the_file_is_on_the_disk_before_it_gets_its_name(tmp_path, monkeypatch):
    calls, replace = [], os.replace
    monkeypatch.setattr(os, "fsync", lambda _: calls.append("sync"))
    monkeypatch.setattr(os, "replace", lambda *x: (calls.append("rename"), replace(*x)))
    write_atomic(tmp_path / "x", "x")
    assert calls == ["sync", "rename", "sync"]


def test_text_is_utf_8_in_every_locale(tmp_path, monkeypatch):
    monkeypatch.setattr("locale.getpreferredencoding", lambda *_: "ascii")
    monkeypatch.setattr("locale.getencoding", lambda: "ascii", raising=False)
    with open_atomic(tmp_path / "x") as file:
        file.write("\u52a8\u4f5c\r\n")
    assert (tmp_path / "x").read_bytes() == "\u52a8\u4f5c\r\n".encode()


def test_a_log_goes_on_when_there_is_room(tmp_path):
    path = tmp_path / "log.jsonl"
    with JsonLinesLog(path) as log:
        log.append("x" * 500)
        with full_disk(1000), pytest.raises(OSError, match=f"File too large: '{path}'"):
            log.append("y" * 900)
    with JsonLinesLog(path) as log:
        assert list(log) == ["x" * 500]
        log.append("z")
    assert list(JsonLinesLog(path)) == ["x" * 500, "z"]


def test_deep_nesting_is_no_line_of_json(tmp_path):
    path = tmp_path / "log.jsonl"
    path.write_text("[1]\n" + "[" * 10**6 + "\n")
    with pytest.raises(ValueError, match=r"log\.jsonl:2: not a line of JSON"):
        list(JsonLinesLog(path))


def test_npz_files_that_are_damaged_or_declare_too_much(tmp_path, monkeypatch):
    monkeypatch.setattr("avsf_det.utils.npz.LARGEST_COMPRESSED", 1 << 20)
    path = tmp_path / "a.npz"
    np.savez_compressed(path, x=np.arange(3))
    assert read_npz(path)["x"].tolist() == [0, 1, 2]
    np.savez(path, x=np.arange(1000))
    whole = path.read_bytes()
    header = (
        b"\x93NUMPY\x01\x00v\x00{'descr': '<f8', 'fortran_order': False, 'shape': (99999999999,)"
    )
    entries = {
        "bomb": lambda archive: archive.writestr("x.npy", bytes(2**21)),
        "shape": lambda archive: archive.writestr("x.npy", header + b", }\n"),
    }
    contents = {
        "flipped": whole[:3000] + bytes([whole[3000] ^ 1]) + whole[3001:],
        "torn": whole[:-50],
        "empty": b"",
        "other": b"a,b\n",
    }
    for name in [*entries, *contents]:
        if name in contents:
            path.write_bytes(contents[name])
        else:
            with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
                entries[name](archive)
        with pytest.raises(ValueError, match=r"a\.npz: not an npz file that is complete") as error:
            read_npz(path)
        assert "\n" not in str(error.value)
