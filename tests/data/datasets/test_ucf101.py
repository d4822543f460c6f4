"""UCF101: class ids and splits."""

import os

import pytest
from detectron2.data import DatasetCatalog, MetadataCatalog

from avsf_det.data.datasets.ucf_hmdb import load_ucf101, load_ucf101_classes, register_ucf101
from avsf_det.structures import AnnotationError

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
    assert all(os.path.basename(path) in str(error.value) for path in paths)
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
