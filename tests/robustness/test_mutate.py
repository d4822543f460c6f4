import json

import pytest

from avsf_det.structures import AnnotationError

from .mutate import check_reader, mutated_json, mutated_json_files, mutations

DATA = b'id,second\n"a b",1.5\nc,2\n'
VALUE = {"a": [1, {"b": "c"}], "d": None}


def test_one_seed_gives_one_sequence():
    assert list(mutations(DATA, 50, 3)) == list(mutations(DATA, 50, 3))
    assert list(mutations(DATA, 50, 3)) != list(mutations(DATA, 50, 4))
    first, second = (list(map(repr, mutated_json(VALUE, 50, 3))) for _ in range(2))
    assert first == second != list(map(repr, mutated_json(VALUE, 50, 4)))


def test_nearly_all_mutations_change_something_and_differ():
    files = list(mutations(DATA, 300, 0))
    assert len(files) == 300 and len(set(files)) > 200 and files.count(DATA) < 30
    values = [repr(value) for value in mutated_json(VALUE, 300, 0)]
    assert len(values) == 300 and len(set(values)) > 120 and values.count(repr(VALUE)) < 40
    assert VALUE == {"a": [1, {"b": "c"}], "d": None}


def test_what_is_empty_can_be_mutated():
    assert len(list(mutations(b"", 50, 0))) == 50
    assert len(list(mutated_json([], 50, 0))) == 50


def test_json_files_are_mutated_by_structure_and_by_bytes():
    files = list(mutated_json_files(json.dumps(VALUE).encode(), 101, 0))
    assert len(files) == 101
    parsed = 0
    for file in files:
        try:
            json.loads(file)
            parsed += 1
        except ValueError:
            pass
    assert 50 <= parsed < 101


def raising(error):
    def read(path):
        raise error

    return read


def test_readers_give_a_result_or_one_line_with_the_name_of_the_file(tmp_path):
    path = tmp_path / "a.csv"
    assert check_reader(lambda path: None, path, [b"1", b"2"]) == 2
    assert path.read_bytes() == b"2"
    assert check_reader(raising(AnnotationError(f"{path}:1: wrong")), path, [b"1"]) == 0
    for message in ("wrong", f"{path}: a\nb", f"{path}: {'a' * 300}"):
        error = AnnotationError()
        error.args = (message,)  # set here, the message is not shortened
        with pytest.raises(AssertionError):
            check_reader(raising(error), path, [b"1"])
    with pytest.raises(KeyError):
        check_reader(raising(KeyError("x")), path, [b"1"])
