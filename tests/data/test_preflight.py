"""All annotations are checked before a training starts."""

import logging

import pytest
from detectron2.config import get_cfg

from avsf_det import add_avsf_config
from avsf_det.data.datasets.own import register_own
from avsf_det.data.preflight import check_training_data
from avsf_det.structures import AVSFError, ConfigError

from ..media import write_video

MAP = "1: sit\n2: run\n3: jump\n"
TRAIN = "a,1,0.1,0.1,0.5,0.9,1,0\na,1,0.1,0.1,0.5,0.9,2,0\na,2.5,0.1,0.1,0.5,0.9,2,0\n"
VAL = "b,0,0.1,0.1,0.5,0.9,1,0\n"


@pytest.fixture
def cfg(tmp_path, write):
    """A config of two videos of two seconds, each with annotations."""
    (tmp_path / "videos").mkdir()
    for name, seconds in (("a", 3), ("b", 2)):
        write_video(tmp_path / "videos" / f"{name}.mp4", num_frames=10 * seconds, fps=10)
    cfg = get_cfg()
    add_avsf_config(cfg)
    own = cfg.DATASETS.OWN
    own.TRAIN_CSV, own.VAL_CSV = write("train.csv", TRAIN), write("val.csv", VAL)
    own.LABEL_MAP, own.VIDEOS = write("map.txt", MAP), str(tmp_path / "videos")
    cfg.DATASETS.TRAIN, cfg.DATASETS.TEST = ("own_train",), ("own_val",)
    cfg.MODEL.LOAD_PROPOSALS, cfg.MODEL.ROI_ACTION_HEAD.NUM_CLASSES = False, 3
    cfg.INPUT.KIND = "keyframes"
    register_own(cfg)
    return cfg


def test_the_log_says_what_the_datasets_have(cfg, caplog):
    caplog.set_level(logging.INFO)
    check_training_data(cfg)
    assert (
        "own_train: 2 keyframes in 1 videos, 2 boxes; boxes by action: run 2, sit 1; without a "
        "box: jump" in caplog.messages
    )


@pytest.mark.parametrize(
    ("file", "row", "message"),
    [
        ("val.csv", "b,2.1,0.1,0.1,0.5,0.9,1,0\n", None),  # a frame after the end is tolerated
        ("val.csv", "b,2.2,0.1,0.1,0.5,0.9,1,0\n", r"val.csv:2: keyframe b,2.2 .*lasts 2 s"),
        ("train.csv", "a,60,0.1,0.1,0.5,0.9,1,0\n", r"train.csv:4: keyframe a,60 .*lasts 3 s"),
        ("val.csv", "b,1,0.1,0.1,0.5,0.9,9,0\n", "val.csv:2: action id 9 is not in the label map"),
    ],
)
def test_a_wrong_row_of_any_csv_ends_the_run_before_it_starts(cfg, tmp_path, file, row, message):
    with open(tmp_path / file, "a") as opened:
        opened.write(row)
    if message is None:
        check_training_data(cfg)
        return
    with pytest.raises(AVSFError, match=message):
        check_training_data(cfg)
    if "lasts" in message:
        cfg.DATASETS.CHECK_SECONDS = False
        check_training_data(cfg)


def test_videos_of_both_splits_are_named(cfg, tmp_path, caplog):
    with open(tmp_path / "val.csv", "a") as file:
        file.write("a,1.5,0.1,0.1,0.5,0.9,1,0\n")
    check_training_data(cfg)
    assert "1 videos are in DATASETS.TRAIN and in DATASETS.TEST" in caplog.text


def test_videos_may_be_in_sub_folders(cfg, tmp_path):
    (tmp_path / "videos" / "day 1").mkdir()
    (tmp_path / "videos" / "a.mp4").rename(tmp_path / "videos" / "day 1" / "a.mp4")
    check_training_data(cfg)


def test_a_damaged_video_is_an_error_in_the_evaluation_and_a_warning_in_training(
    cfg, tmp_path, caplog
):
    (tmp_path / "videos" / "a.mp4").write_bytes(b"no video")
    check_training_data(cfg)
    assert any("Cannot be read, will be replaced" in message for message in caplog.messages)
    (tmp_path / "videos" / "b.mp4").write_bytes(b"no video")
    with pytest.raises(AVSFError, match=r"b\.mp4"):
        check_training_data(cfg)


def test_the_start_of_a_segment_must_be_in_its_video(tmp_path, write):
    (tmp_path / "videos").mkdir()
    write_video(tmp_path / "videos" / "a.mp4", num_frames=20, fps=10)
    cfg = get_cfg()
    add_avsf_config(cfg)
    own, head = cfg.DATASETS.OWN, cfg.MODEL.CLIP_HEAD
    own.TRAIN_CSV = write("train.csv", "video,label,start,end\na.mp4,sit,0,1\na.mp4,run,2.5,3\n")
    own.VIDEOS, cfg.DATASETS.TRAIN, cfg.INPUT.KIND = (
        str(tmp_path / "videos"),
        ("own_train",),
        "clips",
    )
    head.NUM_CLASSES = [2]
    register_own(cfg)
    with pytest.raises(AVSFError, match=r"train.csv:3: starts at 2.5 s of .*lasts 2 s"):
        check_training_data(cfg)


def test_the_datasets_of_a_config_replace_those_of_an_earlier_one(cfg, tmp_path, write):
    check_training_data(cfg)
    cfg.DATASETS.OWN.VAL_CSV = write("none.csv", "b,1,0,0,1,1,7,0\n")
    register_own(cfg)
    with pytest.raises(AVSFError, match=r"none\.csv:1: action id 7"):
        check_training_data(cfg)


def test_own_data_need_videos_and_label_map():
    from avsf_det.engine.defaults import load_config

    options = ["DATASETS.OWN.TRAIN_CSV", "a.csv"]
    with pytest.raises(ConfigError, match=r"DATASETS.OWN.VIDEOS is ''; it must be the folder"):
        load_config(options=options)
    options += ["DATASETS.OWN.VIDEOS", "videos"]
    with pytest.raises(ConfigError, match=r"DATASETS.OWN.LABEL_MAP is ''; it must be the file"):
        load_config(options=options)
    load_config(options=[*options, "INPUT.KIND", "clips"], notes=[])
