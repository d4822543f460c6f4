"""The built-in clip datasets: expected paths, and the generated datasets."""

import os

import pytest
from detectron2.data import DatasetCatalog, MetadataCatalog

from avsf_det.data.datasets import builtin
from avsf_det.structures import AnnotationError

REGISTER = (
    builtin.register_all_kinetics,
    builtin.register_all_epic_kitchens,
    builtin.register_all_charades,
    builtin.register_all_ucf101,
    builtin.register_all_hmdb51,
)
SPLITS = {
    f"{name}_{split}"
    for name in (
        *("kinetics400", "kinetics600", "kinetics700", "kinetics_sounds", "kinetics_mini"),
        "places_mini",
        *("epic55", "epic100", "epic_mini", "charades", "charades_mini"),
    )
    for split in ("train", "val")
} | {
    f"{name}_{split}"
    for name in (
        *(f"{base}_split{i}" for base in ("ucf101", "hmdb51") for i in (1, 2, 3)),
        *("ucf_mini_split1", "hmdb_mini_split1"),
    )
    for split in ("train", "test")
}
SPLITS |= {"epic55_test_seen", "epic55_test_unseen", "epic100_test"}


@pytest.fixture
def root(tmp_path):
    """Empty folder as the root of the built-in datasets, for one test."""
    for root in (str(tmp_path), builtin._root):
        for name in SPLITS:
            DatasetCatalog.remove(name)
            MetadataCatalog.remove(name)
        for register in REGISTER:
            register(root)
        if root != builtin._root:
            yield tmp_path


@pytest.mark.parametrize("name", sorted(SPLITS))
def test_a_missing_folder_is_described(root, name):
    with pytest.raises(AnnotationError) as error:
        DatasetCatalog.get(name)
    message = str(error.value)
    metadata = MetadataCatalog.get(name)
    assert os.path.basename(metadata.annotation_file) in message
    assert (
        os.path.join(root, os.path.relpath(metadata.annotation_file, root).split("/")[0]) in message
    )
    assert "DETECTRON2_DATASETS" in message
    assert ("make_mini_dataset" in message) == ("mini" in name)
    assert not hasattr(metadata, "task_classes")


def touch(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()


def write(path, text):
    touch(path)
    path.write_text(text)


def clip_ids(name):
    return [clip["clip_id"] for clip in DatasetCatalog.get(name)]


def test_kinetics(root):
    header = "label,youtube_id,time_start,time_end,split\n"
    folder = root / "kinetics400" / "annotations"
    write(folder / "train.csv", header + "singing,a,0,10,train\nbowling,b,0,10,train\n")
    write(folder / "val.csv", header + "abseiling,c,0,10,val\nsinging,d,0,10,val\n")
    for file in ("train/singing/a_000000_000010.mp4", "val/d_000000_000010.mp4", "val/c.mp4"):
        touch(root / "kinetics400" / "videos" / file)
    with pytest.raises(AnnotationError, match=r"train\.csv: 2 classes, but the dataset has 400"):
        DatasetCatalog.get("kinetics400_val")
    names = [*builtin.KINETICS_SOUNDS, *(f"~{i:03d}" for i in range(367)), "abseiling"]
    write(folder / "label_map.txt", "\n".join(names))
    assert clip_ids("kinetics400_train") == ["a_000000_000010"]
    assert clip_ids("kinetics400_val") == ["c_000000_000010", "d_000000_000010"]
    (clip,) = DatasetCatalog.get("kinetics_sounds_val")
    assert clip["labels"] == {"action": names.index("singing")}
    assert MetadataCatalog.get("kinetics_sounds_val").task_classes == {"action": names}


def test_splits_of_one_dataset_have_the_same_classes(root):
    header = "label,youtube_id,time_start,time_end,split\n"
    folder = root / "kinetics_mini"
    rows = ["walk,a,0,3,train\n", "jump,b,0,3,train\n"]
    write(folder / "annotations" / "train.csv", header + "".join(rows))
    write(folder / "annotations" / "val.csv", header + "walk,c,5,8,val\n")
    touch(folder / "videos" / "val" / "walk" / "c_000005_000008.mp4")
    (clip,) = DatasetCatalog.get("kinetics_mini_val")
    assert clip["labels"] == {"action": 1}


def test_epic(root):
    header = (
        "uid,participant_id,video_id,narration,start_timestamp,stop_timestamp,start_frame,"
        "stop_frame,verb,verb_class,noun,noun_class,all_nouns,all_noun_classes\n"
    )
    row = "{0},P{0},P{0}_01,x,00:00:01.0,00:00:02.0,1,2,x,124,x,351,[],[]\n"
    csv = root / "epic55" / "annotations" / "EPIC_train_action_labels.csv"
    write(csv, header + row.format("25") + row.format("26"))
    for participant in ("P25", "P26"):
        touch(root / "epic55" / "videos" / participant / f"{participant}_01.MP4")
    assert clip_ids("epic55_train") == ["25"]
    assert clip_ids("epic55_val") == ["26"]
    metadata = MetadataCatalog.get("epic55_val")
    assert [len(metadata.task_classes[task]) for task in ("verb", "noun")] == [125, 352]
    assert metadata.train_annotation_file == str(csv)

    # The servers' test lists have no classes.
    columns = "uid,participant_id,video_id,start_timestamp,stop_timestamp,start_frame,stop_frame\n"
    test = columns + "7,P25,P25_01,00:00:01.0,00:00:02.0,1,2\n"
    write(root / "epic55" / "annotations" / "EPIC_test_s1_timestamps.csv", test)
    (clip,) = DatasetCatalog.get("epic55_test_seen")
    assert (clip["clip_id"], clip["labels"]) == ("7", {})

    folder = root / "epic_mini"
    header, row = header.replace("uid", "narration_id"), row.replace("124", "1").replace("351", "0")
    write(folder / "annotations" / "EPIC_100_validation.csv", header + row.format("01"))
    write(folder / "annotations" / "EPIC_100_verb_classes.csv", "id,key\n0,push\n1,hit\n")
    touch(folder / "videos" / "P01_01.MP4")
    with pytest.raises(AnnotationError, match=r"EPIC_100_noun_classes\.csv: not there"):
        DatasetCatalog.get("epic_mini_val")
    write(folder / "annotations" / "EPIC_100_noun_classes.csv", "id,key\n0,ball\n")
    assert clip_ids("epic_mini_val") == ["01"]
    metadata = MetadataCatalog.get("epic_mini_val")
    assert metadata.task_classes == {"verb": ["push", "hit"], "noun": ["ball"]}
    assert metadata.train_annotation_file.endswith("epic_mini/annotations/EPIC_100_train.csv")
    assert MetadataCatalog.get("epic100_val").annotation_file.endswith("EPIC_100_validation.csv")


def test_charades(root):
    folder = root / "charades" / "annotations"
    write(folder / "Charades_v1_test.csv", "id,actions,length\n46GP8,c156 1.0 2.0,24.83\n")
    touch(root / "charades" / "videos" / "46GP8.mp4")
    assert clip_ids("charades_val") == ["46GP8"]
    assert len(MetadataCatalog.get("charades_val").task_classes["action"]) == 157
    assert MetadataCatalog.get("charades_train").annotation_file.endswith("v1_train.csv")


def test_ucf_and_hmdb(root):
    lists = root / "ucf101" / "ucfTrainTestlist"
    write(lists / "classInd.txt", "1 Archery\n")
    write(lists / "trainlist03.txt", "Archery/v_a.avi 1\n")
    write(lists / "testlist03.txt", "Archery/v_b.avi\n")
    for stem in ("v_a", "v_b"):
        touch(root / "ucf101" / "videos" / "Archery" / f"{stem}.avi")
    assert clip_ids("ucf101_split3_train") == ["v_a"]
    assert clip_ids("ucf101_split3_test") == ["v_b"]

    folder = root / "hmdb_mini"
    write(folder / "testTrainMulti_7030_splits" / "wave_test_split1.txt", "a.avi 1\nb.avi 2\n")
    for stem in "ab":
        touch(folder / "videos" / "wave" / f"{stem}.avi")
    assert clip_ids("hmdb_mini_split1_train") == ["a"]
    assert clip_ids("hmdb_mini_split1_test") == ["b"]
