"""Loaders of clips with classes."""

from itertools import islice

import pytest
import torch
from detectron2.config import get_cfg
from detectron2.data import DatasetCatalog, MetadataCatalog

from avsf_det import add_avsf_config
from avsf_det.data import (
    ReaderPerClip,
    SegmentMapper,
    build_clip_test_loader,
    build_clip_train_loader,
    register_clip_csv,
)

from ..media import tone, write_video

TRAIN, TEST = "build_clips_train", "build_clips_test"


@pytest.fixture
def dataset(tmp_path):
    for i, name in enumerate("abc"):
        write_video(tmp_path / f"{name}.mp4", num_frames=60, sound=tone(300 + 200 * i, 2, 48000))
    (tmp_path / "classes.txt").write_text("run\nsing\nsit\n")
    (tmp_path / "train.csv").write_text("video,label\na.mp4,sing\nb.mp4,run\n")
    (tmp_path / "test.csv").write_text("video,label\nb.mp4,run\nc.mp4,sit\na.mp4,sing\n")
    for name, file in ((TRAIN, "train.csv"), (TEST, "test.csv")):
        register_clip_csv(
            name, str(tmp_path / file), str(tmp_path), class_file=str(tmp_path / "classes.txt")
        )
    yield tmp_path
    for name in (TRAIN, TEST):
        DatasetCatalog.remove(name)
        MetadataCatalog.remove(name)


def build_cfg(*options):
    cfg = get_cfg()
    add_avsf_config(cfg)
    cfg.merge_from_list(
        [
            *("DATASETS.TRAIN", (TRAIN,), "DATASETS.TEST", (TEST,), "DATALOADER.NUM_WORKERS", 0),
            *("INPUT.CLIP.NUM_FRAMES", 4, "INPUT.AUDIO.NUM_FRAMES", 16, "INPUT.AUDIO.NUM_MELS", 8),
            *("INPUT.MIN_SIZE_TRAIN", (48,), "INPUT.MIN_SIZE_TEST", 48),
            *("DATALOADER.ASPECT_RATIO_GROUPING", False, "SOLVER.IMS_PER_BATCH", 2),
            *("INPUT.KIND", "clips", "MODEL.CLIP_HEAD.NUM_CLASSES", [3]),
            *("TEST.VIEWS.TEMPORAL", 2, "TEST.VIEWS.SPATIAL", 2),
            *options,
        ]
    )
    return cfg


def test_every_view_of_every_clip_is_tested_once(dataset):
    views = [(name, view) for name in "bca" for view in range(4)]
    for size in (1, 4):  # times; both crops of a time in one batch
        batches = [*build_clip_test_loader(build_cfg("TEST.BATCH_SIZE", size), TEST)]
        assert [len(batch) for batch in batches] == {1: [2] * 6, 4: [8, 4]}[size]
        assert [(clip["clip_id"], clip["view"]) for batch in batches for clip in batch] == views


def test_crops_come_from_one_decode(dataset, monkeypatch):
    opened = []
    open_video = ReaderPerClip.open
    monkeypatch.setattr(ReaderPerClip, "open", lambda *a: opened.append(a) or open_video(*a))
    cfg = build_cfg()
    mapper, dicts = SegmentMapper(cfg, is_train=False), DatasetCatalog.get(TEST)
    batches = [*build_clip_test_loader(cfg, TEST)]
    assert len(opened) == 2 * 3  # times of clips
    for clip in [clip for batch in batches for clip in batch]:
        (source,) = (d for d in dicts if d["clip_id"] == clip["clip_id"])
        alone = mapper({**source, "view": clip["view"]})
        assert torch.equal(clip["frames"], alone["frames"])
        assert torch.equal(clip["audio"], alone["audio"])


def test_workers_do_not_change_what_is_tested(dataset):
    alone = build_clip_test_loader(build_cfg(), TEST)
    helped = build_clip_test_loader(build_cfg("DATALOADER.NUM_WORKERS", 2), TEST)
    for one, two in zip(alone, helped, strict=True):
        for a, b in zip(one, two, strict=True):
            assert (a["clip_id"], a["view"]) == (b["clip_id"], b["view"])
            assert torch.equal(a["frames"], b["frames"]) and torch.equal(a["audio"], b["audio"])


def test_training_batches(dataset):
    for batch in islice(build_clip_train_loader(build_cfg()), 3):
        assert len(batch) == 2
        for clip in batch:
            assert clip["labels"]["action"] == {"a": 1, "b": 0}[clip["clip_id"]]


def test_swapped_sounds_are_of_other_videos(dataset):
    plain = build_clip_test_loader(build_cfg(), TEST)
    sounds = {batch[0]["clip_id"]: batch[0]["audio"] for batch in plain if not batch[0]["view"]}
    swapped = build_clip_test_loader(build_cfg("TEST.AUDIO_MODE", "swap"), TEST)
    for clip, _ in swapped:
        if clip["view"] == 0:
            assert not torch.equal(clip["audio"], sounds[clip["clip_id"]])
            assert any(torch.equal(clip["audio"], sound) for sound in sounds.values())


@pytest.mark.parametrize(
    "options, message",
    [
        (("MODEL.CLIP_HEAD.NUM_CLASSES", [2]), "has 3 classes of 'action', the model 2"),
        (("MODEL.CLIP_HEAD.TASKS", ["verb"]), "has no task 'verb'"),
        (("MODEL.CLIP_HEAD.LOSS", "sigmoid"), "has one label per clip"),
        (("INPUT.KIND", "keyframes"), "is of clips without person boxes"),
    ],
)
def test_a_model_for_another_data_set(dataset, options, message):
    with pytest.raises(ValueError, match=message):
        build_clip_train_loader(build_cfg(*options))


def test_other_classes_than_in_training(dataset):
    (dataset / "other.csv").write_text("video,label\na.mp4,dance\n")
    register_clip_csv("build_clips_other", str(dataset / "other.csv"), str(dataset))
    try:
        DatasetCatalog.get(TRAIN)
        with pytest.raises(ValueError, match="have different classes of 'action'"):
            build_clip_test_loader(build_cfg(), "build_clips_other")
    finally:
        DatasetCatalog.remove("build_clips_other")
        MetadataCatalog.remove("build_clips_other")


def test_clips_without_labels_cannot_be_trained_on(dataset):
    DatasetCatalog.get(TEST)
    clips = [{"labels": {}, "source": "list.txt:1"}]
    DatasetCatalog.register("build_clips_bare", lambda: clips)
    MetadataCatalog.get("build_clips_bare").set(
        evaluator_type="clip", multi_label=False, task_classes={"action": ["run", "sing", "sit"]}
    )
    try:
        with pytest.raises(ValueError, match=r"clips without labels, the first at list\.txt:1"):
            build_clip_train_loader(build_cfg("DATASETS.TRAIN", ("build_clips_bare",)))
    finally:
        DatasetCatalog.remove("build_clips_bare")
        MetadataCatalog.remove("build_clips_bare")
