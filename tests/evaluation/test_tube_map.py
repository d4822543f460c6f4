"""Tubes: linking in closed form, video-mAP against plain loops, both mAPs of the evaluator."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.structures import Boxes, Instances

from avsf_det.evaluation import TubeEvaluator
from avsf_det.evaluation.tube_map import DetectedTube, Tube, link_boxes, tube_iou, video_ap

LEFT, RIGHT = np.array([0.0, 0.0, 0.4, 1.0]), np.array([0.6, 0.0, 1.0, 1.0])


def straight(first: int, last: int, box: np.ndarray = LEFT, step: int = 1) -> Tube:
    frames = np.arange(first, last + 1, step)
    return Tube(frames, np.tile(box, (len(frames), 1)))


def test_tubes_of_two_persons_with_a_gap():
    moving = [LEFT + [0.01 * t, 0, 0.01 * t, 0] for t in range(20)]
    keyframes = []
    for t in range(20):
        boxes, scores = [RIGHT], [0.4]
        if not 5 <= t < 9:  # the moving person is missed for 4 frames
            boxes, scores = [RIGHT, moving[t]], [0.4, 0.5 + 0.01 * t]
        keyframes.append((t + 1, np.array(boxes), np.array(scores)))
    (a, still), (b, moved) = sorted(link_boxes(keyframes), key=lambda x: x[0])
    assert a == pytest.approx(0.4) and np.array_equal(still.boxes, straight(1, 20, RIGHT).boxes)
    # The moving person leaves: one of two tubes ends.
    keyframes += [(t, np.array([RIGHT]), np.array([0.4])) for t in range(21, 41)]
    assert sorted(t.frames[-1] for _, t in link_boxes(keyframes)) == [20, 40]
    assert b == pytest.approx(np.mean([0.5 + 0.01 * t for t in range(20) if not 5 <= t < 9]))
    assert np.array_equal(moved.frames, np.arange(1, 21))
    np.testing.assert_allclose(moved.boxes, moving, atol=1e-12)  # the gap lies on its line


def test_a_tube_ends_after_a_longer_gap_and_with_its_action():
    frames = [*range(1, 21), *range(26, 46)]  # 26 is more than 5 after 20
    scores = {f: 0.01 if f > 40 else 0.9 for f in frames}
    linked = link_boxes((f, LEFT[None], np.array([scores[f]])) for f in frames)
    assert [(t.frames[0], t.frames[-1]) for _, t in linked] == [(1, 20), (26, 40)]
    assert link_boxes((f, LEFT[None], np.ones(1)) for f in range(1, 15)) == []  # 14 frames
    ((_, sparse),) = link_boxes(((f, LEFT[None], np.ones(1)) for f in range(1, 18, 8)), stride=8)
    assert sparse.frames.tolist() == [1, 9, 17]


def test_overlap_of_tubes():
    half = np.array([0.0, 0.0, 0.2, 1.0])
    assert tube_iou(straight(1, 11), straight(1, 11)) == 1
    assert tube_iou(straight(1, 11), straight(6, 21, half)) == pytest.approx(5 / 20 * 0.5)
    assert tube_iou(straight(1, 11), straight(11, 21)) == 0
    assert tube_iou(straight(1, 41, step=8), straight(9, 41, half, 8)) == pytest.approx(0.8 * 0.5)


def plain_iou(a: Tube, b: Tube) -> float:
    boxes_a = dict(zip(a.frames.tolist(), a.boxes.tolist(), strict=True))
    boxes_b = dict(zip(b.frames.tolist(), b.boxes.tolist(), strict=True))
    common = sorted(boxes_a.keys() & boxes_b.keys())
    if len(common) < 2:
        return 0.0
    total = 0.0
    for frame in common:
        (al, at, ar, ab), (bl, bt, br, bb) = boxes_a[frame], boxes_b[frame]
        inner = max(0, min(ar, br) - max(al, bl)) * max(0, min(ab, bb) - max(at, bt))
        total += inner / ((ar - al) * (ab - at) + (br - bl) * (bb - bt) - inner)
    every = boxes_a.keys() | boxes_b.keys()
    return total / len(common) * (common[-1] - common[0]) / (max(every) - min(every))


def plain_ap(found: list[DetectedTube], truth: dict[str, list[Tube]], threshold: float) -> float:
    """Area under the precision envelope, from a precision for each number of detections."""
    taken, curve = set(), [(0.0, 0.0)]
    for n, d in enumerate(sorted(found, key=lambda d: d.score, reverse=True), 1):
        overlaps = [plain_iou(t, d.tube) for t in truth.get(d.video_id, [])]
        if overlaps and max(overlaps) >= threshold:
            taken.add((d.video_id, overlaps.index(max(overlaps))))
        curve.append((len(taken) / sum(map(len, truth.values())), len(taken) / n))
    return sum(
        (curve[i][0] - curve[i - 1][0]) * max(precision for _, precision in curve[i:])
        for i in range(1, len(curve))
    )


def random_tube(rng: np.random.Generator) -> Tube:
    first, length = rng.integers(1, 15), rng.integers(15, 30)
    corner, size = rng.random(2) * 0.2, 0.4 + rng.random(2) * 0.3
    tube = straight(first, first + length, np.array([*corner, *(corner + size)]))
    return Tube(tube.frames, tube.boxes + rng.normal(0, 0.02, tube.boxes.shape))


def test_video_ap_is_that_of_plain_loops():
    rng = np.random.default_rng(0)
    truth = {v: [random_tube(rng) for _ in range(3)] for v in "abc"}
    found = [DetectedTube(v, rng.random(), random_tube(rng)) for v in "abcd" for _ in range(12)]
    found += [DetectedTube(v, rng.random(), t) for v in "ab" for t in truth[v]]
    thresholds = [0.2, 0.35, 0.5, 0.95]
    expected = [plain_ap(found, truth, threshold) for threshold in thresholds]
    assert video_ap(found, truth, thresholds) == pytest.approx(expected, abs=1e-12)
    assert len(set(expected)) == 4 and 0 < min(expected) < max(expected) < 1


@pytest.fixture
def dataset(tmp_path: Path):
    """A video of 40 frames: a person jumps to frame 20 and then sits; another one sits."""
    dicts = []
    for frame in range(1, 41):
        people = [(LEFT, int(frame > 20) * 2, int(frame > 20)), (RIGHT, 2, 2)]
        annotations = [
            {"bbox": box.tolist(), "action_ids": [action], "tube_ids": [tube]}
            for box, action, tube in people
        ]
        dicts.append({"video_id": "v", "timestamp": float(frame), "annotations": annotations})
    name = f"tubes_{tmp_path.name}"
    DatasetCatalog.register(name, lambda: dicts)
    MetadataCatalog.get(name).set(
        evaluator_type="tubes",
        truth_in_dicts=True,
        action_classes=["jump", "run", "sit"],
        action_csv_ids=[0, 1, 2],
        scored_action_csv_ids=[0, 2],
        annotation_file="GT.pkl",
        excluded_file="",
    )
    yield name
    DatasetCatalog.remove(name)
    MetadataCatalog.remove(name)


def evaluate(name: str, folder: Path, shift: float, stride: int) -> dict:
    """Score perfect actions on boxes that are all moved to the right."""
    evaluator = TubeEvaluator(name, str(folder), keyframe_stride=stride)
    evaluator.reset()
    for d in DatasetCatalog.get(name)[::stride]:
        instances = Instances((100, 100))
        boxes = torch.tensor([a["bbox"] for a in d["annotations"]]) * 100
        instances.pred_boxes = Boxes(boxes + torch.tensor([shift, 0, shift, 0]) * 100)
        scores = torch.zeros(len(boxes), 3)
        for row, a in zip(scores, d["annotations"], strict=True):
            row[a["action_ids"]] = 0.9
        instances.action_scores = scores
        input_ = {"image_id": "", "width": 100, "height": 100, **d}
        evaluator.process([input_], [{"instances": instances}])
    return evaluator.evaluate()


@pytest.mark.parametrize("stride", [1, 4])
def test_both_figures_of_a_dataset(dataset: str, tmp_path: Path, stride: int):
    right = {"mAP@0.2": 1, "mAP@0.5": 1, "mAP@0.5:0.95": 1}
    results = evaluate(dataset, tmp_path, 0.0, stride)
    assert results == {"ava": {"mAP": 1, "AP-jump": 1, "AP-sit": 1}, "video": right}
    # 0.4 wide boxes moved by 0.1 overlap by 0.3 / 0.5: enough for 0.5, 0.55 and 0.6 of the ten.
    results = evaluate(dataset, tmp_path, 0.1 - 1e-4, stride)
    assert results["ava"]["mAP"] == 1
    assert results["video"] == pytest.approx({**right, "mAP@0.5:0.95": 0.3})
    saved = json.loads((tmp_path / "video_ap.json").read_text())
    assert saved["per_class_by_name"]["sit"]["0.6"] == 1
    assert saved["per_class_by_name"]["sit"]["0.65"] == 0
