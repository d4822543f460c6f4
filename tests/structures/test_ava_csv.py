"""AVA's csv files: what is read, what is refused and with which words, what is written."""

import gzip
import io
import os
from pathlib import Path

import numpy as np
import pytest

from avsf_det.evaluation.ava_map import evaluate_ava
from avsf_det.structures import AnnotationError, AVSFError, ava_boxes, ava_csv
from avsf_det.structures.ava_csv import (
    read_action_boxes,
    read_detections,
    read_excluded_keyframes,
    read_ground_truth,
    read_person_boxes,
    write_action_boxes,
    write_detections,
    write_excluded_keyframes,
    write_person_boxes,
)

SHARED = Path(__file__).resolve().parents[2] / ".." / "shared" / "data"
PERSON_BOXES = """\
-5KQ66BBWC4,0902,0.080,0.150,0.280,0.810,,0.996891
-5KQ66BBWC4,0902,0.220,0.030,0.370,0.500,12,0.800000
-5KQ66BBWC4,0902,0.220,0.030,0.370,0.500,80,0.900000
-5KQ66BBWC4,0904,0.220,0.030,0.370,0.500,,0.5
_145Aa_xkuE,950.5,0.500,0.250,0.750,0.500,0.75
"""


def write(path: Path, text: str) -> Path:
    path = path if path.suffix else path / "file.csv"
    path.write_text(text)
    return path


# Action boxes ---------------------------------------------------------------


def test_reading_equals_python(tmp_path: Path) -> None:
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


def test_pyarrow_rounds_decimals_as_python(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    texts = [
        f"0.{rng.integers(10**15):015d}{rng.integers(10**9):09d}"[: rng.integers(4, 26)]
        for _ in range(8000)
    ]
    texts += [repr(float(x)) for x in rng.random(4000)]
    texts += [f"{x:e}" for x in rng.random(2000) * 10.0 ** rng.integers(-30, 0, 2000)]
    texts += ["0.30000000000000004", "0.1", "5e-324", "0.99999999999999994", "1.0", "0"]
    lines = [f"v,{10 * i},0,0,{text},{text},1,{text}\n" for i, text in enumerate(texts)]
    path = write(tmp_path, "".join(lines))
    table = ava_csv._parse_table(path, ava_boxes.DETECTIONS)
    rows = ava_boxes.parse_rows(path, ava_boxes.DETECTIONS)
    assert table is not None and table.keyframes == rows.keyframes
    expected = np.array([float(text) for text in texts])
    for found in (table, rows):
        assert found.scores.tobytes() == expected.tobytes()
        assert found.boxes[:, 2].tobytes() == expected.tobytes()


@pytest.mark.parametrize("name", ["ANNOTATIONS", "GROUND_TRUTH", "DETECTIONS", "PERSON_BOXES"])
def test_both_parsers_read_the_same(tmp_path: Path, name: str) -> None:
    rules, rng = getattr(ava_boxes, name), np.random.default_rng(1)
    lines = []
    for _ in range(300):
        x, y = rng.random(2) * 0.5
        second = rng.choice(["902", "0902", "902.0", "-0" if name != "PERSON_BOXES" else "0"])
        second = second.replace("-0", "0") if rules.ids_are_files else second
        last = f"{rng.random():.6f}" if rules.last_is_score else rng.choice(["", "7", "anna", "10"])
        action = "" if rules.for_persons and rng.random() < 0.3 else rng.integers(1, 5)
        video = rng.choice(["a", "-5KQ", "b c"])
        lines.append(f"{video},{second},{x:.3f},{y:.2f},{x + 0.4:.4f},{y + 0.3},{action},{last}\n")
    path = write(tmp_path, "".join(lines))
    table, rows = ava_csv._parse_table(path, rules), ava_boxes.parse_rows(path, rules)
    assert table is not None and table.keyframes == rows.keyframes
    for field in ("keyframe", "boxes", "actions", "scores", "persons", "lines"):
        found, expected = getattr(table, field), getattr(rows, field)
        if getattr(rows, field) is None:
            assert found is None
            continue
        assert found.dtype == expected.dtype and found.tobytes() == expected.tobytes(), field


def test_unusual_text_is_read_as_by_the_csv_module(tmp_path: Path) -> None:
    path = tmp_path / "g.csv"
    path.write_bytes(b'\xef\xbb\xbf"v" , 902,0,0,1,1,3,"ann, b"\r\n\r\n v,902,0,0, 1,1, 4,ann \r\n')
    rows = read_action_boxes(path)
    assert rows.keyframes == [("v", 902.0)]
    assert rows.actions.tolist() == [3, 4] and rows.lines is not None
    assert rows.lines.tolist() == [1, 3] and rows.persons is not None
    assert rows.persons.tolist() == [1, 0]  # "ann" comes before "ann, b"


def test_last_column_of_ground_truth_is_no_score(tmp_path: Path) -> None:
    gt = read_ground_truth(write(tmp_path / "g.csv", "v,0902,0,0,1,1,3,person 7\n"))
    assert gt.scores.tolist() == [1] and gt.actions.tolist() == [3]
    assert gt.keyframes == [("v", 902.0)]
    assert len(read_detections(write(tmp_path / "d.csv", "v,902,0,0,1,1,3\n"))) == 1


def test_mixed_widths_and_blank_lines_of_annotations(tmp_path: Path) -> None:
    rows = read_ground_truth(write(tmp_path, "v,1,0,0,1,1,3\n\nv,1,0,0,1,1,3,5\n"))
    assert rows.lines is not None and rows.lines.tolist() == [1, 3]
    assert rows.persons is not None and rows.persons.tolist() == [0, 1]
    assert len(read_detections(write(tmp_path, ""))) == 0


DETECTION = "v,0902,0.1,0.1,0.5,0.5,1,0.5\n"


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("v,0902,0.1,0.1,0.5,0.5,1\n", "7 columns"),
        ("v,0902,0.1,0.1,0.5,0.5,1,0.5,9\n", "9 columns"),
        ("\n", "1 columns"),
        ("v,0902,0.1,nan,0.5,0.5,1,0.5\n", "y1 'nan' is not a finite number"),
        ("v,0902,0.1,0.1,0.5,0.5,1,inf\n", "score 'inf' is not a finite number"),
        ("v,0902,0.1,0.1,0.5,,1,0.5\n", "y2 '' is not a finite number"),
        ("v,0902,0.1,0.1,0.5,1-2,1,0.5\n", "y2 '1-2' is not"),
        ("v,0902,0.1,0.1,0.5,0.5.1,1,0.5\n", "y2 '0.5.1' is not"),
        ("v,0902,0.1,0.1,0.5,0.5,1,-\n", "score '-' is not"),
        ("v,0902,0.1,0.1,0.5,0.5,sit,0.5\n", "action id 'sit' is not an integer"),
        ("v,0902,0.1,0.1,0.5,0.5,1.5,0.5\n", "action id '1.5' is not an integer"),
        ("v,0902,32,10,128,200,1,0.5\n", "box 32,10,128,200"),
        ("v,abc,0.1,0.1,0.5,0.5,1,0.5\n", "timestamp 'abc'"),
        ("v,nan,0.1,0.1,0.5,0.5,1,0.5\n", "timestamp 'nan'"),
        (",0902,0.1,0.1,0.5,0.5,1,0.5\n", "video id ''"),
        ("v" * 2000 + DETECTION, "characters"),
    ],
)
def test_bad_detections(tmp_path: Path, line: str, message: str) -> None:
    path = write(tmp_path / "d.csv", DETECTION * 2 + line + DETECTION)
    with pytest.raises(AnnotationError) as error:
        read_detections(path)
    assert str(error.value).startswith(f"{path}:3: ") and message in str(error.value)


@pytest.mark.parametrize("box", ["0.5,0.1,0.4,0.5", "0.1,0.1,0.5,1.0101", "-0.02,0.1,0.5,0.5"])
def test_bad_ground_truth_boxes(tmp_path: Path, box: str) -> None:
    path = write(tmp_path / "g.csv", f"v,0902,{box},1,0\n")
    with pytest.raises(AnnotationError, match=r"g\.csv:1: box"):
        read_ground_truth(path)


# Person boxes ---------------------------------------------------------------


def test_order_of_person_boxes_does_not_matter(tmp_path):
    random = np.random.default_rng(0)
    rows = [
        f"unused,{second:04d},0.{a},0.1,0.9,0.9,{action},0.{person + action}\n"
        for second in range(5)
        for person, a in enumerate((2, 3, 4))
        for action in (5, 6)
    ]
    rows += ["unused,3,0.2,0.1,0.9,0.9,0.97\n", "unused,3.0,0.50,0.1,0.9,0.9,,0.5\n"]
    by_score = {}
    for _ in range(5):
        for keyframe, (boxes, scores) in read_person_boxes(write(tmp_path, "".join(rows))).items():
            order = np.argsort(boxes[:, 0])
            by_score.setdefault(keyframe, []).append((boxes[order], scores[order]))
        random.shuffle(rows)
    assert len(by_score) == 5
    np.testing.assert_allclose(by_score["unused", 0.0][0][1], [0.6, 0.7, 0.8])  # the highest
    np.testing.assert_allclose(by_score["unused", 3.0][0][1], [0.97, 0.7, 0.8, 0.5])
    for (boxes, scores), *others in by_score.values():
        for other in others:
            np.testing.assert_array_equal(other[0], boxes)
            np.testing.assert_array_equal(other[1], scores)


def test_person_boxes(tmp_path):
    boxes = read_person_boxes(write(tmp_path, PERSON_BOXES))
    assert list(boxes) == [("-5KQ66BBWC4", 902.0), ("-5KQ66BBWC4", 904.0), ("_145Aa_xkuE", 950.5)]
    xyxy, scores = boxes["-5KQ66BBWC4", 902.0]
    assert xyxy.dtype == scores.dtype == np.float32
    np.testing.assert_allclose(xyxy, [[0.08, 0.15, 0.28, 0.81], [0.22, 0.03, 0.37, 0.5]], 1e-6)
    np.testing.assert_allclose(scores, [0.996891, 0.9], 1e-6)
    np.testing.assert_allclose(boxes["_145Aa_xkuE", 950.5][1], [0.75])


@pytest.mark.parametrize(
    ("row", "complaint"),
    [
        ("unused,5,0.1,0.1,0.2,0.2", "6 columns"),
        ("unused,5,0.1,0.1,0.2,0.2,3,1.5", "score 1.5 is outside 0..1"),
        ("unused,5,0.1,0.1,0.2,0.2,3,nan", "score 'nan' is not a finite number"),
        ("unused,5,0.1,0.1,0.2,0.2,3,", "score '' is not a finite number"),
        ("unused,5,0.1,0.1,0.2,0.2,x,0.5", "action id 'x'"),
        ("unused,5,0.1,0.1,0.2,0.2,12", "score 12 is outside 0..1.*annotation file"),
        ("unused,5,0.3,0.1,0.2,0.2,,0.5", "box 0.3"),
        ("..,5,0.1,0.1,0.2,0.2,,0.5", "video id"),
    ],
)
def test_bad_person_box_row(tmp_path, row, complaint):
    path = write(tmp_path, f"unused,5,0.1,0.1,0.2,0.2,,0.5\n{row}\n")
    with pytest.raises(AnnotationError, match=rf"file\.csv:2: .*{complaint}"):
        read_person_boxes(path)


def test_annotations_are_not_taken_for_scored_boxes(tmp_path):
    rows = "v,1,0,0,0.5,1,3,0\nv,1,0.5,0,1,1,1,1\n"
    with pytest.raises(AnnotationError, match=r"file\.csv: has actions and no scores"):
        read_person_boxes(write(tmp_path, rows))
    ((boxes, scores),) = read_person_boxes(write(tmp_path, rows), take_annotations=True).values()
    assert boxes.tolist() == [[0, 0, 0.5, 1], [0.5, 0, 1, 1]] and scores.tolist() == [1, 1]
    # Published boxes have actions and scores, some of them whole.
    read_person_boxes(write(tmp_path, rows.replace("1,1\n", "1,0.9\n")))


def test_ids_of_persons_are_written_and_read_back(tmp_path: Path) -> None:
    persons = [[0, 0.1, 0.5, 1, 0.75, 7], [0.5, 0, 1, 1, 0.5, -1], [0.1, 0.1, 1, 1, 0.5, 0]]
    with open(tmp_path / "p.csv", "w") as file:
        write_person_boxes(file, [(("人", 2.0), persons)])
    lines = (tmp_path / "p.csv").read_text().splitlines()
    assert [line.split(",")[6:] for line in lines] == [
        ["7", "0.7500"],
        ["", "0.5000"],
        ["0", "0.5000"],
    ]
    ((boxes, scores, ids),) = read_person_boxes(tmp_path / "p.csv", take_ids=True).values()
    np.testing.assert_array_equal(np.column_stack([boxes, scores, ids]), np.float32(persons))
    assert len(read_person_boxes(tmp_path / "p.csv")["人", 2.0]) == 2
    # Files with scores only, with a box for each of its actions, and annotations have none.
    box = "v,1,0,0,0.5,1,"
    for rows in (f"{box}0.5\n", f"{box}3,0.5\n{box}4,0.5\n", f"{box}3,0\n"):
        path = write(tmp_path, rows)
        ((*_, ids),) = read_person_boxes(path, take_ids=True, take_annotations=True).values()
        assert ids.tolist() == [-1]


@pytest.mark.parametrize("comment", ["", "# for the other parser\n"])
def test_clashing_ids_are_named(tmp_path: Path, comment: str) -> None:
    rows = [
        "v,1,0,0,0.5,1,3,0.5",
        "v,2,0,0,0.5,1,3,0.5",
        "v,2,0,0,0.6,1,,0.5",
        "v,2,0,0,0.8,1,3,0.5",
    ]
    path = write(tmp_path, comment + "".join(f"{row}\n" for row in rows))
    line = 4 + bool(comment)
    with pytest.raises(AnnotationError, match=rf"csv:{line}: person 3 has two boxes at 2 s of 'v'"):
        read_person_boxes(path, take_ids=True)
    assert len(read_person_boxes(path)) == 2  # where ids do not matter


# Excluded keyframes, and any file -------------------------------------------


def test_excluded(tmp_path: Path) -> None:
    path = write(tmp_path / "x.csv", "v,0902\nw,1000.5\n")
    assert read_excluded_keyframes(path) == {("v", 902.0), ("w", 1000.5)}
    assert read_excluded_keyframes(write(tmp_path / "empty.csv", "")) == set()


def test_unreadable_files(tmp_path: Path) -> None:
    with pytest.raises(AnnotationError, match=r"empty\.csv: no ground truth"):
        read_ground_truth(write(tmp_path / "empty.csv", ""))
    with pytest.raises(AnnotationError, match=r"file\.csv: the file is empty"):
        read_person_boxes(write(tmp_path, "\n"))
    with pytest.raises(AnnotationError, match="No such file"):
        read_detections(tmp_path / "missing.csv")
    with pytest.raises(AnnotationError, match=r"nowhere\.csv: cannot be read .*another path"):
        read_person_boxes(tmp_path / "nowhere.csv")
    with pytest.raises(AnnotationError, match="cannot be read"):
        read_detections(write(tmp_path / "plain.csv.gz", DETECTION))
    truncated = tmp_path / "truncated.csv.gz"
    truncated.write_bytes(gzip.compress(DETECTION.encode() * 100)[:-10])
    with pytest.raises(AnnotationError, match="cannot be read"):
        read_detections(truncated)
    with pytest.raises(AnnotationError, match=r"x\.csv:2: "):
        read_excluded_keyframes(write(tmp_path / "x.csv", "v,0902\nv 0903\n"))
    with pytest.raises(AnnotationError, match=r"excluded\.csv:2: 3 columns, expected 2"):
        read_excluded_keyframes(write(tmp_path / "excluded.csv", "a,1\nb,2,3\n"))
    (tmp_path / "binary.csv").write_bytes(b"a,1\nb\xff\xfe\x00\x80" * 10)
    for read in (read_excluded_keyframes, read_detections):
        with pytest.raises(AnnotationError, match=r"binary\.csv:2: not a text file"):
            read(tmp_path / "binary.csv")
    with pytest.raises(AnnotationError, match=r"file\.csv:2: field larger than field limit"):
        read_excluded_keyframes(write(tmp_path, f"a,1\n{'b' * 200_000},1\n"))


def test_official_excluded_keyframes() -> None:
    official = SHARED / "ava" / "official_v2.2"
    if not official.exists():
        pytest.skip(f"{official} is not there")
    for split in ("train", "val", "test"):
        path = official / f"ava_{split}_excluded_timestamps_v2.2.csv"
        excluded = read_excluded_keyframes(str(path))
        assert len(excluded) == len(path.read_text().split())
        assert all(902 <= second <= 1798 for _, second in excluded)


# Writing --------------------------------------------------------------------


def test_annotations_are_written() -> None:
    file = io.StringIO()
    rows = [
        (("v", 2.0), (0.0, 0.12345, 0.5, 1.0), 3, "ann, b"),
        (("v", 2.5), (0.0, 0.25, 0.5, 1.0), 1, 7),
    ]
    write_action_boxes(file, rows, digits=3)
    write_action_boxes(file, rows[:1], second_digits=1)
    assert file.getvalue() == (
        'v,0002,0.000,0.123,0.500,1.000,3,"ann, b"\n'
        "v,2.5,0.000,0.250,0.500,1.000,1,7\n"
        'v,2,0.0000,0.1235,0.5000,1.0000,3,"ann, b"\n'
    )


def test_detections_are_written_and_read_back(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    boxes, scores = rng.random((9, 4), np.float32), rng.random((9, 3), np.float32)
    with open(tmp_path / "d.csv", "w") as file:
        write_detections(file, ("v", 902.0), boxes, [1, 4, 9], scores)
        write_detections(file, ("v", 903.5), boxes[:0], [1, 4, 9], scores[:0])
    first, *_ = (tmp_path / "d.csv").read_text().splitlines()
    corners = ",".join(f"{value:.5f}" for value in boxes[0].tolist())
    assert first == f"v,0902,{corners},1,{float(scores[0, 0]):.9g}"
    rows = read_detections(tmp_path / "d.csv")
    assert rows.keyframes == [("v", 902.0)] and rows.actions.tolist() == [1, 4, 9] * 9
    np.testing.assert_array_equal(rows.scores.astype(np.float32), scores.reshape(-1))
    np.testing.assert_allclose(rows.boxes, boxes.repeat(3, axis=0), atol=5.1e-6)


def test_person_boxes_and_excluded_keyframes_are_written_and_read_back(tmp_path: Path) -> None:
    keyframes = [(("v", 2.0), [[0.0, 0.1, 0.5, 1.0, 0.75]]), (("w", 3.25), [])]
    with open(tmp_path / "p.csv", "w") as file:
        write_person_boxes(file, keyframes)
    assert (tmp_path / "p.csv").read_text() == "v,0002,0.0000,0.1000,0.5000,1.0000,,0.7500\n"
    ((boxes, scores),) = read_person_boxes(tmp_path / "p.csv").values()
    np.testing.assert_array_equal(boxes, np.float32([[0, 0.1, 0.5, 1]]))
    assert scores.tolist() == [0.75]
    with open(tmp_path / "x.csv", "w") as file:
        write_excluded_keyframes(file, [key for key, _ in keyframes])
    assert (tmp_path / "x.csv").read_text() == "v,0002\nw,3.25\n"
    assert read_excluded_keyframes(tmp_path / "x.csv") == {("v", 2.0), ("w", 3.25)}


# What people and tools write --------------------------------------------------------------------


def test_boxes_that_overshoot_by_a_hair_are_clipped_and_counted(tmp_path, caplog) -> None:
    text = "v,1,-0.01,0.1,0.5,1.01,1,0\nv,1,0.1,0.1,0.5,0.5,1,0\nv,1,0.1,0.1,1.0005,0.5,1,0\n"
    for name in (text, text + "w,2\n"):  # both parsers
        rows = read_ground_truth(write(tmp_path, name))
        assert rows.boxes.tolist()[::2] == [[0, 0.1, 0.5, 1], [0.1, 0.1, 1, 0.5]]
        assert caplog.text.count("file.csv: 2 boxes overshot the frame") == 1
        caplog.clear()
    ((boxes, _),) = read_person_boxes(write(tmp_path, "v,1,0.1,0,1.005,1,,0.5\n")).values()
    assert boxes.max() == 1 and "1 boxes" in caplog.text
    for row in ("v,1,0.1,0.1,1.0101,0.5,1,0\n", "v,1,1.001,0,1.002,1,1,0\n"):
        with pytest.raises(AnnotationError, match=r"file\.csv:4: box .*divide pixels by"):
            read_action_boxes(write(tmp_path, text + row))


def test_keyframes_without_persons(tmp_path) -> None:
    rows = read_ground_truth(write(tmp_path, "# x\nv,2\nv,1,0,0,1,1,1,0\nv,1\nw,0003,,,,,,\n"))
    assert rows.keyframes == [("v", 1.0)] and rows.empty == {("v", 2.0): 2, ("w", 3.0): 5}
    with pytest.raises(AnnotationError, match=r"file\.csv:1: 2 columns"):
        read_detections(write(tmp_path, "v,1\n"))
    # As in the official script of AVA-Kinetics, every detection on them is wrong.
    score = read_detections(write(tmp_path, "v,2,0,0,1,1,1,0.9\nv,1,0,0,1,1,1,0.5\n"))
    for protocol in ("default", "activitynet"):
        assert evaluate_ava(score, rows, {1: "a"}, protocol=protocol).mean_ap == 0.5


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-32"])
def test_other_encodings(tmp_path, encoding) -> None:
    (tmp_path / "a.csv").write_bytes("vidéo,1,0,0,1,1,1,0\r\n".encode(encoding))
    assert read_ground_truth(tmp_path / "a.csv").keyframes == [("vidéo", 1.0)]


@pytest.mark.parametrize(
    ("data", "complaint"),
    [
        (b"v,1\nw,2\xff\n", ":2: not a text file .*UTF-8"),
        ("v,1\n".encode("utf-16-le"), ":1: a NUL character, .*UTF-16"),
        (b"v,1\n" + b"0" * 1_100_000, ":2: a line of more than 1,000,000 characters"),
        (b"\n" * 200_000, r":100001: 100,001 blank lines"),
    ],
)
def test_texts_of_another_kind(tmp_path, data, complaint) -> None:
    (tmp_path / "x.csv").write_bytes(data)
    with pytest.raises(AnnotationError, match=rf"x\.csv{complaint}"):
        read_excluded_keyframes(tmp_path / "x.csv")


def test_pipes_and_files_that_unpack_to_very_much(tmp_path) -> None:
    os.mkfifo(tmp_path / "pipe.csv")
    (tmp_path / "bomb.csv.gz").write_bytes(gzip.compress(b"\n" * (1 << 26) + b"v,1\n", 1))
    for name, reason in (("pipe.csv", "a pipe or a device"), ("bomb.csv.gz", "unpack to 64 MB")):
        for read in (read_ground_truth, read_excluded_keyframes):
            with pytest.raises(AnnotationError, match=rf"{name}: cannot be read .*{reason}"):
                read(tmp_path / name)


def test_errors_are_one_line_of_bounded_length() -> None:
    assert str(AVSFError("a\n  b\x1b[2J\u202e")) == "a b\\x1b[2J\\u202e"
    message = str(AnnotationError(f"file.csv:3: '{'x' * 10_000}' is wrong. Do this."))
    assert len(message) == 300 and message.startswith("file.csv:3: 'xx") and " ... x" in message
    assert message.endswith("xx' is wrong. Do this.")
