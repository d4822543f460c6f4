"""EPIC-Kitchens-55 and -100: columns, clock times, participants, counts of pairs."""

import os

import pytest
from detectron2.data import DatasetCatalog, MetadataCatalog

from avsf_det.data.datasets.epic_kitchens import (
    load_epic_classes,
    load_epic_kitchens,
    register_epic_kitchens,
)
from avsf_det.structures import AnnotationError

EPIC55 = """\
uid,participant_id,video_id,narration,start_timestamp,stop_timestamp,start_frame,stop_frame,verb,\
verb_class,noun,noun_class,all_nouns,all_noun_classes
0,P01,P01_01,open door,00:00:00.14,00:00:03.37,8,202,open,2,door,8,['door'],[8]
1,P01,P01_01,turn on light,00:00:04.37,00:00:06.17,262,370,turn-on,6,light,113,['light'],[113]
2,P01,P01_01,close door,00:00:06.98,00:00:09.49,418,569,close,3,door,8,['door'],[8]
27182,P26,P26_02,"put plates, cups",01:02:03.5,01:02:04.25,1,2,put,1,plate,2,\
"['plate', 'cup']","[2, 13]"
27183,P31,P31_14,open door,00:00:01,00:00:02,60,120,open,2,door,8,['door'],[8]
"""
EPIC100 = """\
narration_id,participant_id,video_id,narration_timestamp,start_timestamp,stop_timestamp,\
start_frame,stop_frame,narration,verb,verb_class,noun,noun_class,all_nouns,all_noun_classes
P01_01_0,P01,P01_01,00:00:01.089,00:00:00.14,00:00:03.37,8,202,open door,open,3,door,3,['door'],[3]
P22_107_9,P22,P22_107,00:00:05.349,00:00:06.98,00:00:09.49,418,569,close door,close,4,door,3,\
['door'],[3]
"""
SIZE55 = {"num_verbs": 125, "num_nouns": 352}


def test_epic55(write, touch):
    csv, videos = write("train.csv", EPIC55), touch(["P01_01.MP4", "P26_02.mp4", "P31_14.MP4"])
    clips = load_epic_kitchens(csv, videos, **SIZE55, participants=range(1, 26))
    assert [clip["clip_id"] for clip in clips] == ["0", "1", "2"]
    assert clips[1] == {
        "file_name": os.path.join(videos, "P01_01.MP4"),
        "video_id": "P01_01",
        "clip_id": "1",
        "start_sec": 4.37,
        "end_sec": 6.17,
        "labels": {"verb": 6, "noun": 113},
        "source": f"{csv}:3",
    }
    clips = load_epic_kitchens(csv, videos, **SIZE55, participants=range(26, 33))
    assert [clip["clip_id"] for clip in clips] == ["27182", "27183"]
    assert (clips[0]["start_sec"], clips[0]["end_sec"]) == (3723.5, 3724.25)
    assert clips[0]["labels"] == {"verb": 1, "noun": 2}
    assert len(load_epic_kitchens(csv, videos, **SIZE55)) == 5


def test_epic100_in_folders_of_participants(write, touch):
    csv = write("train.csv", EPIC100)
    videos = touch(["P01/videos/P01_01.MP4", "P22/P22_107.MP4", "P01/rgb_frames/P01_01.tar"])
    clips = load_epic_kitchens(csv, videos, num_verbs=97, num_nouns=300)
    assert [(clip["clip_id"], clip["video_id"]) for clip in clips] == [
        ("P01_01_0", "P01_01"),
        ("P22_107_9", "P22_107"),
    ]
    assert [clip["labels"] for clip in clips] == [{"verb": 3, "noun": 3}, {"verb": 4, "noun": 3}]
    assert clips[0]["file_name"] == os.path.join(videos, "P01/videos/P01_01.MP4")
    assert clips[1]["file_name"] == os.path.join(videos, "P22/P22_107.MP4")


def test_timestamps_without_labels(write, touch):
    csv = write(
        "test.csv",
        "narration_id,participant_id,video_id,narration_timestamp,start_timestamp,stop_timestamp,"
        "start_frame,stop_frame\n"
        "P01_11_0,P01,P01_11,00:00:00.000,00:00:00.00,00:00:01.89,1,113\n",
    )
    (clip,) = load_epic_kitchens(csv, touch(["P01_11.MP4"]), num_verbs=97, num_nouns=300)
    assert clip["labels"] == {}
    assert (clip["start_sec"], clip["end_sec"]) == (0.0, 1.89)


@pytest.mark.parametrize(
    "text",
    [
        "noun_id,class_key,nouns\n0,none,\"['none']\"\n1,pan,\"['pan', 'frying:pan']\"\n",
        "id,key,instances,category\n1,pan,\"['pan']\",cookware\n0,none,['none'],other\n",
    ],
)
def test_class_names(write, text):
    assert load_epic_classes(write("EPIC_noun_classes.csv", text)) == ["none", "pan"]


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("id,key\n1,a\n2,b\n", ": 2 classes, but none has the id 0"),
        ("id,key\n0,a\n2,b\n", ": 2 classes, but none has the id 1"),
        ("id,key\n0,a\n0,b\n", ":3: class 0 occurs twice"),
        ("id,name\n0,a\n", ":1: no column key; got id,name"),
        ("verb_id,key\n0,a\n", ":1: no column class_key"),
        ("id,key\n", ": 0 classes"),
    ],
)
def test_bad_class_names(write, text, complaint):
    with pytest.raises(AnnotationError, match=rf"verbs\.csv{complaint}"):
        load_epic_classes(write("verbs.csv", text))


@pytest.mark.parametrize(
    ("field", "value", "complaint"),
    [
        ("verb_class", "97", r"verb_class '97'\. It must be an integer 0\.\.96.*ids start at 0"),
        ("noun_class", "300", r"noun_class '300'.*0\.\.299"),
        ("verb_class", "", "verb_class ''"),
        ("verb_class", "-1", "verb_class '-1'"),
        ("noun_class", "door", "noun_class 'door'"),
        ("start_timestamp", "6.98", "start_timestamp '6.98'. It must be HH:MM:SS.ss"),
        ("stop_timestamp", "00:61:00.1", "stop_timestamp '00:61:00.1'"),
        ("stop_timestamp", "00:00:05.0", "stops at 00:00:05.0, before it starts at 00:00:06.98"),
        ("participant_id", "22", "participant_id '22'. .*such as P01"),
        ("narration_id", "P01_01_0", r"clip 'P01_01_0' is already at .*train\.csv:2"),
        ("narration", "a,b", "16 columns, expected the 15 .*double quotes"),
    ],
)
def test_bad_row(write, touch, field, value, complaint):
    header, first, second = EPIC100.splitlines()
    row = second.split(",")
    row[header.split(",").index(field)] = value
    csv = write("train.csv", "\n".join([header, first, ",".join(row)]))
    with pytest.raises(AnnotationError, match=rf"train\.csv:3: .*{complaint}"):
        load_epic_kitchens(csv, touch(["P01_01.MP4", "P22_107.MP4"]), num_verbs=97, num_nouns=300)


@pytest.mark.parametrize("column", ["verb_class", "narration_id", "stop_timestamp"])
def test_missing_column(write, touch, column):
    csv = write("train.csv", EPIC100.replace(column, "x", 1))
    with pytest.raises(AnnotationError, match=rf"train\.csv:1: no column {column}; got "):
        load_epic_kitchens(csv, touch([]), num_verbs=97, num_nouns=300)


def test_missing_video(write, touch, caplog):
    csv, videos = write("train.csv", EPIC100), touch(["P01_01.MP4"])
    with pytest.raises(AnnotationError, match=r"train\.csv:3: 1 of the 2 clips .*: P22_107_9\. "):
        load_epic_kitchens(csv, videos, num_verbs=97, num_nouns=300)
    clips = load_epic_kitchens(csv, videos, num_verbs=97, num_nouns=300, allow_missing=True)
    assert [clip["clip_id"] for clip in clips] == ["P01_01_0"]
    assert "1 of the 2 clips" in caplog.text


def test_registration(name, tmp_path, write, touch):
    csv, verbs = str(tmp_path / "val.csv"), str(tmp_path / "verbs.csv")
    register_epic_kitchens(
        name,
        csv,
        str(tmp_path / "videos"),
        num_verbs=5,
        num_nouns=4,
        verb_file=verbs,
        train_csv="train.csv",
    )
    with pytest.raises(AnnotationError, match=r"MISSING in .*: val\.csv"):
        DatasetCatalog.get(name)
    write("val.csv", EPIC100)
    touch(["P01_01.MP4", "P22_107.MP4"])
    write("verbs.csv", "id,key\n0,take\n1,put\n2,wash\n3,open\n")
    with pytest.raises(AnnotationError, match=r"verbs\.csv: 4 classes, but the dataset has 5"):
        DatasetCatalog.get(name)
    write("verbs.csv", "id,key\n0,take\n1,put\n2,wash\n3,open\n4,close\n")
    assert len(DatasetCatalog.get(name)) == 2
    metadata = MetadataCatalog.get(name)
    assert metadata.task_classes == {
        "verb": ["take", "put", "wash", "open", "close"],
        "noun": ["0", "1", "2", "3"],
    }
    assert (metadata.evaluator_type, metadata.multi_label) == ("epic", False)
    assert metadata.train_annotation_file == "train.csv"
