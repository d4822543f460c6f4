"""AVA-style files to dataset dicts: formats, merging, errors that name file and line, catalogs."""

import json
from pathlib import Path

import numpy as np
import pytest
from detectron2.data import DatasetCatalog, MetadataCatalog, get_detection_dataset_dicts
from detectron2.structures import BoxMode

from avsf_det.data.datasets.ava import add_detected_keyframes, load_ava_csv, register_ava_csv
from avsf_det.structures import AnnotationError
from avsf_det.structures.ava_csv import read_excluded_keyframes, read_person_boxes

SHARED = Path(__file__).resolve().parents[3] / ".." / "shared" / "data"

# In the form of the official csv; two boxes of one keyframe, the first with three actions.
ANNOTATIONS = """\
-5KQ66BBWC4,0902,0.077,0.151,0.283,0.811,80,1
-5KQ66BBWC4,0902,0.077,0.151,0.283,0.811,9,1
-5KQ66BBWC4,0902,0.226,0.032,0.366,0.497,12,0
-5KQ66BBWC4,0902,0.077,0.151,0.283,0.811,12,1
-5KQ66BBWC4,0903,0.226,0.032,0.366,0.497,12,0
_145Aa_xkuE,1798,0.000,0.000,1.000,1.000,17,

_145Aa_xkuE,0950.5,0.500,0.250,0.750,0.500,79,4
_145Aa_xkuE,950.50,0.50,0.25,0.75,0.5,80,4
_145Aa_xkuE,0950.5,0.500,0.250,0.750,0.500,80,5
"""


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "videos").mkdir()
    for file in ("-5KQ66BBWC4.mkv", "_145Aa_xkuE.MP4", "_145Aa_xkuE.srt", "unused.mp4"):
        (tmp_path / "videos" / file).touch()
    return tmp_path


def write(folder: Path, text: str, name: str = "file.csv") -> str:
    path = folder / name
    path.write_text(text)
    return str(path)


def load(folder: Path, text: str, **kwargs) -> list[dict]:
    return load_ava_csv(write(folder, text), range(1, 81), str(folder / "videos"), **kwargs)


def test_annotations(folder):
    dicts = load(folder, ANNOTATIONS, offset=900.0)
    assert [d["image_id"] for d in dicts] == [
        "-5KQ66BBWC4,902",
        "-5KQ66BBWC4,903",
        "_145Aa_xkuE,950.5",
        "_145Aa_xkuE,1798",
    ]
    first, _, merged, last = dicts
    assert first == {
        "file_name": str(folder / "videos" / "-5KQ66BBWC4.mkv"),
        "video_id": "-5KQ66BBWC4",
        "image_id": "-5KQ66BBWC4,902",
        "timestamp": 902.0,
        "offset": 900.0,
        "source": f"{folder / 'file.csv'}:1",
        "annotations": [
            {
                "bbox": [0.077, 0.151, 0.283, 0.811],
                "bbox_mode": BoxMode.XYXY_REL,
                "category_id": 0,
                "action_ids": [8, 11, 79],
            },
            {
                "bbox": [0.226, 0.032, 0.366, 0.497],
                "bbox_mode": BoxMode.XYXY_REL,
                "category_id": 0,
                "action_ids": [11],
            },
        ],
    }
    # However the numbers are written, one box; another person in the same place, another box.
    assert [a["action_ids"] for a in merged["annotations"]] == [[78, 79], [79]]
    assert last["annotations"][0]["bbox"] == [0, 0, 1, 1]
    assert last["file_name"].endswith("_145Aa_xkuE.MP4")


def test_seven_columns_crlf_and_byte_order_mark(folder):
    path = folder / "windows.csv"
    path.write_bytes(b"\xef\xbb\xbf-5KQ66BBWC4, 3, 0.1,0.1,0.2,0.2, 7\r\n")
    (keyframe,) = load_ava_csv(str(path), [7], str(folder / "videos"))
    assert (keyframe["video_id"], keyframe["timestamp"]) == ("-5KQ66BBWC4", 3.0)
    assert keyframe["annotations"][0]["action_ids"] == [0]


def test_any_ids_and_keyframe_rate(folder):
    rows = "".join(f"unused,{i / 25},0.1,0.1,0.9,0.9,{1000 + i},0\n" for i in range(200))
    dicts = load_ava_csv(write(folder, rows), range(1000, 1200), str(folder / "videos"))
    assert len(dicts) == 200
    assert [d["annotations"][0]["action_ids"] for d in dicts] == [[i] for i in range(200)]
    assert dicts[1]["image_id"] == "unused,0.04"


def test_order_of_rows_does_not_matter(folder):
    """Rows of a keyframe and of a box that follow each other are parsed once."""
    random = np.random.default_rng(0)
    rows = [
        f"unused,{second:04d},0.{a},0.1,0.9,0.9,{action},{person}\n"
        for second in range(5)
        for person, a in enumerate((2, 2, 3))
        for action in (7, 12)
    ]
    rows += ["unused,3,0.2,0.1,0.9,0.9,80\n", "unused,3.0,0.20,0.1,0.9,0.9,7,0\n"]
    dicts = load(folder, "".join(rows))
    assert [len(d["annotations"]) for d in dicts] == [3, 3, 3, 4, 3]
    for _ in range(5):
        random.shuffle(rows)
        for d, shuffled in zip(dicts, load(folder, "".join(rows)), strict=True):
            assert {**shuffled, "source": d["source"]} == d


def test_excluded_keyframes_are_left_out(folder):
    excluded = read_excluded_keyframes(
        write(folder, "-5KQ66BBWC4,902\n_145Aa_xkuE,1798\n", "excluded.csv")
    )
    assert excluded == {("-5KQ66BBWC4", 902.0), ("_145Aa_xkuE", 1798.0)}
    dicts = load(folder, ANNOTATIONS, excluded=excluded)
    assert [d["image_id"] for d in dicts] == ["-5KQ66BBWC4,903", "_145Aa_xkuE,950.5"]


def test_keyframes_with_detections_only(folder, caplog):
    dicts = load(folder, ANNOTATIONS, offset=900.0)
    before = json.dumps(dicts)
    detected = [(d["video_id"], d["timestamp"]) for d in dicts]
    detected += [("-5KQ66BBWC4", 904.0), ("-5KQ66BBWC4", 905.0), ("-5KQ66BBWC4", 901.0)]
    detected += [("stranger", 902.0), ("stranger", 903.0)]
    result = add_detected_keyframes(
        dicts, detected, excluded={("-5KQ66BBWC4", 905.0)}, valid_sec=(902, 1798)
    )
    assert [d["image_id"] for d in result] == [
        "-5KQ66BBWC4,902",
        "-5KQ66BBWC4,903",
        "-5KQ66BBWC4,904",
        "_145Aa_xkuE,950.5",
        "_145Aa_xkuE,1798",
    ]
    assert result[2] == {
        **dicts[0],
        "image_id": "-5KQ66BBWC4,904",
        "timestamp": 904.0,
        "source": "person boxes",
        "annotations": [],
    }
    assert json.dumps(dicts) == before
    assert "1 videos without annotations: stranger" in caplog.text


def test_keyframes_without_persons(folder):
    dicts = load(folder, "unused,9\nunused,5,0.1,0.1,0.2,0.2,3,0\nunused,7,,,,,,\n")
    assert [(d["timestamp"], len(d["annotations"]), d["source"][-2:]) for d in dicts] == [
        (5.0, 1, ":2"),
        (7.0, 0, ":3"),
        (9.0, 0, ":1"),
    ]
    with pytest.raises(AnnotationError, match=r"file\.csv:2: timestamp 1 s lies before the video"):
        load(folder, "unused,5\nunused,1\n", offset=2.0)


GOOD = "unused,5,0.1,0.1,0.2,0.2,3,0\n"


@pytest.mark.parametrize(
    ("row", "complaint"),
    [
        ("unused,5,0.1,0.1,0.2,0.2", "6 columns, expected 7 or 8"),
        ("unused,5,0.1,0.1,0.2,0.2,3,0,0", "9 columns, expected 7 or 8"),
        ("unused\t5\t0.1\t0.1\t0.2\t0.2\t3", "1 columns.*commas"),
        (
            "video_id,timestamp,x1,y1,x2,y2,action,person",
            "timestamp 'timestamp' is not a .*Remove any header line",
        ),
        ("unused,5,0.1,0.1,1.2,0.2,3,0", "box 0.1,0.1,1.2,0.2.*divide pixels"),
        ("unused,5,-0.1,0.1,0.2,0.2,3,0", "box -0.1"),
        ("unused,5,12,30,200,210,3,0", "box 12,30,200,210.*divide pixels"),
        ("unused,5,0.2,0.1,0.2,0.2,3,0", "0 <= x1 < x2 <= 1"),
        ("unused,5,0.1,0.3,0.2,0.2,3,0", "0 <= y1 < y2 <= 1"),
        ("unused,5,nan,0.1,0.2,0.2,3,0", "x1 'nan' is not a finite number"),
        ("unused,5,a,0.1,0.2,0.2,3,0", "'a'"),
        ("unused,-5,0.1,0.1,0.2,0.2,3,0", "timestamp -5.*at least 0"),
        ("unused,nan,0.1,0.1,0.2,0.2,3,0", "timestamp 'nan' is not a finite number"),
        ("unused,inf,0.1,0.1,0.2,0.2,3,0", "timestamp 'inf' is not a finite number"),
        ("unused,5,0.1,0.1,0.2,0.2,3.5,0", "action id '3.5' is not an integer"),
        ("unused,5,0.1,0.1,0.2,0.2,,0", "action id '' is not an integer"),
        ("unused,5,0.1,0.1,0.2,0.2,81,0", "action id 81 is not in the label map.*80 ids"),
        ("unused,5,0.1,0.1,0.2,0.2,0,0", "action id 0 is not in the label map.*from 1 to 80"),
        ("../unused,5,0.1,0.1,0.2,0.2,3,0", "video id '../unused'"),
        ("un..used,5,0.1,0.1,0.2,0.2,3,0", r"video id 'un\.\.used'"),
        ("a/b,5,0.1,0.1,0.2,0.2,3,0", "video id 'a/b'"),
        ("a\\b,5,0.1,0.1,0.2,0.2,3,0", "video id"),
        ('"a,b",5,0.1,0.1,0.2,0.2,3,0', "video id 'a,b'"),
        (",5,0.1,0.1,0.2,0.2,3,0", "video id ''.*not empty"),
        ("unused,1,0.1,0.1,0.2,0.2,3,0", "timestamp 1 s lies before the video file.*at 2 s"),
        ("unused,3,0.1,0.1,0.2,0.2,3,0", "timestamp 3 s is outside the annotated seconds 4..6"),
    ],
)
def test_bad_annotation_row(folder, row, complaint):
    with pytest.raises(AnnotationError, match=rf"file\.csv:2: .*{complaint}"):
        load(folder, f"{GOOD}{row}\n{GOOD}", offset=2.0, valid_sec=(4, 6))


def test_bad_files(folder):
    with pytest.raises(AnnotationError, match=r"nowhere\.csv: cannot be read .*another path"):
        load_ava_csv(str(folder / "nowhere.csv"), [3], str(folder / "videos"))
    with pytest.raises(AnnotationError, match=r"file\.csv: cannot be read"):
        load_ava_csv(write(folder, GOOD), [3], str(folder / "file.csv"))
    with pytest.raises(AnnotationError, match=r"file\.csv: no keyframe"):
        load(folder, "")
    with pytest.raises(AnnotationError, match=r"file\.csv: no keyframe \(1 boxes before"):
        load(folder, GOOD, excluded={("unused", 5.0)})


def test_missing_and_ambiguous_videos(folder):
    rows = "".join(GOOD.replace("unused", f"absent{i}") for i in range(7)) + GOOD
    with pytest.raises(AnnotationError) as error:
        load(folder, rows)
    assert "7 of the 8 videos" in str(error.value)
    assert "absent4, ...." in str(error.value)
    (folder / "videos" / "unused.webm").touch()
    with pytest.raises(AnnotationError, match=r"2 files for one video id: .*unused\.mp4, .*\.webm"):
        load(folder, GOOD)


@pytest.fixture
def catalog_name():
    name = "test_ava_registration"
    yield name
    for catalog in (DatasetCatalog, MetadataCatalog):
        if name in catalog.list():
            catalog.remove(name)


def test_registration_is_lazy(folder, catalog_name):
    csv, labels, scored, excluded = (
        str(folder / name) for name in ("gt.csv", "all.pbtxt", "scored.pbtxt", "excluded.csv")
    )
    register_ava_csv(
        catalog_name,
        csv,
        labels,
        str(folder / "videos"),
        scored_label_map=scored,
        excluded=excluded,
        person_boxes=str(folder / "boxes.csv"),
        offset=900.0,
        source="Ask the librarian.",
    )
    with pytest.raises(AnnotationError) as error:
        DatasetCatalog.get(catalog_name)
    message = str(error.value)
    missing = "gt.csv, all.pbtxt, scored.pbtxt, excluded.csv. Ask"
    assert f"MISSING in {folder}: {missing}" in message and "videos" not in message
    assert message.endswith("Ask the librarian.")

    write(folder, "".join(f"{i}: action {i}\n" for i in (80, 9, 12, 17, 79)), "all.pbtxt")
    write(folder, "12: action 12\n80: action 80\n", "scored.pbtxt")
    write(folder, "_145Aa_xkuE,1798\n", "excluded.csv")
    write(folder, ANNOTATIONS, "gt.csv")
    dicts = DatasetCatalog.get(catalog_name)
    assert [d["image_id"] for d in dicts][-1] == "_145Aa_xkuE,950.5"
    assert dicts[0]["annotations"][0]["action_ids"] == [0, 1, 4]  # csv ids 9, 12, 80
    metadata = MetadataCatalog.get(catalog_name)
    assert metadata.evaluator_type == "ava"
    assert metadata.thing_classes == ["person"]
    assert metadata.action_classes == [f"action {i}" for i in (9, 12, 17, 79, 80)]
    assert metadata.action_csv_ids == [9, 12, 17, 79, 80]
    assert metadata.scored_action_csv_ids == [12, 80]
    assert metadata.annotation_file == csv
    assert metadata.excluded_file == excluded
    assert metadata.label_map_file == scored
    assert metadata.proposal_file == str(folder / "boxes.csv")
    # Detectron2's own loader accepts the dicts, and a second reading.
    assert len(get_detection_dataset_dicts(catalog_name)) == len(dicts)

    write(folder, "12: action 12\n81: action 81\n", "scored.pbtxt")
    with pytest.raises(AnnotationError, match=r"scored\.pbtxt: scores the ids 81"):
        DatasetCatalog.get(catalog_name)


def test_label_map_as_a_dict(folder, catalog_name):
    csv = write(folder, GOOD)
    register_ava_csv(catalog_name, csv, {7: "wave", 3: "sit"}, str(folder / "videos"))
    metadata = MetadataCatalog.get(catalog_name)
    assert metadata.action_classes == ["sit", "wave"]  # without reading anything
    assert metadata.action_csv_ids == [3, 7]
    (keyframe,) = DatasetCatalog.get(catalog_name)
    assert keyframe["annotations"][0]["action_ids"] == [0]
    assert metadata.scored_action_csv_ids == [3, 7]


@pytest.fixture(scope="module")
def oracle(tmp_path_factory):
    """Annotations and person boxes of 19 videos, and PySlowFast's counts on them."""
    expected = SHARED / "oracles" / "ava_boxes" / "D_boxes.expected.json"
    if not expected.exists():
        pytest.skip(f"{expected} is not there")
    annotations = SHARED / "oracles" / "ava_eval" / "D_gt.csv"
    videos = tmp_path_factory.mktemp("videos")
    for video_id in {row.split(",")[0] for row in annotations.read_text().split()}:
        (videos / f"{video_id}.mp4").touch()
    dicts = load_ava_csv(str(annotations), range(1, 81), str(videos), valid_sec=(902, 1798))
    boxes = read_person_boxes(str(expected.parent / "D_person_boxes.csv"))
    return dicts, boxes, json.loads(expected.read_text())


def test_oracle_counts_of_annotations(oracle):
    dicts, _, expected = oracle
    annotations = [a for d in dicts for a in d["annotations"]]
    assert sum(len(a["action_ids"]) for a in annotations) == expected["gt"]["labels"]
    assert len(annotations) == expected["gt"]["unique_boxes"]
    assert len(dicts) == expected["gt"]["keyframes"]
    assert len({d["video_id"] for d in dicts}) == expected["gt"]["videos"]


@pytest.mark.parametrize(
    ("case", "min_score", "every"),
    [("boxes_thr0.8", 0.8, 1), ("boxes_thr0.9", 0.9, 1), ("boxes_thr0.8_rate4", 0.8, 4)],
)
def test_oracle_counts_of_person_boxes(oracle, case, min_score, every):
    _, boxes, expected = oracle
    counts = [
        (scores >= min_score).sum()
        for (_, second), (_, scores) in boxes.items()
        if not second % every
    ]
    assert sum(counts) == expected[case]["unique_boxes"]
    assert np.count_nonzero(counts) == expected[case]["keyframes"]


def test_oracle_counts_of_both(oracle):
    dicts, boxes, expected = oracle
    kept = {key: scores >= 0.8 for key, (_, scores) in boxes.items() if (scores >= 0.8).any()}
    keyframes = add_detected_keyframes(dicts, kept)
    expected = expected["train_gt_plus_boxes_thr0.8"]
    assert len(keyframes) == expected["keyframes"]
    num_annotated = sum(len(d["annotations"]) for d in keyframes)
    assert num_annotated + sum(keep.sum() for keep in kept.values()) == expected["unique_boxes"]
