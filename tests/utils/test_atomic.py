import os

import numpy as np
import pytest

from avsf_det.utils.atomic import JsonLinesLog, atomic_path, write_atomic


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
