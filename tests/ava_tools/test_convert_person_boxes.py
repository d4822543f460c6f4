import pickle
from pathlib import Path

import numpy as np
import pytest

from ava_tools import convert_person_boxes as tool
from avsf_det.structures.ava_csv import read_person_boxes


def convert(folder: Path, data: object) -> int:
    (folder / "boxes.pkl").write_bytes(pickle.dumps(data))
    return tool.main(["--input", f"{folder}/boxes.pkl", "--output", f"{folder}/out/boxes.csv"])


def test_boxes_of_multisports(tmp_path: Path, capsys):
    boxes = np.array([[0.1, 0.2, 0.3, 0.4, 0.9], [0.5, 0.5, 1.001, 1, 0.06], [0.2, 0, 0.2, 1, 0.5]])
    data = {"football/v_b_c001,12": boxes, "football/v_a_c001, 3": boxes[:1], "x,0902": []}
    assert convert(tmp_path, data) == 0
    assert "3 boxes of 3 keyframes" in capsys.readouterr().out
    read = read_person_boxes(tmp_path / "out" / "boxes.csv")
    assert [*read] == [("football-v_a_c001", 3), ("football-v_b_c001", 12)]
    found, scores = read["football-v_b_c001", 12]
    np.testing.assert_array_equal(found, np.float32([[0.1, 0.2, 0.3, 0.4], [0.5, 0.5, 1, 1]]))
    np.testing.assert_array_equal(scores, np.float32([0.9, 0.06]))
    assert convert(tmp_path, data) == 1
    assert "is there already" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ([1], "is no dict of boxes"),
        ({"v": np.zeros((1, 5))}, "entry 'v' is no array"),
        ({"v,1": np.full((1, 5), np.nan)}, "entry 'v,1' is no array"),
        ({"v,1": np.zeros((1, 4))}, "entry 'v,1' is no array"),
        ({"v,1": [[10, 10, 50, 50, 1]]}, "is in pixels"),
    ],
)
def test_other_content_is_named(tmp_path: Path, data: object, message: str, capsys):
    assert convert(tmp_path, data) == 1
    assert message in capsys.readouterr().err
