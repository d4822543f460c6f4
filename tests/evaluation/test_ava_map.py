import csv
import heapq
import json
import math
from pathlib import Path

import numpy as np
import pytest

from avsf_det.evaluation.activitynet import select_highest_scored
from avsf_det.evaluation.ava_map import (
    AVAEvaluationError,
    average_precision,
    evaluate_ava,
    rank_detections,
)
from avsf_det.structures import ActionBoxes
from avsf_det.structures.ava_csv import (
    read_detections,
    read_excluded_keyframes,
    read_ground_truth,
)
from avsf_det.structures.label_map import read_label_map

SHARED = Path(__file__).resolve().parents[2] / ".." / "shared" / "data"
ORACLES = SHARED / "oracles" / "ava_eval"

BOX = (0.1, 0.1, 0.5, 0.5)
FAR = (0.6, 0.6, 0.9, 0.9)
CLASSES = {1: "sit", 2: "talk"}


def rows(*entries: tuple) -> ActionBoxes:
    """(video, seconds, box, action[, score]) to columns."""
    keyframes: dict = {}
    index = [keyframes.setdefault((e[0], float(e[1])), len(keyframes)) for e in entries]
    return ActionBoxes(
        list(keyframes),
        np.array(index, np.int32),
        np.array([e[2] for e in entries], np.float64).reshape(-1, 4),
        np.array([e[3] for e in entries], np.int32),
        np.array([e[4] if len(e) > 4 else 1.0 for e in entries], np.float64),
    )


def ap(detections: ActionBoxes, ground_truth: ActionBoxes, **kwargs) -> dict[int, float]:
    return {c.id: c.ap for c in evaluate_ava(detections, ground_truth, CLASSES, **kwargs).classes}


# Closed forms ---------------------------------------------------------------


def test_average_precision_of_a_ranked_list() -> None:
    # Precision at the two hits is 1 and 2/4, the third of three boxes is never found.
    hits = np.array([True, False, False, True])
    assert average_precision(hits, 3) == pytest.approx((1 + 0.5) / 3)
    # The envelope lifts the precision of an early hit to that of a later, better point.
    assert average_precision(np.array([False, True, True, True]), 3) == pytest.approx(0.75)
    assert average_precision(np.zeros(0, bool), 2) == 0


def test_one_right_detection() -> None:
    gt = rows(("v", 902, BOX, 1))
    result = evaluate_ava(rows(("v", 902, BOX, 1, 0.3)), gt, CLASSES)
    sit, talk = result.classes
    assert sit.ap == 1 and math.isnan(talk.ap)
    assert result.mean_ap == 1  # the class without ground truth does not count
    assert result.as_dict()["per_class"] == {"1": 1.0, "2": None}
    assert result.as_dict()["per_class_by_name"] == {"sit": 1.0, "talk": None}
    assert result.counts["matched_keyframes"] == result.counts["matched_boxes"] == 1


def test_wrong_place_or_wrong_class_is_a_false_positive() -> None:
    gt = rows(("v", 902, BOX, 1), ("v", 902, FAR, 2))
    det = rows(("v", 902, FAR, 1, 0.9), ("v", 902, BOX, 1, 0.8), ("v", 902, BOX, 2, 0.7))
    assert ap(det, gt) == {1: 0.5, 2: 0}


def test_overlap_of_exactly_one_half_counts() -> None:
    gt = rows(("v", 1, (0, 0, 0.5, 0.5), 1))
    assert ap(rows(("v", 1, (0, 0, 0.5, 0.25), 1, 1)), gt)[1] == 1
    assert ap(rows(("v", 1, (0, 0, 0.5, 0.249), 1, 1)), gt)[1] == 0


def test_second_detection_of_a_box_is_wrong_even_if_it_also_fits_another() -> None:
    near = (0.1, 0.1, 0.5, 0.55)
    gt = rows(("v", 1, BOX, 1), ("v", 1, near, 1))
    det = rows(("v", 1, BOX, 1, 0.9), ("v", 1, BOX, 1, 0.8), ("v", 1, near, 1, 0.7))
    # Hits 1, 0, 1: each detection claims only the box that it overlaps most.
    assert ap(det, gt)[1] == pytest.approx((1 + 2 / 3) / 2)


def test_detections_are_taken_by_score_and_not_by_file_order() -> None:
    gt = rows(("v", 1, BOX, 1))
    det = rows(("v", 1, (0.1, 0.1, 0.5, 0.4), 1, 0.2), ("v", 1, BOX, 1, 0.9))
    assert ap(det, gt)[1] == 1


def test_equal_scores() -> None:
    gt = rows(("v", 1, BOX, 1), ("v", 2, BOX, 1))
    hit, miss = ("v", 1, BOX, 1, 0.5), ("v", 2, FAR, 1, 0.5)
    # The keyframe that appears last in the file ranks first.
    assert ap(rows(miss, hit), gt)[1] == 0.5
    assert ap(rows(hit, miss), gt)[1] == 0.25
    # In a keyframe the first row takes the box, and ranks last.
    assert ap(rows(hit, hit), gt)[1] == 0.25


def test_excluded_keyframes_leave_both_sides() -> None:
    gt = rows(("v", 902, BOX, 1), ("v", 903, BOX, 1))
    det = rows(("v", 902, BOX, 1, 0.5), ("v", 903, FAR, 1, 0.9))
    assert ap(det, gt)[1] == 0.25
    result = evaluate_ava(det, gt, CLASSES, {("v", 903.0)})
    assert result.mean_ap == 1
    assert result.counts["excluded_ground_truth"] == result.counts["excluded_detections"] == 1
    assert ap(det, gt, excluded={("v", 903.0)}, protocol="activitynet")[1] == 0.25


def test_unknown_keyframes() -> None:
    gt = rows(("v", 902, BOX, 1))
    det = rows(("v", 950, BOX, 1, 0.9), ("other", 902, BOX, 1, 0.8), ("v", 902, BOX, 1, 0.7))
    assert ap(det, gt)[1] == pytest.approx(1 / 3)
    assert ap(det, gt, protocol="activitynet")[1] == 1


def test_activitynet_keeps_fifty_rows_of_a_keyframe() -> None:
    gt = rows(("v", 902, BOX, 1), ("w", 902, BOX, 1))
    others = [("v", 902, FAR, 2, 0.9)] * 50
    det = rows(*others, ("v", 902, BOX, 1, 0.8), ("w", 902, BOX, 1, 0.1))
    assert ap(det, gt)[1] == 1
    assert ap(det, gt, protocol="activitynet")[1] == 0.5
    det = rows(*others[:49], ("v", 902, BOX, 1, 0.8), ("w", 902, BOX, 1, 0.1))
    assert ap(det, gt, protocol="activitynet")[1] == 1


def test_activitynet_counts_keyframes_that_only_other_classes_name() -> None:
    gt = rows(("v", 902, BOX, 1), ("v", 903, FAR, 7))  # 7 is not in the label map
    det = rows(("v", 950, BOX, 1, 0.95), ("v", 903, BOX, 1, 0.9), ("v", 902, BOX, 1, 0.5))
    # 902 is right. 903 is in the ground truth, without a box to find: wrong. 950 is not: dropped.
    result = evaluate_ava(det, gt, CLASSES, protocol="activitynet")
    assert result.mean_ap == 1 / 2
    assert result.counts["detections"] == 2
    assert result.counts["detections_dropped_by_protocol"] == 1
    assert ap(det, gt)[1] == pytest.approx(1 / 3)


def test_rows_outside_the_label_map_count_neither_for_the_cap_nor_for_the_order() -> None:
    gt = rows(("v", 902, BOX, 1), ("v", 903, BOX, 1))
    others = [("v", 902, FAR, 7, 0.99)] * 50
    det = rows(*others, ("v", 902, BOX, 1, 0.1))
    assert ap(det, gt, protocol="activitynet")[1] == 0.5
    # By the rows that count, 903 appears last in the file, and so ranks first.
    det = rows(("v", 903, FAR, 7, 0.9), ("v", 902, FAR, 1, 0.5), ("v", 903, BOX, 1, 0.5))
    assert ap(det, gt, protocol="activitynet")[1] == ap(det, gt)[1] == 0.5


def test_ranked_rows_and_what_each_finds() -> None:
    gt = rows(("v", 902, BOX, 2), ("v", 902, FAR, 1), ("w", 902, BOX, 1))
    det = rows(
        ("v", 902, FAR, 1, 0.2),
        ("x", 902, BOX, 1, 0.7),
        ("w", 902, BOX, 1, 0.9),
        ("w", 902, BOX, 1, 0.3),
    )
    classes, counts = rank_detections(det, gt, CLASSES)
    sit, talk = classes
    assert (sit.id, sit.name, sit.ground_truth.tolist()) == (1, "sit", [1, 2])
    assert sit.detections.tolist() == [2, 1, 3, 0]
    assert sit.found.tolist() == [2, -1, -1, 1]
    assert talk.ground_truth.tolist() == [0] and talk.detections.size == talk.found.size == 0
    assert counts == {
        k: v for k, v in evaluate_ava(det, gt, CLASSES).counts.items() if k != "matched_boxes"
    }


def test_rows_that_do_not_count() -> None:
    gt = rows(("v", 1, BOX, 1), ("v", 1, FAR, 7))
    det = rows(
        ("v", 1, (0.5, 0.1, 0.1, 0.5), 1, 0.9),  # inverted
        ("v", 1, (0.1, 0.1, 0.1, 0.5), 1, 0.9),  # no area
        ("v", 1, FAR, 7, 0.9),  # class outside the label map
        ("v", 1, BOX, 1, 0.1),
    )
    result = evaluate_ava(det, gt, CLASSES)
    assert result.mean_ap == 1
    assert result.counts["detections_without_area"] == 2
    assert result.counts["detections_outside_label_map"] == 1
    assert result.counts["ground_truth_outside_label_map"] == 1


def test_no_detection_is_zero() -> None:
    assert ap(rows(), rows(("v", 1, BOX, 1)))[1] == 0


# A second, slow implementation ----------------------------------------------


def slow_ap(det: list, gt: list, ids: list[int], excluded: set, protocol: str) -> dict[int, float]:
    """The definition, row by row. Rows: (video, seconds, box, action[, score])."""
    if protocol == "activitynet":
        excluded = set()
    known = {r[:2] for r in gt}  # rows of any class name their keyframe
    gt = [r for r in gt if r[3] in ids and r[:2] not in excluded]
    frames: dict = {}
    for r in det:
        if r[3] not in ids or r[:2] in excluded:
            continue
        frame = frames.setdefault(r[:2], [])
        if protocol == "default":
            frame.append((r[4], r[3], r[2]))
        else:
            x1, y1, x2, y2 = r[2]
            entry = (r[4], r[3], (y1, x1, y2, x2))
            if len(frame) < 50:
                heapq.heappush(frame, entry)
            elif entry[0] > frame[0][0]:
                heapq.heapreplace(frame, entry)
    if protocol == "activitynet":
        frames = {
            key: [(s, a, (x1, y1, x2, y2)) for s, a, (y1, x1, y2, x2) in frame]
            for key, frame in frames.items()
            if key in known
        }

    def iou(a: tuple, b: tuple) -> float:
        width = min(a[2], b[2]) - max(a[0], b[0])
        height = min(a[3], b[3]) - max(a[1], b[1])
        inter = max(width, 0) * max(height, 0)
        areas = [(x[2] - x[0]) * (x[3] - x[1]) for x in (a, b)]
        return inter / (sum(areas) - inter)

    result = {}
    for action in ids:
        ranked = []
        for key, frame in frames.items():
            boxes = [r[2] for r in gt if r[:2] == key and r[3] == action]
            taken = set()
            for score, a, box in sorted(frame, key=lambda r: -r[0]):
                if a != action or not (box[2] > box[0] and box[3] > box[1]):
                    continue
                best = max(range(len(boxes)), key=lambda i: iou(box, boxes[i]), default=None)
                hit = best is not None and iou(box, boxes[best]) >= 0.5 and best not in taken
                if hit:
                    taken.add(best)
                ranked.append((score, hit))
        ranked = sorted(ranked, key=lambda r: r[0])[::-1]
        total = sum(r[3] == action for r in gt)
        if not total:
            result[action] = float("nan")
            continue
        found, recall_precision = 0, []
        for n, (_, hit) in enumerate(ranked, 1):
            found += hit
            recall_precision.append((found / total, found / n))
        area, last = 0.0, 0.0
        for i, (recall, _) in enumerate(recall_precision):
            area += (recall - last) * max(p for _, p in recall_precision[i:])
            last = recall
        result[action] = area
    return result


def random_rows(rng: np.random.Generator, levels: int | None) -> tuple[list, list, set]:
    """Ground truth, detections in random order (some on unknown keyframes, some inverted, some
    duplicated) and exclusions; scores have ``levels`` values or, if None, do not tie."""
    gt, det = [], []
    for video in "ab":
        for second in range(6):
            for _ in range(rng.integers(0, 4)):
                low = rng.random(2) * 0.5
                box = np.concatenate([low, low + 0.2 + rng.random(2) * 0.3])
                action = int(rng.integers(1, 5))
                gt.append((video, float(second), tuple(box.tolist()), action))
                for _ in range(rng.integers(0, 4)):
                    moved = tuple((box + rng.normal(0, 0.06, 4)).tolist())
                    where = float(rng.choice([second, second, second, 99]))
                    det.append((video, where, moved, int(rng.choice([action, 1, 2, 3, 4]))))
    # Two crowded keyframes, above the cap of the second protocol.
    for second in (1.0, 2.0):
        noise = rng.random((60, 4))
        det += [("a", second, tuple(b.tolist()), int(rng.integers(1, 5))) for b in noise]
    scores = rng.random(len(det)) if levels is None else rng.integers(levels, size=len(det)) / 10
    det = [(*r, float(s)) for r, s in zip(det, scores, strict=True)]
    order = rng.permutation(len(det))
    return gt, [det[i] for i in order], {("a", 3.0), ("b", 0.0), ("b", 77.0)}


@pytest.mark.parametrize("protocol", ["default", "activitynet"])
@pytest.mark.parametrize("seed", range(8))
def test_equals_the_slow_implementation(seed: int, protocol: str) -> None:
    gt, det, excluded = random_rows(np.random.default_rng(seed), levels=None)
    label_map = {1: "a", 2: "b", 3: "c"}
    expected = slow_ap(det, gt, list(label_map), excluded, protocol)
    result = evaluate_ava(rows(*det), rows(*gt), label_map, excluded, protocol)
    assert {c.id: c.ap for c in result.classes} == pytest.approx(expected, abs=1e-12, nan_ok=True)
    assert any(0 < value < 1 for value in expected.values())


@pytest.mark.parametrize("seed", range(8))
def test_equals_the_slow_implementation_with_ties(seed: int) -> None:
    gt, det, excluded = random_rows(np.random.default_rng(seed), levels=4)
    expected = slow_ap(det, gt, [1, 2, 3], excluded, "default")
    result = evaluate_ava(rows(*det), rows(*gt), {1: "a", 2: "b", 3: "c"}, excluded)
    assert {c.id: c.ap for c in result.classes} == pytest.approx(expected, abs=1e-12, nan_ok=True)


@pytest.mark.parametrize("seed", range(8))
def test_cap_keeps_what_the_heap_keeps_when_scores_tie(seed: int) -> None:
    rng = np.random.default_rng(seed)
    det = rows(
        *(
            (
                f"v{rng.integers(3)}",
                1,
                tuple(rng.integers(3, size=4) / 4),
                int(rng.integers(1, 4)),
                rng.integers(4) / 4,
            )
            for _ in range(200)
        )
    )
    kept = select_highest_scored(det, np.arange(200), 20)
    heaps: dict = {}
    for i in range(200):
        x1, y1, x2, y2 = det.boxes[i]
        entry = (det.scores[i], det.actions[i], y1, x1, y2, x2)
        heap = heaps.setdefault(det.keyframe[i], [])
        if len(heap) < 20:
            heapq.heappush(heap, entry)
        elif entry[0] > heap[0][0]:
            heapq.heapreplace(heap, entry)
    for keyframe, heap in heaps.items():
        mine = [i for i in kept if det.keyframe[i] == keyframe]
        x1, y1, x2, y2 = det.boxes[mine].T
        got = zip(det.scores[mine], det.actions[mine], y1, x1, y2, x2, strict=True)
        assert sorted(got) == sorted(heap)


# The public evaluators ------------------------------------------------------


@pytest.mark.skipif(not ORACLES.exists(), reason="the public evaluators' figures are not here")
@pytest.mark.parametrize("protocol", ["default", "activitynet"])
@pytest.mark.parametrize(
    "name",
    ["adversarial", "capacity", "empty", "perfect", "perturbed", "perturbed_noexcl", "ties", "mm"],
)
def test_equals_the_public_evaluators(name: str, protocol: str) -> None:
    mm = SHARED / "ava" / "mmaction2_fixture" / "eval_detection"
    folder, label_maps = (mm, mm) if name == "mm" else (ORACLES, SHARED / "ava" / "labelmaps")
    expected_file = "mm_fixture.expected.json" if name == "mm" else f"D_{name}.expected.json"
    expected = json.loads((ORACLES / expected_file).read_text())
    files = expected["inputs"]
    detections = folder / files["pred"]
    if not detections.exists():
        detections = detections.with_name(detections.name + ".gz")
    excluded = files["excluded"]
    result = evaluate_ava(
        read_detections(detections),
        read_ground_truth(folder / files["gt"]),
        read_label_map(label_maps / files["labelmap"]),
        read_excluded_keyframes(folder / excluded) if excluded else frozenset(),
        protocol,
    ).as_dict()
    if protocol == "activitynet" and name == "ties":
        # Its sort is unstable and the order of equal scores not known: the mean comes close.
        assert result["mAP"] == pytest.approx(expected["activitynet"]["mAP"], abs=0.02)
        return
    if protocol == "activitynet":
        expected = expected["activitynet"]
    else:
        expected = expected.get("pyslowfast_stable", expected["pyslowfast_sorted"])
    assert result["per_class"] == pytest.approx(expected["per_class"], abs=1e-6)
    assert result["mAP"] == pytest.approx(expected["mAP"], abs=1e-6)


def test_detections_written_by_csv_module_give_the_same_figures(tmp_path: Path) -> None:
    gt, det, excluded = random_rows(np.random.default_rng(3), levels=None)
    for name, entries in (("g", gt), ("d", det)):
        with open(tmp_path / f"{name}.csv", "w", newline="") as file:
            for video, second, box, action, *score in entries:
                csv.writer(file).writerow([video, f"{second:04.0f}", *box, action, *score])
    label_map = {1: "a", 2: "b", 3: "c"}
    expected = evaluate_ava(rows(*det), rows(*gt), label_map, excluded)
    got = evaluate_ava(
        read_detections(tmp_path / "d.csv"),
        read_ground_truth(tmp_path / "g.csv"),
        label_map,
        excluded,
    )
    assert got.mean_ap == expected.mean_ap and got.counts == expected.counts


# Nothing matches ------------------------------------------------------------


@pytest.mark.parametrize(
    ("detection", "message"),
    [
        (("clips/v.mp4", 902, BOX, 1, 0.5), "without folder and file extension"),
        (("other", 902, BOX, 1, 0.5), "another split"),
        (("v", 2, BOX, 1, 0.5), "detections at 2 to 2, ground truth at 902 to 903"),
        (("v", 902, BOX, 0, 0.5), "ids off by one"),
        (("v", 903, BOX, 1, 0.5), "exclusion list"),
        (("v", 2, (10, 10, 200, 200), 1, 0.5), "pixels"),
    ],
)
def test_says_why_nothing_matches(detection: tuple, message: str) -> None:
    gt = rows(("v", 902, BOX, 1), ("v", 903, BOX, 1))
    with pytest.raises(AVAEvaluationError, match=message):
        evaluate_ava(rows(detection), gt, CLASSES, {("v", 903.0)})


def test_no_ground_truth_left() -> None:
    with pytest.raises(AVAEvaluationError, match="label map ids 1, 2"):
        evaluate_ava(rows(), rows(("v", 902, BOX, 9)), CLASSES)
    with pytest.raises(AVAEvaluationError, match="protocol"):
        evaluate_ava(rows(), rows(("v", 902, BOX, 1)), CLASSES, protocol="coco")
