import csv
import gzip
import heapq
import json
import math
from pathlib import Path

import numpy as np
import pytest

from avsf_det.evaluation import ava_map
from avsf_det.evaluation.ava_map import (
    ActionBoxes,
    AVAEvaluationError,
    average_precision,
    evaluate_ava,
    evaluate_ava_files,
    rank_detections,
    read_detections,
    read_excluded,
    read_ground_truth,
    read_label_map,
)

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
    known = {r[:2] for r in gt}
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
    kept = ava_map._highest_scored(det, np.arange(200), 20)
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
    result = evaluate_ava_files(
        read_label_map(label_maps / files["labelmap"]),
        folder / files["gt"],
        detections,
        folder / files["excluded"] if files["excluded"] else None,
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


# Files ----------------------------------------------------------------------


def write(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def test_reading_equals_python(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ava_map, "_CHUNK_BYTES", 700)  # many pieces that end inside lines
    rng = np.random.default_rng(0)
    styles = ("{:.3f}", "{:.6f}", "{!r}", "{:.9g}", "{:e}", " {:.2f}", "{:.1f}")
    lines, expected = [], []
    for i in range(400):
        box = [styles[i % len(styles)].format(x) for x in rng.random(4).tolist()]
        score = rng.choice(styles).format(float(rng.normal() * 10.0 ** rng.integers(-12, 3)))
        second = rng.choice(["902", "0902", "902.0", "903", "1000.25"])
        video = rng.choice(["a", "-5KQ66BBWC4", "a long video id of many words"])
        for action in range(1, rng.integers(2, 5)):
            lines.append(",".join([video, second, *box, str(action), score]))
            expected.append((video, float(second), *map(float, box), action, float(score)))
    with gzip.open(tmp_path / "d.csv.gz", "wt") as file:
        file.write("\r\n".join(lines))  # no line end after the last row
    got = read_detections(tmp_path / "d.csv.gz")
    assert [
        (*got.keyframes[k], *box, action, score)
        for k, box, action, score in zip(
            got.keyframe, got.boxes.tolist(), got.actions, got.scores, strict=True
        )
    ] == expected
    assert len(set(got.keyframes)) == len(got.keyframes)


def test_last_column_of_ground_truth_is_no_score(tmp_path: Path) -> None:
    gt = read_ground_truth(write(tmp_path / "g.csv", "v,0902,0,0,1,1,3,person 7\n"))
    assert gt.scores.tolist() == [1] and gt.actions.tolist() == [3]
    assert gt.keyframes == [("v", 902.0)]
    assert len(read_detections(write(tmp_path / "d.csv", "v,902,0,0,1,1,3\n"))) == 1


@pytest.mark.parametrize(
    "text",
    [
        'item {\n  name: "sit"\n  id: 1\n}\nitem {\n  name: "talk to (a {person)"\n  id: 20\n}\n',
        'label {\n  name: "sit"\n  label_id: 1\n  label_type: X\n}\n'
        "label { label_id: 20 name: 'talk to (a {person)' }",
        "1: sit\n\n20: talk to (a person)\n",
    ],
)
def test_label_maps(tmp_path: Path, text: str) -> None:
    names = read_label_map(write(tmp_path / "map.pbtxt", text.replace("{person", "person")))
    assert names == {1: "sit", 20: "talk to (a person)"}


def test_excluded(tmp_path: Path) -> None:
    path = write(tmp_path / "x.csv", "v,0902\nw,1000.5\n")
    assert read_excluded(path) == {("v", 902.0), ("w", 1000.5)}
    assert read_excluded(write(tmp_path / "empty.csv", "")) == set()


GOOD = "v,0902,0.1,0.1,0.5,0.5,1,0.5\n"


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("v,0902,0.1,0.1,0.5,0.5,1\n", "7 columns"),
        ("v,0902,0.1,0.1,0.5,0.5,1,0.5,9\n", "9 columns"),
        ("\n", "1 columns"),
        ("v,0902,0.1,nan,0.5,0.5,1,0.5\n", "column 4 is 'nan'"),
        ("v,0902,0.1,0.1,0.5,0.5,1,inf\n", "column 8 is 'inf'"),
        ("v,0902,0.1,0.1,0.5,,1,0.5\n", "column 6 is ''"),
        ("v,0902,0.1,0.1,0.5,1-2,1,0.5\n", "column 6 is '1-2'"),
        ("v,0902,0.1,0.1,0.5,0.5.1,1,0.5\n", "column 6 is '0.5.1'"),
        ("v,0902,0.1,0.1,0.5,0.5,1,-\n", "column 8 is '-'"),
        ("v,0902,0.1,0.1,0.5,0.5,sit,0.5\n", "column 7 is 'sit'"),
        ("v,0902,0.1,0.1,0.5,0.5,1.5,0.5\n", "action id 1.5"),
        ("v,0902,32,10,128,200,1,0.5\n", "[32.0, 10.0, 128.0, 200.0]"),
        ("v,abc,0.1,0.1,0.5,0.5,1,0.5\n", "'abc'"),
        ("v,nan,0.1,0.1,0.5,0.5,1,0.5\n", "'v,nan'"),
        (",0902,0.1,0.1,0.5,0.5,1,0.5\n", "',0902'"),
        ("v" * 2000 + GOOD, "characters"),
    ],
)
def test_bad_detections(tmp_path: Path, line: str, message: str) -> None:
    path = write(tmp_path / "d.csv", GOOD * 2 + line + GOOD)
    with pytest.raises(AVAEvaluationError) as error:
        read_detections(path)
    assert str(error.value).startswith(f"{path}:3: ") and message in str(error.value)


@pytest.mark.parametrize("box", ["0.5,0.1,0.4,0.5", "0.1,0.1,0.5,1.01", "-0.01,0.1,0.5,0.5"])
def test_bad_ground_truth_boxes(tmp_path: Path, box: str) -> None:
    path = write(tmp_path / "g.csv", f"v,0902,{box},1,0\n")
    with pytest.raises(AVAEvaluationError, match=r"g\.csv:1: box"):
        read_ground_truth(path)


def test_unreadable_files(tmp_path: Path) -> None:
    with pytest.raises(AVAEvaluationError, match="no ground truth"):
        read_ground_truth(write(tmp_path / "empty.csv", ""))
    with pytest.raises(AVAEvaluationError, match="No such file"):
        read_detections(tmp_path / "missing.csv")
    with pytest.raises(AVAEvaluationError, match="cannot be read"):
        read_detections(write(tmp_path / "plain.csv.gz", GOOD))
    truncated = tmp_path / "truncated.csv.gz"
    truncated.write_bytes(gzip.compress(GOOD.encode() * 100)[:-10])
    with pytest.raises(AVAEvaluationError, match="cannot be read"):
        read_detections(truncated)
    with pytest.raises(AVAEvaluationError, match=r"map\.pbtxt:4: entry without name or id"):
        text = 'item {\n name: "x" id: 1\n}\nitem {\n  name: "y"\n}\n'
        read_label_map(write(tmp_path / "map.pbtxt", text))
    with pytest.raises(AVAEvaluationError, match="occurs twice"):
        read_label_map(write(tmp_path / "map.pbtxt", "1: x\n1: y\n"))
    with pytest.raises(AVAEvaluationError, match="no classes"):
        read_label_map(write(tmp_path / "map.pbtxt", ""))
    with pytest.raises(AVAEvaluationError, match=r"x\.csv:2: "):
        read_excluded(write(tmp_path / "x.csv", "v,0902\nv 0903\n"))


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
