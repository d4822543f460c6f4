import csv
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from detectron2.data import MetadataCatalog
from detectron2.structures import Boxes, Instances
from detectron2.utils import comm

from ava_tools import get_ava_performance
from avsf_det.evaluation import AVAEvaluationError, AVAEvaluator, ava_evaluation
from avsf_det.evaluation.ava_map import evaluate_ava
from avsf_det.structures import ActionBoxes
from avsf_det.structures.ava_csv import (
    read_detections,
    read_excluded_keyframes,
    read_ground_truth,
)

HEIGHT, WIDTH = 120, 200
LABEL_MAP = 'item { name: "sit" id: 1 }\nitem { name: "talk" id: 7 }\n'


@pytest.fixture
def dataset(tmp_path: Path):
    """Three actions (csv ids 1, 4, 7) of which 1 and 7 are scored; 12 keyframes, one excluded."""
    rng = np.random.default_rng(0)
    lines = []
    for second in [900 + 0.5 * i for i in range(12)]:
        box = np.round([*rng.random(2) * 0.3, *(0.5 + rng.random(2) * 0.5)], 3)
        actions = rng.choice([1, 4, 7], 2, replace=False)
        lines += [f"v,{second},{','.join(map(str, box))},{a},0\n" for a in actions]
    (tmp_path / "gt.csv").write_text("".join(lines))
    (tmp_path / "excluded.csv").write_text("v,0903\n")
    (tmp_path / "map.pbtxt").write_text(LABEL_MAP)
    name = f"ava_test_{tmp_path.name}"
    MetadataCatalog.get(name).set(
        evaluator_type="ava",
        thing_classes=["person"],
        action_classes=["sit", "run", "talk"],
        action_csv_ids=[1, 4, 7],
        scored_action_csv_ids=[1, 7],
        annotation_file=str(tmp_path / "gt.csv"),
        excluded_file=str(tmp_path / "excluded.csv"),
        label_map_file=str(tmp_path / "map.pbtxt"),
        proposal_file="boxes.csv",
    )
    yield name
    MetadataCatalog.remove(name)


def ground_truth(dataset: str) -> dict[float, tuple[list[float], list[int]]]:
    """Seconds -> box in 0..1 and csv ids."""
    found: dict = {}
    with open(MetadataCatalog.get(dataset).annotation_file) as file:
        for row in csv.reader(file):
            box = [float(x) for x in row[2:6]]
            found.setdefault(float(row[1]), (box, []))[1].append(int(row[6]))
    return found


def predictions(dataset: str, perfect: bool = False) -> list[tuple[dict, dict]]:
    """A model input and output for each keyframe: the right box and a wrong one."""
    rng = torch.Generator().manual_seed(0)
    size = torch.tensor([WIDTH, HEIGHT, WIDTH, HEIGHT])
    pairs = []
    for second, (box, ids) in ground_truth(dataset).items():
        instances = Instances((HEIGHT, WIDTH))
        boxes = torch.tensor([box, [0.9, 0.9, 1.0, 1.0]])
        instances.pred_boxes = Boxes(boxes * size)
        instances.scores = torch.ones(2)
        instances.pred_classes = torch.zeros(2, dtype=torch.int64)
        scores = torch.rand(2, 3, generator=rng)
        if perfect:
            scores = torch.tensor([[float(i in ids) for i in (1, 4, 7)], [0.0] * 3])
        instances.action_scores = scores
        input_ = {
            "image_id": f"v,{second:g}",
            "video_id": "v",
            "timestamp": second,
            "height": HEIGHT,
            "width": WIDTH,
        }
        pairs.append((input_, {"instances": instances}))
    return pairs


def evaluate(dataset: str, output_dir: Path, pairs: list[tuple[dict, dict]], **kwargs) -> dict:
    evaluator = AVAEvaluator(dataset, str(output_dir), **kwargs)
    evaluator.reset()
    for i in range(0, len(pairs), 5):
        inputs, outputs = zip(*pairs[i : i + 5], strict=True)
        evaluator.process(list(inputs), list(outputs))
    return evaluator.evaluate()


def test_perfect_predictions(dataset: str, tmp_path: Path, caplog: pytest.LogCaptureFixture):
    with caplog.at_level("INFO"):
        results = evaluate(dataset, tmp_path / "out", predictions(dataset, perfect=True))
    assert results == {"ava": {"mAP": 1, "AP-sit": 1, "AP-talk": 1}}
    assert "12 keyframes run, person boxes: boxes.csv" in caplog.text
    with open(tmp_path / "out" / "ava_predictions.csv") as file:
        rows = list(csv.reader(file))
    assert len(rows) == 12 * 2 * 2  # keyframes, boxes, scored classes
    assert {row[6] for row in rows} == {"1", "7"}
    assert {"0900", "900.5"} < {row[1] for row in rows}
    truth = ground_truth(dataset)
    assert [float(x) for x in rows[0][2:6]] == truth[float(rows[0][1])][0]


@pytest.mark.parametrize("protocol", ["default", "activitynet"])
def test_tool_reads_the_same_figures(dataset: str, tmp_path: Path, protocol: str, capsys):
    results = evaluate(dataset, tmp_path, predictions(dataset), protocol=protocol)["ava"]
    assert 0 < results["mAP"] < 1
    args = {"-l": "map.pbtxt", "-g": "gt.csv", "-d": "ava_predictions.csv", "-x": "excluded.csv"}
    argv = [word for option, name in args.items() for word in (option, str(tmp_path / name))]
    assert get_ava_performance.main([*argv, "--protocol", protocol, "--json"]) == 0
    line = json.loads(capsys.readouterr().out)
    assert line == json.loads((tmp_path / "ava_results.json").read_text())
    assert line["mAP"] == results["mAP"]
    assert line["per_class_by_name"] == {"sit": results["AP-sit"], "talk": results["AP-talk"]}
    with open(tmp_path / "per_class_ap.csv") as file:
        table = list(csv.DictReader(file))
    assert [row["class"] for row in table] == ["sit", "talk"]
    assert [float(row["AP"]) for row in table] == [results["AP-sit"], results["AP-talk"]]


def test_scored_arrays_are_those_of_the_csv(
    dataset: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    pairs, generator = predictions(dataset), torch.Generator().manual_seed(1)
    for _, output in pairs[::2]:
        instances = output["instances"]
        instances.pred_boxes.tensor += torch.rand(2, 4, generator=generator) * 9 - 4
        instances.action_scores.round_(decimals=1)  # ties
    pairs[4] = pairs[4][0], {"instances": pairs[4][1]["instances"][:0]}  # a keyframe without boxes
    scored = []

    def evaluate_and_keep(detections: ActionBoxes, *args: object) -> object:
        scored.append(detections)
        return evaluate_ava(detections, *args)

    monkeypatch.setattr(ava_evaluation, "evaluate_ava", evaluate_and_keep)
    results = evaluate(dataset, tmp_path, pairs)["ava"]
    (arrays,), rows = scored, read_detections(tmp_path / "ava_predictions.csv")
    assert arrays.keyframes == rows.keyframes
    for field in ("keyframe", "boxes", "actions"):
        np.testing.assert_array_equal(getattr(arrays, field), getattr(rows, field))
    np.testing.assert_array_equal(arrays.scores, rows.scores.astype(np.float32))
    truth = read_ground_truth(tmp_path / "gt.csv")
    excluded = read_excluded_keyframes(tmp_path / "excluded.csv")
    of_csv = evaluate_ava(rows, truth, {1: "sit", 7: "talk"}, excluded)
    assert 0 < results["mAP"] < 1 and of_csv.mean_ap == results["mAP"]
    assert [c.ap for c in of_csv.classes] == [results["AP-sit"], results["AP-talk"]]


def test_all_actions_are_scored_without_a_list(dataset: str, tmp_path: Path):
    meta = MetadataCatalog.get(dataset)
    fields = {**meta.as_dict(), "scored_action_csv_ids": None, "excluded_file": ""}
    MetadataCatalog.remove(dataset)
    fields.pop("name")
    MetadataCatalog.get(dataset).set(**fields)
    results = evaluate(dataset, tmp_path, predictions(dataset, perfect=True))
    assert results == {"ava": {"mAP": 1, "AP-sit": 1, "AP-run": 1, "AP-talk": 1}}


def test_ranks_are_joined(dataset: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    pairs = predictions(dataset)
    for _, output in pairs:  # ties: their rank must not depend on the number of processes
        output["instances"].action_scores.round_(decimals=1)
    expected = evaluate(dataset, tmp_path / "one", pairs)
    shards = []
    for shard in (pairs[7:], pairs[:7]):
        evaluator = AVAEvaluator(dataset, str(tmp_path / "two"))
        evaluator.process(*map(list, zip(*shard, strict=True)))
        shards.append(evaluator)
    monkeypatch.setattr(comm, "gather", lambda data, dst: [s._predictions for s in shards])
    assert shards[0].evaluate() == expected
    files = [(tmp_path / d / "ava_predictions.csv").read_text() for d in ("one", "two")]
    assert files[0] == files[1]
    monkeypatch.setattr(comm, "is_main_process", lambda: False)
    assert shards[1].evaluate() is None


def test_refuses_bad_predictions(dataset: str, tmp_path: Path):
    pairs = predictions(dataset)
    with pytest.raises(AVAEvaluationError, match=r"keyframe v,903\.5 was predicted twice"):
        evaluate(dataset, tmp_path, [*pairs, pairs[7]])
    pairs[3][1]["instances"].action_scores[1, 0] = float("nan")
    with pytest.raises(AVAEvaluationError, match=r"NaN or infinity for v,901\.5"):
        evaluate(dataset, tmp_path, pairs)
    pairs[3][1]["instances"].action_scores = torch.rand(2, 2)
    with pytest.raises(AVAEvaluationError, match="the model scores 2 actions, "):
        evaluate(dataset, tmp_path, pairs[3:])
    with pytest.raises(ValueError, match="protocol is 'coco'"):
        AVAEvaluator(dataset, str(tmp_path), "coco")


def test_actions_beyond_those_of_the_dataset_are_ignored(dataset: str, tmp_path: Path):
    pairs = predictions(dataset)
    expected = evaluate(dataset, tmp_path / "same", pairs)
    for _, output in pairs:
        scores = output["instances"].action_scores
        output["instances"].action_scores = torch.cat([scores, torch.rand(len(scores), 2)], 1)
    assert evaluate(dataset, tmp_path / "more", pairs) == expected


def test_no_boxes_at_all(dataset: str, tmp_path: Path, caplog: pytest.LogCaptureFixture):
    pairs = [(i, {"instances": o["instances"][:0]}) for i, o in predictions(dataset)]
    assert evaluate(dataset, tmp_path, pairs)["ava"]["mAP"] == 0
    assert "No person box in 12 keyframes" in caplog.text
