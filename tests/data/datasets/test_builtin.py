"""The built-in AVA datasets: paths, clocks and class names, registered without reading a file."""

import os
from pathlib import Path

import pytest
from detectron2.data import DatasetCatalog, MetadataCatalog

from avsf_det.data.datasets import builtin
from avsf_det.data.datasets.builtin_meta import AVA_LABEL_MAP
from avsf_det.structures import AnnotationError
from avsf_det.structures.label_map import read_label_map

SHARED = Path(__file__).resolve().parents[3] / ".." / "shared" / "data"
AVA_NAMES = [
    f"ava_{version}_{split}{suffix}"
    for version in ("v2.1", "v2.2")
    for split in ("train", "val")
    for suffix in ("", "_movies")
]
MINI_NAMES = ["ava_mini_train", "ava_mini_val"]
SCORED = """\
item {
  name: "sit"
  id: 11
}
item {
  name: "watch (a person)"
  id: 80
}
"""


@pytest.fixture
def root(tmp_path):
    """Empty folder as the root of the built-in datasets, for one test."""
    saved = {name: MetadataCatalog.get(name).proposal_file for name in AVA_NAMES + MINI_NAMES}
    for name in saved:
        DatasetCatalog.remove(name)
        MetadataCatalog.remove(name)
    builtin.register_all_ava(str(tmp_path))
    builtin.register_all_ava_mini(str(tmp_path))
    yield tmp_path
    for name in saved:
        DatasetCatalog.remove(name)
        MetadataCatalog.remove(name)
    builtin.register_all_ava(builtin._root)
    builtin.register_all_ava_mini(builtin._root)
    assert saved == {name: MetadataCatalog.get(name).proposal_file for name in saved}


def test_class_names_need_no_file():
    for name in AVA_NAMES:
        metadata = MetadataCatalog.get(name)
        assert len(metadata.action_classes) == 80
        assert metadata.action_classes[10] == "sit"
        assert metadata.action_csv_ids == list(range(1, 81))


def test_class_names_are_the_official_ones():
    official = SHARED / "ava" / "official_v2.2" / "ava_action_list_v2.2.pbtxt"
    if not official.exists():
        pytest.skip(f"{official} is not there")
    labels = read_label_map(str(official))
    ids, names = labels.ids, labels.names
    assert dict(zip(ids, names, strict=True)) == AVA_LABEL_MAP


@pytest.mark.parametrize("name", AVA_NAMES + MINI_NAMES)
def test_a_missing_folder_is_described(root, name):
    with pytest.raises(AnnotationError) as error:
        DatasetCatalog.get(name)
    message = str(error.value)
    metadata = MetadataCatalog.get(name)
    assert os.path.relpath(metadata.annotation_file, root).partition("/")[2] in message
    assert f"{root}" in message
    assert "DETECTRON2_DATASETS" in message


@pytest.mark.parametrize(
    ("name", "videos", "offset"),
    [("ava_v2.2_val", "videos_15min", 900.0), ("ava_v2.2_val_movies", "videos", 0.0)],
)
def test_ava_from_official_files(root, name, videos, offset):
    annotations = root / "ava" / "annotations"
    annotations.mkdir(parents=True)
    (root / "ava" / videos).mkdir()
    (root / "ava" / videos / "1j20qq1JyX4.mp4").touch()
    (annotations / "ava_action_list_v2.2_for_activitynet_2019.pbtxt").write_text(SCORED)
    (annotations / "ava_val_excluded_timestamps_v2.2.csv").write_text("1j20qq1JyX4,0903\n")
    row = "1j20qq1JyX4,{},0.002,0.118,0.714,0.977,{},0\n"
    csv = annotations / "ava_val_v2.2.csv"
    csv.write_text(row.format("0902", 12) + row.format("0902", 80) + row.format("0903", 1))
    (keyframe,) = DatasetCatalog.get(name)
    assert keyframe["offset"] == offset
    assert keyframe["timestamp"] == 902.0
    assert keyframe["file_name"] == str(root / "ava" / videos / "1j20qq1JyX4.mp4")
    assert keyframe["annotations"][0]["action_ids"] == [11, 79]
    assert MetadataCatalog.get(name).scored_action_csv_ids == [11, 80]

    csv.write_text(row.format("0901", 12))
    with pytest.raises(AnnotationError, match=r"csv:1: timestamp 901 s is outside .* 902\.\.1798"):
        DatasetCatalog.get(name)


def test_mini(root):
    annotations, videos = root / "ava_mini" / "annotations", root / "ava_mini" / "videos" / "val"
    annotations.mkdir(parents=True)
    videos.mkdir(parents=True)
    (videos / "clip.mp4").touch()
    (annotations / "ava_mini_action_list.pbtxt").write_text(SCORED)
    (annotations / "ava_mini_val.csv").write_text("clip,3,0.1,0.1,0.5,0.9,80,0\n")
    (annotations / "ava_mini_val_excluded_timestamps.csv").write_text("")
    (keyframe,) = DatasetCatalog.get("ava_mini_val")
    assert (keyframe["timestamp"], keyframe["offset"]) == (3.0, 0.0)
    metadata = MetadataCatalog.get("ava_mini_val")
    assert metadata.action_classes == ["sit", "watch (a person)"]
    assert metadata.scored_action_csv_ids == [11, 80]
    assert metadata.proposal_file == str(annotations / "ava_mini_val_boxes.csv")
