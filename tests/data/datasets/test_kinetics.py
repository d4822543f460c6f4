"""Kinetics in its three forms: the official csv, lists, folders of classes."""

import os
import shutil

import pytest
from detectron2.data import DatasetCatalog, MetadataCatalog

from avsf_det.data.datasets.builtin_meta import KINETICS_NUM_CLASSES, KINETICS_SOUNDS
from avsf_det.data.datasets.kinetics import (
    load_kinetics,
    load_kinetics_classes,
    register_kinetics,
)
from avsf_det.structures import AnnotationError

# Rows of the official Kinetics-400 validation csv, with a second clip of the first video.
OFFICIAL = """\
label,youtube_id,time_start,time_end,split,is_cc
abseiling,0wR5jVB-WPk,417,427,val,0
abseiling,3caPS4FHFF8,36,46,val,0
abseiling,0wR5jVB-WPk,62,72,val,1
"air drumming",-mTn5zgnr6o,46,56,val,0
"tai chi",6uxfFHQ1Gxc,0,10,val,0
"zumba",--NZkXBV7k8,123,133,val,0
"""
NAMES = ["abseiling", "air drumming", "tai chi", "zumba"]
VIDEOS = (
    "0wR5jVB-WPk_000417_000427.mp4",
    "abseiling/3caPS4FHFF8.mkv",
    "0wR5jVB-WPk.mp4",  # the annotations have two clips of this video
    "air_drumming/-mTn5zgnr6o_000046_000056.webm",
    "6uxfFHQ1Gxc_0_10.mp4",  # seconds are not six digits
)


def test_official_csv(write, touch, caplog):
    csv, videos = write("val.csv", OFFICIAL), touch(VIDEOS)
    assert load_kinetics_classes(csv) == NAMES
    clips = load_kinetics(csv, videos, NAMES)
    assert clips[0] == {
        "file_name": os.path.join(videos, "0wR5jVB-WPk_000417_000427.mp4"),
        "video_id": "0wR5jVB-WPk",
        "clip_id": "0wR5jVB-WPk_000417_000427",
        "labels": {"action": 0},
        "source": f"{csv}:2",
    }
    assert [(os.path.relpath(c["file_name"], videos), c["labels"]["action"]) for c in clips] == [
        (VIDEOS[0], 0),
        (VIDEOS[1], 0),
        (VIDEOS[3], 1),
    ]
    assert clips[1]["clip_id"] == "3caPS4FHFF8_000036_000046"
    assert "3 of the 6 clips" in caplog.text
    assert "0wR5jVB-WPk_000062_000072, 6uxfFHQ1Gxc_000000_000010" in caplog.text
    with pytest.raises(AnnotationError, match=r"3 of the 6 clips .*\.\.\. .*allow_missing"):
        load_kinetics(csv, videos, NAMES, allow_missing=False)
    shutil.rmtree(videos)
    with pytest.raises(AnnotationError, match="6 of the 6 clips"):
        load_kinetics(csv, touch([]), NAMES)


def test_indices_are_those_of_the_class_list(write, touch):
    csv, videos = write("val.csv", OFFICIAL), touch(VIDEOS)
    names = load_kinetics_classes(write("label_map.txt", "zumba\nabseiling\nair drumming\ntai chi"))
    clips = load_kinetics(csv, videos, names)
    assert [clip["labels"]["action"] for clip in clips] == [1, 1, 2]
    with pytest.raises(AnnotationError, match=r"val\.csv:5: label 'air drumming' .*: air_drumming"):
        load_kinetics(csv, videos, ["abseiling", "air_drumming", "tai_chi", "zumba"])


def test_a_selection_keeps_the_indices(write, touch):
    csv, videos = write("val.csv", OFFICIAL), touch(VIDEOS)
    (clip,) = load_kinetics(csv, videos, NAMES, keep_classes=["air drumming"], allow_missing=False)
    assert clip["labels"] == {"action": 1}
    with pytest.raises(AnnotationError, match="no class 'air_drumming' to keep, among 4"):
        load_kinetics(csv, videos, NAMES, keep_classes=["air_drumming"])


def test_list(write, touch):
    videos = touch(["val/a b.mp4", "val/c.mp4"])
    csv = write("val.csv", "val/a b.mp4 1\nval/c.mp4 0\nval/d.mp4 3\n")
    assert load_kinetics_classes(csv) == ["0", "1", "2", "3"]
    assert load_kinetics_classes(csv, num_classes=6) == ["0", "1", "2", "3", "4", "5"]
    with pytest.raises(AnnotationError, match="4 classes, but the dataset has 3"):
        load_kinetics_classes(csv, num_classes=3)
    clips = load_kinetics(csv, videos, NAMES)
    assert [(clip["clip_id"], clip["labels"]["action"]) for clip in clips] == [("a b", 1), ("c", 0)]
    assert clips[0]["file_name"] == os.path.join(videos, "val/a b.mp4")
    with pytest.raises(AnnotationError, match=r"val\.csv:3: label '3' .*index 0\.\.2"):
        load_kinetics(csv, videos, NAMES[:3])


def test_class_folders(touch):
    folder = touch(["tai chi/b.mp4", "tai chi/a.MKV", "abseiling/c.webm", "abseiling/notes.txt"])
    os.mkdir(os.path.join(folder, "zumba"))
    names = load_kinetics_classes(folder)
    assert names == ["abseiling", "tai chi"]
    clips = load_kinetics(folder, "", names)
    assert [(clip["clip_id"], clip["labels"]["action"]) for clip in clips] == [
        ("c", 0),
        ("a", 1),
        ("b", 1),
    ]
    assert clips[0]["file_name"] == os.path.join(folder, "abseiling", "c.webm")
    touch(["abseiling/b.mp4"])
    with pytest.raises(
        AnnotationError, match=r"tai chi/b\.mp4: clip 'b' is already at .*abseiling"
    ):
        load_kinetics(folder, "", names)


@pytest.mark.parametrize(
    ("row", "complaint"),
    [
        ("abseiling,x,417,val", "4 columns, expected the 5"),
        ("abseiling,x,417,407,val", "time_start '417' and time_end '407'"),
        ("abseiling,x,a,b,val", "time_start 'a'.*whole seconds"),
        ("abseiling,x,,10,val", "time_start ''"),
        ("abseilin,x,417,427,val", r"label 'abseilin' .*close: abseiling"),
        ("abseiling,ok,0,10,val", r"clip 'ok_000000_000010' is already at .*train\.csv:2"),
    ],
)
def test_bad_row(write, touch, row, complaint):
    csv = write(
        "train.csv", f"label,youtube_id,time_start,time_end,split\nzumba,ok,0,10,val\n{row}\n"
    )
    with pytest.raises(AnnotationError, match=rf"train\.csv:3: .*{complaint}"):
        load_kinetics(csv, touch(["ok.mp4", "x.mp4"]), NAMES)


def test_missing_column(write, touch):
    csv = write("test.csv", "youtube_id,time_start,split\n---v8pgm1eQ,1,test\n")
    with pytest.raises(AnnotationError, match=r"test\.csv:1: no column time_end; got youtube_id,"):
        load_kinetics(csv, touch([]), NAMES)


@pytest.mark.parametrize(
    "text",
    [
        "youtube_id,time_start,time_end,split\na,1,11,test\nb,1,11,test\n",
        "youtube_id;time_start;time_end\na;1;11\nb;1;11\n",
        "a.mp4\n\n# a comment\nb.mp4\n",
    ],
)
def test_lists_without_labels(name, write, touch, text):
    csv, videos = write("test.csv", text), touch(["a.mp4", "b.mp4"])
    clips = load_kinetics(csv, videos, NAMES)
    assert [(clip["clip_id"][0], clip["labels"]) for clip in clips] == [("a", {}), ("b", {})]
    with pytest.raises(AnnotationError, match=r"test\.csv: no labels, so .* class_files"):
        load_kinetics_classes(csv)
    register_kinetics(name, csv, videos, class_files=[write("names.txt", "x\ny\n")])
    assert len(DatasetCatalog.get(name)) == 2


def test_registration(name, tmp_path, write, touch):
    csv, videos = str(tmp_path / "val.csv"), str(tmp_path / "videos")
    label_map = str(tmp_path / "label_map.txt")
    register_kinetics(name, csv, videos, class_files=[label_map, csv], num_classes=4)
    with pytest.raises(AnnotationError, match=r"MISSING in .*: val\.csv, videos"):
        DatasetCatalog.get(name)
    touch(VIDEOS)
    write("val.csv", OFFICIAL)
    assert len(DatasetCatalog.get(name)) == 3
    metadata = MetadataCatalog.get(name)
    assert metadata.task_classes == {"action": NAMES}
    assert (metadata.evaluator_type, metadata.multi_label) == ("clip", False)
    write("label_map.txt", "abseiling\n")
    with pytest.raises(AnnotationError, match=r"label_map\.txt: 1 classes.* has 4"):
        DatasetCatalog.get(name)


@pytest.mark.parametrize("version", ["400", "600"])
def test_official_files(shared, tmp_path, version):
    csv = shared / "kinetics" / f"kinetics-{version}_val.csv"
    names = load_kinetics_classes(str(csv), KINETICS_NUM_CLASSES[f"kinetics{version}"])
    assert names == load_kinetics_classes(str(shared / "kinetics" / f"label_map_k{version}.txt"))
    rows = csv.read_text().replace('"', "").splitlines()[1:]
    for row in rows[:50]:
        _, youtube_id, start, end = row.split(",")[:4]
        (tmp_path / f"{youtube_id}_{int(start):06d}_{int(end):06d}.mp4").touch()
    clips = load_kinetics(str(csv), str(tmp_path), names)
    assert len(rows) == {"400": 19906, "600": 30000}[version]
    assert [names[clip["labels"]["action"]] for clip in clips] == [
        row.split(",")[0] for row in rows[:50]
    ]


def test_kinetics_sounds(shared):
    names = load_kinetics_classes(str(shared / "kinetics" / "label_map_k400.txt"))
    assert len(set(KINETICS_SOUNDS)) == len(KINETICS_SOUNDS) == 32
    assert set(KINETICS_SOUNDS) < set(names)
