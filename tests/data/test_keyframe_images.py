import os
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
from detectron2.config import get_cfg
from detectron2.data import DatasetCatalog, DatasetMapper, MetadataCatalog
from detectron2.data import transforms as T
from detectron2.modeling import build_model
from detectron2.utils.events import EventStorage
from PIL import Image

from avsf_det import add_avsf_config
from avsf_det.data import (
    VideoDecodeError,
    VideoReader,
    build_clip_train_loader,
    register_ava_csv,
)
from avsf_det.data import keyframe_images as module
from avsf_det.data.keyframe_images import register_keyframe_images

from ..media import read_number, write_video
from ..test_config import ROOT

NAME = "keyframe_images_test_set"
ANNOTATIONS = """\
a,1,0.125,0.25,0.5,0.75,1,0
a,1,0.125,0.25,0.5,0.75,99,0
a,2,0.5,0.5,1,1,1,0
b,1,0,0,0.5,1,1,0
"""


@pytest.fixture
def dataset(tmp_path, monkeypatch):
    monkeypatch.setenv("DETECTRON2_DATASETS", str(tmp_path / "datasets"))
    (tmp_path / "videos").mkdir()
    for name in "ab":
        write_video(tmp_path / "videos" / f"{name}.mp4", num_frames=30, fps=10, size=(64, 96))
    (tmp_path / "gt.csv").write_text(ANNOTATIONS)
    actions = {i: f"action {i}" for i in range(1, 100)}
    register_ava_csv(NAME, str(tmp_path / "gt.csv"), actions, str(tmp_path / "videos"))
    yield tmp_path
    for name in (NAME, f"{NAME}_frames"):
        if name in DatasetCatalog.list():
            DatasetCatalog.remove(name)
        MetadataCatalog.pop(name, None)


def build_cfg(*options):
    cfg = get_cfg()
    add_avsf_config(cfg)
    cfg.merge_from_file(str(ROOT / "configs" / "mini" / "person_mini.yaml"))
    cfg.merge_from_list(
        [
            *("DATASETS.TRAIN", (NAME,), "DATALOADER.NUM_WORKERS", 0),
            *("SOLVER.IMS_PER_BATCH", 2, "INPUT.MIN_SIZE_TRAIN", (128,)),
            *options,
        ]
    )
    return cfg


def test_image_and_boxes_are_those_of_the_keyframe(dataset):
    annotated = DatasetCatalog.get(register_keyframe_images(NAME))[0]
    rgb = DatasetMapper(build_cfg("INPUT.FORMAT", "RGB", "INPUT.RANDOM_FLIP", "none"))(annotated)
    assert rgb["image_id"] == "a,1" and (rgb["height"], rgb["width"]) == (64, 96)
    assert rgb["image"].shape == (3, 128, 192)
    assert read_number(rgb["image"].permute(1, 2, 0).numpy()) == 10
    assert rgb["instances"].gt_boxes.tensor.tolist() == [[24, 32, 96, 96]]
    assert rgb["instances"].gt_classes.tolist() == [0]
    bgr = DatasetMapper(build_cfg("INPUT.FORMAT", "BGR", "INPUT.RANDOM_FLIP", "none"))(annotated)
    assert (bgr["image"] == rgb["image"].flip(0)).all()
    assert rgb["image"][0].float().mean() > rgb["image"][2].float().mean() + 10


def test_boxes_move_with_the_pixels(dataset):
    mapper = DatasetMapper(True, image_format="RGB", augmentations=[T.RandomFlip(prob=1.0)])
    flipped = mapper(DatasetCatalog.get(register_keyframe_images(NAME))[0])
    assert flipped["instances"].gt_boxes.tensor.tolist() == [[48, 16, 84, 48]]
    assert (
        read_number(np.ascontiguousarray(flipped["image"].permute(1, 2, 0).numpy()[:, ::-1])) == 10
    )


def test_a_detector_learns_from_keyframes(dataset):
    cfg = build_cfg()
    batches = list(islice(build_clip_train_loader(cfg), 3))
    assert {image["image_id"] for batch in batches for image in batch} == {"a,1", "a,2", "b,1"}
    with EventStorage():
        losses = build_model(cfg)(batches[0])
    assert losses.keys() == {"loss_cls", "loss_box_reg", "loss_rpn_cls", "loss_rpn_loc"}
    assert all(loss.isfinite() for loss in losses.values())


def test_keyframes_that_cannot_be_read_are_left_out_up_to_a_fraction(dataset):
    (dataset / "videos" / "b.mp4").write_bytes(b"broken")
    loader = build_clip_train_loader(build_cfg("DATALOADER.MAX_BAD_CLIPS", 1.0))
    images = [image for batch in islice(loader, 4) for image in batch]
    assert {image["image_id"] for image in images} == {"a,1", "a,2"}
    (dataset / "videos" / "a.mp4").write_bytes(b"broken")
    with pytest.raises(VideoDecodeError, match="MAX_BAD_CLIPS"):
        next(iter(build_clip_train_loader(build_cfg())))


def test_images_are_written_once_and_those_that_are_missing_again(dataset, monkeypatch):
    read = []
    get_frames = module.SequentialVideoReader.get_frames_played_at
    monkeypatch.setattr(
        module.SequentialVideoReader,
        "get_frames_played_at",
        lambda self, seconds: read.extend(seconds) or get_frames(self, seconds),
    )
    name = register_keyframe_images(NAME)
    first = DatasetCatalog.get(name)
    paths = [Path(image["file_name"]) for image in first]
    assert sorted(read) == [1, 1, 2]
    assert paths[0].parents[1] == dataset / "datasets" / name
    assert [image["image_id"] for image in first] == ["a,1", "a,2", "b,1"]
    # Lossless: equal to the decoded frame.
    with VideoReader(dataset / "videos" / "a.mp4") as video:
        assert (np.asarray(Image.open(paths[1])) == video.get_frames_played_at([2])[0]).all()
    paths[1].unlink()
    again = DatasetCatalog.get(name)
    assert sorted(read) == [1, 1, 2, 2]
    assert [image["file_name"] for image in again] == [str(path) for path in paths]
    assert sorted((dataset / "datasets").rglob("*.*")) == sorted(paths)  # no temporary file
    # A video that was replaced has other images.
    os.utime(dataset / "videos" / "b.mp4", (1, 1))
    changed = [image["file_name"] for image in DatasetCatalog.get(name)]
    assert sorted(read) == [1, 1, 1, 2, 2]
    assert [Path(a) == b for a, b in zip(changed, paths, strict=True)] == [True, True, False]


def test_what_a_detector_cannot_be_trained_with_is_refused_at_once(dataset):
    with pytest.raises(ValueError, match=r"DATASETS\.TEST must be"):
        build_clip_train_loader(build_cfg("DATASETS.TEST", (NAME,)))
    with pytest.raises(ValueError, match="is of clips without person boxes"):
        build_clip_train_loader(build_cfg("DATASETS.TRAIN", ("kinetics400_train",)))
