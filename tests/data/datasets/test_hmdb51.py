"""HMDB51: splits and flags."""

import os

import pytest
from detectron2.data import DatasetCatalog, MetadataCatalog

from avsf_det.data.datasets.ucf_hmdb import load_hmdb51, register_hmdb51
from avsf_det.structures import AnnotationError

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
    """Folder of the splits and folder of the videos."""
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
    with pytest.raises(
        AnnotationError, match=r"1 of the 2 clips .*cm_np1_ba_goo_0\. Expected <class>/"
    ):
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
