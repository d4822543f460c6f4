"""Logs of finished batches whose lines are damaged."""

import json

import pytest

from ava_tools.action_demo.prediction_log import PredictionLog
from ava_tools.inference.person_boxes import PartialResults
from avsf_det.data import AnnotationError
from avsf_det.engine.predictor import PredictorError

SETTINGS = {"rate": 1.0}
WRONG = [
    "video,second",
    "[1]",
    '["v", 0, 3]',
    '["v", 0, [[1, [[1, 2]]]]]',
    '["v", "x", []]',
    "null",
]


@pytest.mark.parametrize("line", [*WRONG, '["v", 0, [["x", []]]]', "\udcff", '{"a": 1}'])
def test_a_damaged_line_of_person_boxes(tmp_path, line):
    path = tmp_path / "boxes.csv.partial"
    whole = '["v", 0, [[1.0, [[0.1, 0.2, 0.3, 0.4, 0.9]]], [2.0, []]]]'
    text = f"{json.dumps(SETTINGS)}\n{whole}\n"
    path.write_text(text)
    assert PartialResults(str(path), SETTINGS).batches.keys() == {("v", 0)}
    path.write_bytes(f"{text}{line}\n".encode(errors="surrogateescape"))
    with pytest.raises(AnnotationError, match=r"csv\.partial:3: not a line of .*Delete the file"):
        PartialResults(str(path), SETTINGS)


@pytest.mark.parametrize(
    "persons", [3, [1], [{"box": [1, 2], "score": 1, "actions": {"a": 1}}], [{"box": "x"}]]
)
def test_a_damaged_line_of_predictions(tmp_path, persons):
    path = tmp_path / "out.jsonl"
    record = {"video": "v", "run": "r", "second": 1.0, "persons": persons}
    path.write_text(json.dumps(record) + "\n")
    with PredictionLog(path, "v", "r", ["a"]) as log:
        with pytest.raises(PredictorError, match=r"out\.jsonl:1: not a line of predictions"):
            list(log.read())
    path.write_text(json.dumps({**record, "second": "x"}) + "\n")
    with pytest.raises(PredictorError, match=r"out\.jsonl:1: not a line of predictions"):
        PredictionLog(path, "v", "r", ["a"])
