"""UCF101 and HMDB51: class ids, splits, flags."""

import os

import pytest
from detectron2.data import DatasetCatalog, MetadataCatalog

from avsf_det.data.datasets.annotation_files import AnnotationError
from avsf_det.data.datasets.ucf101_hmdb51 import (
    load_hmdb51,
    load_ucf101,
    load_ucf101_classes,
    register_hmdb51,
    register_ucf101,
)

CLASSES = "1 ApplyEyeMakeup\r\n2 ApplyLipstick\r\n3 HandstandPushups\r\n"
NAMES = ["ApplyEyeMakeup", "ApplyLipstick", "HandstandPushups"]
TRAIN = """\
ApplyEyeMakeup/v_ApplyEyeMakeup_g08_c01.avi 1\r
ApplyLipstick/v_ApplyLipstick_g08_c01.avi 2\r
HandstandPushups/v_HandStandPushups_g08_c01.avi 3\r
"""
TEST = "ApplyEyeMakeup/v_ApplyEyeMakeup_g01_c01.avi\n"
VIDEOS = (
    "ApplyEyeMakeup/v_ApplyEyeMakeup_g08_c01.avi",
    "ApplyEyeMakeup/v_ApplyEyeMakeup_g01_c01.avi",
    "v_ApplyLipstick_g08_c01.mp4",
    "HandstandPushups/v_HandStandPushups_g08_c01.avi",
)


def test_ucf101(write, touch):
    train, test, videos = write("train.txt", TRAIN), write("test.txt", TEST), touch(VIDEOS)
    names = load_ucf101_classes(write("classInd.txt", CLASSES))
    assert names == NAMES
    clips = load_ucf101(train, videos, names)
    assert clips[0] == {
        "file_name": os.path.join(videos, VIDEOS[0]),
        "video_id": "v_ApplyEyeMakeup_g08_c01",
        "clip_id": "v_ApplyEyeMakeup_g08_c01",
        "labels": {"action": 0},
        "source": f"{train}:1",
    }
    assert [clip["labels"]["action"] for clip in clips] == [0, 1, 2]
    assert clips[1]["file_name"] == os.path.join(videos, VIDEOS[2])
    (clip,) = load_ucf101(test, videos, names)
    assert (clip["clip_id"], clip["labels"]) == ("v_ApplyEyeMakeup_g01_c01", {"action": 0})


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ("ApplyLipstick/v_x.avi 1", "class id '1', but ApplyLipstick has 2 .*Ids start at 1"),
        ("ApplyEyeMakeup/v_x.avi 0", "class id '0', but ApplyEyeMakeup has 1"),
        ("Archery/v_x.avi 3", "does not start with one of the 3 classes"),
        ("v_x.avi 1", "does not start with one of the 3 classes"),
        ("ApplyLipstick 2", "does not start with one of the 3 classes .*and '/'"),
        (VIDEOS[0], r"clip 'v_ApplyEyeMakeup_g08_c01' is already at .*train\.txt:1"),
    ],
)
def test_bad_ucf101_line(write, touch, line, complaint):
    path = write("train.txt", TRAIN.splitlines()[0] + f"\n{line}\n")
    with pytest.raises(AnnotationError, match=rf"train\.txt:2: .*{complaint}"):
        load_ucf101(path, touch([*VIDEOS, "v_x.avi"]), NAMES)


@pytest.mark.parametrize(
    ("text", "line"), [("0 Archery\n1 Biking\n", 1), ("1 Archery\n3 Biking\n", 2), ("1\n", 1)]
)
def test_bad_ucf101_classes(write, text, line):
    with pytest.raises(AnnotationError, match=rf"classInd\.txt:{line}: .*Expected id {line}"):
        load_ucf101_classes(write("classInd.txt", text))


def test_missing_video(write, touch):
    path, videos = write("train.txt", TRAIN), touch(VIDEOS[:3])
    with pytest.raises(AnnotationError, match=r"1 of the 3 clips .*v_HandSt.* Expected <Class>/"):
        load_ucf101(path, videos, NAMES)
    assert len(load_ucf101(path, videos, NAMES, allow_missing=True)) == 2


def test_registration_of_ucf101(name, tmp_path, write, touch):
    paths = [str(tmp_path / file) for file in ("train.txt", "classInd.txt", "videos")]
    register_ucf101(name, *paths)
    with pytest.raises(AnnotationError) as error:
        DatasetCatalog.get(name)
    assert all(path in str(error.value) for path in paths)
    write("train.txt", TRAIN)
    write("classInd.txt", CLASSES)
    touch(VIDEOS)
    assert len(DatasetCatalog.get(name)) == 3
    metadata = MetadataCatalog.get(name)
    assert metadata.task_classes == {"action": NAMES}
    assert (metadata.evaluator_type, metadata.multi_label) == ("clip", False)


@pytest.mark.parametrize(
    ("split", "sizes"), [(1, (9537, 3783)), (2, (9586, 3734)), (3, (9624, 3696))]
)
def test_official_ucf101(shared, tmp_path, split, sizes):
    folder = shared / "ucf101"
    names = load_ucf101_classes(str(folder / "classInd.txt"))
    assert names == (folder / "mma_label_map.txt").read_text().split()
    clip_ids = []
    for subset, size in zip(("train", "test"), sizes, strict=True):
        path = folder / f"{subset}list0{split}.txt"
        for line in path.read_text().splitlines():
            (tmp_path / line.split()[0].split("/")[1]).touch()
        clips = load_ucf101(str(path), str(tmp_path), names)
        assert len(clips) == size
        assert {clip["labels"]["action"] for clip in clips} == set(range(101))
        assert all(
            clip["clip_id"].lower().startswith(f"v_{names[clip['labels']['action']]}".lower())
            for clip in clips
        )
        clip_ids += [clip["clip_id"] for clip in clips]
    assert len(set(clip_ids)) == sum(sizes)


HMDB = {
    "kick": "Kung_Fu_kick_f_cm_np1_ba_goo_0.avi 1 \nKing_kick_f_cm_np1_ba_bad_1.avi 0 \n",
    "kick_ball": "Amazing_kick_ball_f_cm_np1_le_bad_0.avi 2 \n(a)_#1 [x]_kick_ball_1.avi 1 \n",
}
HMDB_VIDEOS = (
    "kick/Kung_Fu_kick_f_cm_np1_ba_goo_0.avi",
    "kick/King_kick_f_cm_np1_ba_bad_1.avi",
    "kick_ball/Amazing_kick_ball_f_cm_np1_le_bad_0.avi",
    "kick_ball/(a)_#1 [x]_kick_ball_1.avi",
)


@pytest.fixture
def hmdb(tmp_path, write, touch):
    """The folders of splits and of videos."""
    for name, text in HMDB.items():
        write(f"splits/{name}_test_split1.txt", text)
        write(f"splits/{name}_test_split2.txt", text.replace(" 0", " 1"))
    return str(tmp_path / "splits"), touch(HMDB_VIDEOS)


def test_hmdb51(hmdb):
    splits, videos = hmdb
    clips, names = load_hmdb51(splits, 1, "train", videos)
    assert names == ["kick", "kick_ball"]  # as names: as files, kick_ball_test comes first
    assert [(clip["clip_id"], clip["labels"]["action"]) for clip in clips] == [
        ("Kung_Fu_kick_f_cm_np1_ba_goo_0", 0),
        ("(a)_#1 [x]_kick_ball_1", 1),
    ]
    assert clips[1]["file_name"] == os.path.join(videos, HMDB_VIDEOS[3])
    assert clips[1]["source"] == os.path.join(splits, "kick_ball_test_split1.txt:2")
    (clip,), _ = load_hmdb51(splits, 1, "test", videos)
    assert (clip["labels"], clip["file_name"]) == (
        {"action": 1},
        os.path.join(videos, HMDB_VIDEOS[2]),
    )
    assert len(load_hmdb51(splits, 2, "train", videos)[0]) == 3


def test_bad_hmdb51(hmdb, write):
    splits, videos = hmdb
    with pytest.raises(AnnotationError, match=r"splits: 0 files <class>_test_split3\.txt"):
        load_hmdb51(splits, 3, "train", videos)
    with pytest.raises(AnnotationError, match=r"splits: 2 files .*, expected 51"):
        load_hmdb51(splits, 1, "train", videos, num_classes=51)
    os.remove(os.path.join(videos, HMDB_VIDEOS[0]))
    with pytest.raises(AnnotationError, match=r"1 of the 2 clips .*Kung_Fu.* Expected <class>/"):
        load_hmdb51(splits, 1, "train", videos)
    for line in ("a.avi 3", "a.avi", "1"):
        write("splits/kick_test_split1.txt", f"{line}\n")
        with pytest.raises(AnnotationError, match=r"kick_test_split1\.txt:1: .*1 \(train\), 2"):
            load_hmdb51(splits, 1, "train", videos)
    write("splits/kick_test_split1.txt", "a.avi 1\na.avi 1\n")
    with pytest.raises(AnnotationError, match=r"split1\.txt:2: clip 'a' is already at .*txt:1"):
        load_hmdb51(splits, 1, "train", videos)


def test_registration_of_hmdb51(name, hmdb):
    splits, videos = hmdb
    register_hmdb51(name, splits, 1, "test", videos)
    assert len(DatasetCatalog.get(name)) == 1
    metadata = MetadataCatalog.get(name)
    assert metadata.task_classes == {"action": ["kick", "kick_ball"]}
    assert (metadata.evaluator_type, metadata.multi_label) == ("clip", False)
