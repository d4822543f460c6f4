"""One pass through each video gives what reading keyframe by keyframe gives."""

import functools
import itertools

import numpy as np
import pytest
import torch
from detectron2.config import get_cfg
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.utils import comm

from avsf_det import add_avsf_config
from avsf_det.data import (
    KeyframeMapper,
    SequentialReader,
    build_clip_test_loader,
    register_ava_csv,
)
from avsf_det.data.build import keyframes_to_test
from avsf_det.data.transforms import ResizeClipTransform, build_clip_augmentations

from ..media import write_video

NAME = "sequential_test_set"
NOISE = np.random.default_rng(0).normal(0, 0.3, (2, 48000 * 6)).astype(np.float32)


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    """Three videos of 6 s with a keyframe each second, in no order."""
    folder = tmp_path_factory.mktemp("videos")
    for i, name in enumerate("abc"):
        sound = None if name == "c" else NOISE * (0.5 + i)
        write_video(folder / f"{name}.mp4", num_frames=180, bframes=2, sound=sound, size=(60, 90))
    keyframes = list(itertools.product("abc", range(6)))
    np.random.default_rng(0).shuffle(keyframes)
    rows = (f"{name},{second},0.1,0.15,0.5,0.95,1,0\n" for name, second in keyframes)
    (folder / "gt.csv").write_text("".join(rows))
    (folder / "map.txt").write_text("1: sit\n")
    register_ava_csv(NAME, str(folder / "gt.csv"), str(folder / "map.txt"), str(folder))
    yield
    DatasetCatalog.remove(NAME)
    MetadataCatalog.remove(NAME)


def make_cfg(*options):
    cfg = get_cfg()
    add_avsf_config(cfg)
    cfg.merge_from_list(
        [
            *("DATASETS.TEST", (NAME,), "DATALOADER.NUM_WORKERS", 0, "MODEL.LOAD_PROPOSALS", False),
            *("MODEL.META_ARCHITECTURE", "ActionDetector", "MODEL.ROI_ACTION_HEAD.NUM_CLASSES", 1),
            *("INPUT.CLIP.NUM_FRAMES", 8, "INPUT.CLIP.STRIDE", 5, "INPUT.MIN_SIZE_TEST", 48),
            *("INPUT.AUDIO.NUM_FRAMES", 16, "INPUT.AUDIO.NUM_MELS", 8),
            *options,
        ]
    )
    return cfg


@functools.cache
def plain_clips(mode: str = "normal") -> dict[str, dict]:
    cfg = make_cfg("TEST.AUDIO_MODE", mode)
    dicts = keyframes_to_test(cfg, NAME)
    return {d["image_id"]: KeyframeMapper(cfg, is_train=False)(d) for d in dicts}


def assert_same(clip: dict, expected: dict) -> None:
    assert clip.keys() == expected.keys()
    for key, value in expected.items():
        if key == "proposals":
            assert clip[key].image_size == value.image_size
            assert torch.equal(clip[key].proposal_boxes.tensor, value.proposal_boxes.tensor)
            assert torch.equal(clip[key].objectness_logits, value.objectness_logits)
        elif isinstance(value, torch.Tensor):
            assert torch.equal(clip[key], value)
        else:
            assert clip[key] == value


@pytest.mark.parametrize("processes, workers, size", [(1, 0, 1), (1, 2, 4), (2, 1, 1), (2, 2, 4)])
def test_each_keyframe_once_equal_to_reading_it_alone(
    videos, monkeypatch, processes, workers, size
):
    cfg = make_cfg("DATALOADER.NUM_WORKERS", workers, "TEST.BATCH_SIZE", size)
    expected = plain_clips()
    monkeypatch.setattr(comm, "get_world_size", lambda: processes)
    seen = []
    for rank in range(processes):
        monkeypatch.setattr(comm, "get_rank", lambda rank=rank: rank)
        loader = build_clip_test_loader(cfg, NAME)
        batches = [*loader]
        assert len(loader) == len(batches) and max(map(len, batches)) == size
        clips = [clip for batch in batches for clip in batch]
        for clip in clips:
            assert_same(clip, expected[clip["image_id"]])
        seen += [clip["image_id"] for clip in clips]
    assert sorted(seen) == sorted(expected)


@pytest.mark.parametrize("mode", ["swap", "mute"])
def test_sound_of_others_and_none(videos, mode):
    cfg = make_cfg("TEST.AUDIO_MODE", mode)
    expected = plain_clips(mode)
    for (clip,) in build_clip_test_loader(cfg, NAME):
        assert_same(clip, expected[clip["image_id"]])


def test_any_order_is_right(videos):
    cfg = make_cfg()
    source = SequentialReader(build_clip_augmentations(cfg, is_train=False))
    expected, mapper = plain_clips(), KeyframeMapper(cfg, is_train=False, source=source)
    for dataset_dict in keyframes_to_test(cfg, NAME):
        assert_same(mapper(dataset_dict), expected[dataset_dict["image_id"]])


def test_each_frame_is_resized_once(videos, monkeypatch):
    resized = []
    apply_image = ResizeClipTransform.apply_image
    monkeypatch.setattr(
        ResizeClipTransform, "apply_image", lambda *a: resized.append(a) or apply_image(*a)
    )
    cfg = make_cfg()
    for _ in build_clip_test_loader(cfg, NAME):
        pass
    # Every fifth frame of 180, and one to know how boxes move, of each video.
    steps = {6 * s + i for s in range(6) for i in range(-4, 4)}
    shown = {max(0, step) for step in steps}
    assert len(resized) == 3 * (len(shown) + 1)
