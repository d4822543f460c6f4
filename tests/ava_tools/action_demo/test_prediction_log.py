import json

import numpy as np
import pytest
import torch
from detectron2.structures import Boxes, Instances

from ava_tools.action_demo.prediction_log import PredictionLog
from avsf_det.engine.predictor import PredictorError
from avsf_det.structures.ava_csv import read_detections

NAMES = ["sit", "run", "sing"]


def instances(seed: int, count: int) -> Instances:
    random = torch.Generator().manual_seed(seed)
    boxes = torch.rand(count, 4, generator=random).sort(dim=1).values
    return Instances(
        (90, 160),
        pred_boxes=Boxes(boxes[:, [0, 1, 2, 3]] * torch.tensor([160.0, 90, 160, 90])),
        scores=torch.rand(count, generator=random),
        action_scores=torch.rand(count, 3, generator=random),
    )


def make_log(path, run="r1") -> PredictionLog:
    return PredictionLog(path, "a.mp4", run, NAMES)


def test_lines_are_what_was_found_to_the_last_bit(tmp_path):
    log = make_log(tmp_path / "a.jsonl")
    found = {0.0: instances(0, 2), 1 / 3: instances(1, 0), 2.0: instances(2, 3)}
    for second, x in found.items():
        log.append(second, x)
    assert log.count_persons() == 5
    lines = [json.loads(line) for line in log.path.read_text().splitlines()]
    assert [line["second"] for line in lines] == [0, 1 / 3, 2]
    assert {line["video"] for line in lines} == {"a.mp4"}
    assert [len(line["persons"]) for line in lines] == [2, 0, 3]
    assert list(lines[0]["persons"][0]) == ["box", "score", "actions"]
    assert list(lines[0]["persons"][0]["actions"]) == NAMES
    for (second, read), x in zip(log.read(), found.values(), strict=True):
        assert x is found[second]
        assert torch.equal(read.action_scores, x.action_scores)
        assert torch.equal(read.scores, x.scores)
        fractions = x.pred_boxes.tensor / torch.tensor([160.0, 90, 160, 90])
        assert torch.equal(read.pred_boxes.tensor, fractions)
    assert next(log.read((90, 160)))[1].image_size == (90, 160)


def test_ids_of_persons_are_kept(tmp_path):
    log, found = make_log(tmp_path / "a.jsonl"), instances(0, 2)
    found.track_ids = [7, None]
    log.append(0.0, found)
    persons = json.loads(log.path.read_text())["persons"]
    assert persons[0]["track"] == 7 and "track" not in persons[1]
    assert next(log.read())[1].track_ids == [7, None]


def test_a_run_goes_on_after_the_last_whole_line(tmp_path):
    log = make_log(tmp_path / "a.jsonl")
    assert log.last == -np.inf
    log.append(0.0, instances(0, 2))
    log.append(1.0, instances(1, 2))
    whole = log.path.read_bytes()
    log.path.write_bytes(whole + whole[:100])  # killed while writing
    again = make_log(log.path)
    assert again.last == 1.0
    assert log.path.read_bytes() == whole


def test_other_runs_and_other_files_are_refused(tmp_path):
    path = tmp_path / "a.jsonl"
    make_log(path).append(0.0, instances(0, 1))
    before = path.read_bytes()
    with pytest.raises(PredictorError, match=r"a.jsonl:1: of a run with another video, other"):
        make_log(path, run="r2")
    assert path.read_bytes() == before
    (tmp_path / "b.jsonl").write_text("hello\nworld\n")
    with pytest.raises(PredictorError, match=r"b.jsonl:1: not a line of JSON"):
        make_log(tmp_path / "b.jsonl")
    (tmp_path / "d.jsonl").write_text("[1]\n")
    with pytest.raises(PredictorError, match=r"d.jsonl:1: not a line of predictions"):
        make_log(tmp_path / "d.jsonl")
    with pytest.raises(PredictorError, match="the same name"):
        PredictionLog(tmp_path / "c.jsonl", "a.mp4", "r", ["sit", "sit"])


def test_csv_has_every_box_and_class(tmp_path):
    log = make_log(tmp_path / "a.jsonl")
    log.append(2.0, instances(0, 2))
    log.append(2.5, instances(1, 1))
    log.write_ava_csv(tmp_path / "a.csv", "a", [1, 4, 7], offset=900)
    rows = (tmp_path / "a.csv").read_text().splitlines()
    assert [row.split(",")[:2] for row in rows] == [["a", "0902"]] * 6 + [["a", "902.5"]] * 3
    assert [row.split(",")[6] for row in rows] == ["1", "4", "7"] * 3
    assert rows[1].endswith(f",4,{instances(0, 2).action_scores[0, 1].item():.9g}")
    assert len(read_detections(tmp_path / "a.csv").scores) == 9
