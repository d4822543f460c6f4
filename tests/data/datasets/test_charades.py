"""Charades: actions with segments, several or none in a video."""

import os

import pytest
from detectron2.data import DatasetCatalog, MetadataCatalog

from avsf_det.data.datasets.charades import (
    load_charades,
    load_charades_classes,
    register_charades,
)
from avsf_det.structures import AnnotationError

HEADER = "id,subject,scene,quality,relevance,verified,script,objects,descriptions,actions,length\n"
ANNOTATIONS = (
    HEADER
    + """\
46GP8,HR43,Kitchen,6,7,Yes,"A person cooks, then plays.",food;stove,A person cooks.,\
c092 11.90 21.20;c147 0.00 12.60,24.83
N11GT,0KZ7,Stairs,4,7,Yes,"A person
sits.",stairs,A person sits.,c098 8.00 13.20;c075 19.00 26.50;c098 1.00 2.00,18.33
0IH69,6RE8,Bedroom,5,7,No,Nothing.,,Nothing.,,10.00
"""
)
VIDEOS = ("46GP8.mp4", "N11GT.avi", "0IH69.mp4")


def test_annotations(write, touch):
    csv, videos = write("train.csv", ANNOTATIONS), touch(VIDEOS)
    clips = load_charades(csv, videos, 157)
    assert clips[0] == {
        "file_name": os.path.join(videos, "46GP8.mp4"),
        "video_id": "46GP8",
        "clip_id": "46GP8",
        "labels": {"action": [92, 147]},
        "segments": [
            {"label": 92, "start_sec": 11.9, "end_sec": 21.2},
            {"label": 147, "start_sec": 0.0, "end_sec": 12.6},
        ],
        "source": f"{csv}:2",
    }
    assert clips[1]["labels"] == {"action": [75, 98]}
    assert [segment["label"] for segment in clips[1]["segments"]] == [98, 75, 98]
    assert clips[1]["source"] == f"{csv}:4"  # the last line of the row
    assert clips[2]["labels"] == {"action": []}
    assert clips[2]["segments"] == []


def test_reversed_segment(write, touch, caplog):
    csv = write("train.csv", "id,actions\n46GP8,c001 5 3;c002 1 2\n")
    (clip,) = load_charades(csv, touch(VIDEOS), 157)
    assert clip["labels"] == {"action": [1, 2]}
    assert [segment["label"] for segment in clip["segments"]] == [2]
    assert f"1 segments end before they start, and count for the whole video only: {csv}:2" in (
        caplog.text
    )


@pytest.mark.parametrize(
    ("actions", "complaint"),
    [
        ("c157 1 2", r"class number '157'\. It must be an integer 0\.\.156"),
        ("092 1 2", "action '092 1 2'. It must be a class, start and end"),
        ("c092 1", "action 'c092 1'"),
        ("c092 1 2 c093 3 4", "with ';' between actions"),
        ("c092 1 x", "end 'x'. It must be seconds"),
        ("c092 -1 2", "start '-1'"),
        ("c092 1 nan", "end 'nan'"),
    ],
)
def test_bad_action(write, touch, actions, complaint):
    csv = write("train.csv", f"id,actions\n0IH69,\n46GP8,c000 0 1;{actions}\n")
    with pytest.raises(AnnotationError, match=rf"train\.csv:3: .*{complaint}"):
        load_charades(csv, touch(VIDEOS), 157)


def test_bad_file(write, touch):
    videos = touch(VIDEOS[:2])
    with pytest.raises(AnnotationError, match=r"train\.csv:1: no column actions; got id,length"):
        load_charades(write("train.csv", "id,length\n"), videos, 157)
    with pytest.raises(AnnotationError, match=r"train\.csv:3: clip '46GP8' is already at .*:2"):
        load_charades(write("train.csv", "id,actions\n46GP8,\n46GP8,\n"), videos, 157)
    csv = write("train.csv", ANNOTATIONS)
    with pytest.raises(AnnotationError, match=r"1 of the 3 clips .*: 0IH69\. Expected <id>\.mp4"):
        load_charades(csv, videos, 157)
    assert len(load_charades(csv, videos, 157, allow_missing=True)) == 2


def test_class_names(write):
    classes = "c000 Holding some clothes\nc001 Putting clothes somewhere\n"
    path = write("Charades_v1_classes.txt", classes)
    assert load_charades_classes(path) == ["Holding some clothes", "Putting clothes somewhere"]
    for bad in ("c001 Holding some clothes\n", "0 Holding\n", "c000\n"):
        with pytest.raises(AnnotationError, match=r"classes\.txt:1: .*Expected class c000"):
            load_charades_classes(write("Charades_v1_classes.txt", bad))


def test_registration(name, tmp_path, write, touch):
    csv, classes = str(tmp_path / "train.csv"), str(tmp_path / "classes.txt")
    register_charades(name, csv, str(tmp_path / "videos"), class_file=classes)
    write("train.csv", "id,actions\n46GP8,c001 5 6\n")
    touch(VIDEOS)
    with pytest.raises(AnnotationError, match=r"classes\.txt: not there.*number of classes"):
        DatasetCatalog.get(name)
    write("classes.txt", "c000 Sit\n")
    with pytest.raises(AnnotationError, match=r"train\.csv:2: class number '001'"):
        DatasetCatalog.get(name)
    write("classes.txt", "c000 Sit\nc001 Stand\n")
    assert len(DatasetCatalog.get(name)) == 1
    metadata = MetadataCatalog.get(name)
    assert metadata.task_classes == {"action": ["Sit", "Stand"]}
    assert (metadata.evaluator_type, metadata.multi_label) == ("charades", True)
