"""Clips of videos and of segments, their views and their classes."""

import numpy as np
import pytest
import torch
from detectron2.config import get_cfg

from avsf_det import add_avsf_config
from avsf_det.data import SegmentMapper, VideoDecodeError
from avsf_det.data import segment_mapper as module

from ..media import read_number, tone, write_video

NUM_FRAMES, STRIDE, FPS = 8, 4, 30  # a clip of 32 / 30 s


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    """4 s, 30 fps, 64 x 128, every frame numbered; sound: a tone."""
    path = tmp_path_factory.mktemp("media") / "v1.mp4"
    write_video(path, num_frames=120, size=(64, 128), sound=tone(440, 4, 48000))
    return path


def fix_span(monkeypatch, start: float) -> None:
    """Let training mappers read the clip that starts at a second."""
    monkeypatch.setattr(module, "random_span", lambda length, *_: (start, start + length))


def build_mapper(is_train: bool, *options) -> SegmentMapper:
    cfg = get_cfg()
    add_avsf_config(cfg)
    cfg.merge_from_list(
        [
            *("INPUT.CLIP.NUM_FRAMES", NUM_FRAMES, "INPUT.CLIP.STRIDE", STRIDE),
            *("INPUT.AUDIO.NUM_FRAMES", 64, "INPUT.AUDIO.NUM_MELS", 20),
            *("MODEL.CLIP_HEAD.NUM_CLASSES", [5], "INPUT.MIN_SIZE_TEST", 64),
            *("INPUT.MIN_SIZE_TRAIN", (64,), "INPUT.MIN_SIZE_TRAIN_SAMPLING", "range"),
            *("INPUT.RANDOM_FLIP", "none", "TEST.VIEWS.TEMPORAL", 1, "TEST.VIEWS.SPATIAL", 1),
            *options,
        ]
    )
    return SegmentMapper(cfg, is_train)


def clip_of(path, **extra) -> dict:
    return {
        "file_name": str(path),
        "video_id": "v1",
        "clip_id": "v1",
        "source": "train.csv:7",
        "labels": {"action": 3},
        "view": 0,
        **extra,
    }


def first_frame(clip: dict) -> int:
    return read_number(clip["frames"][:, 0].permute(1, 2, 0).numpy())


def test_test_view_is_the_middle_of_the_file(video):
    clip = build_mapper(False, "TEST.VIEWS.SPATIAL", 1)(clip_of(video))
    assert clip["frames"].shape == (3, NUM_FRAMES, 64, 64)
    assert clip["audio"].shape == (1, 64, 20) and clip["has_audio"] is True
    assert clip["labels"]["action"].dtype == torch.int64 and clip["labels"]["action"] == 3
    assert (clip["clip_id"], clip["view"], clip["num_views"]) == ("v1", 0, 1)


def test_views_are_times_and_then_crops(video, monkeypatch):
    """4 times x 3 crops of a video that is twice as wide as high."""
    mapper = build_mapper(False, "TEST.VIEWS.TEMPORAL", 4, "TEST.VIEWS.SPATIAL", 3)
    whole = build_mapper(True)
    clips = [mapper(clip_of(video, view=view)) for view in range(12)]
    assert [(clip["view"], clip["num_views"]) for clip in clips] == [(i, 12) for i in range(12)]
    length = NUM_FRAMES * STRIDE / FPS
    for i in range(4):
        start = i / 4 * (4 - length)
        fix_span(monkeypatch, start)
        frames = whole(clip_of(video))["frames"]  # 64 x 128
        for j, x in enumerate((0, 32, 64)):
            assert torch.equal(clips[3 * i + j]["frames"], frames[..., x : x + 64]), (i, j)


def test_audio_can_be_misaligned(video, monkeypatch):
    later, aligned = build_mapper(True, "INPUT.AUDIO.OFFSET_SEC", 0.5), build_mapper(True)
    fix_span(monkeypatch, 1.0)
    clip = later(clip_of(video))
    assert first_frame(clip) == 30
    fix_span(monkeypatch, 1.5)
    assert torch.equal(clip["audio"], aligned(clip_of(video))["audio"])


def test_training_clip_is_of_its_segment(video):
    mapper = build_mapper(True)
    np.random.seed(0)
    firsts = [first_frame(mapper(clip_of(video, start_sec=2.0, end_sec=2.2))) for _ in range(10)]
    middle = STRIDE * NUM_FRAMES // 2
    assert all(60 - middle - 1 <= first <= 66 - middle + 1 for first in firsts)
    assert len(set(firsts)) > 1


def test_segment_beyond_the_file(video):
    with pytest.raises(VideoDecodeError, match=r"train\.csv:7: the segment starts at 9 s of .*v1"):
        build_mapper(False)(clip_of(video, start_sec=9.0, end_sec=10.0))
    with pytest.raises(VideoDecodeError, match="starts at 9 s"):
        build_mapper(True)(clip_of(video, start_sec=9.0, end_sec=10.0))


def test_several_labels(video):
    options = ("MODEL.CLIP_HEAD.LOSS", "sigmoid")
    clip = build_mapper(False, *options)(clip_of(video, labels={"action": [0, 3]}))
    assert clip["labels"]["action"].tolist() == [1, 0, 0, 1, 0]


def test_training_labels_are_of_the_clip_and_test_labels_of_the_video(video, monkeypatch):
    """Charades: the clip shows 1.5 to 2.43 s (the last frame)."""
    segments = [
        {"label": 0, "start_sec": 0.0, "end_sec": 1.0},
        {"label": 1, "start_sec": 1.0, "end_sec": 1.6},
        {"label": 2, "start_sec": 2.4, "end_sec": 9.0},
        {"label": 4, "start_sec": 2.6, "end_sec": 4.0},
    ]
    data = clip_of(video, labels={"action": [0, 1, 2, 4]}, segments=segments)
    mapper = build_mapper(True, "MODEL.CLIP_HEAD.LOSS", "sigmoid")
    fix_span(monkeypatch, 1.5)
    assert mapper(data)["labels"]["action"].tolist() == [0, 1, 1, 0, 0]
    tester = build_mapper(False, "MODEL.CLIP_HEAD.LOSS", "sigmoid")
    assert tester(data)["labels"]["action"].tolist() == [1, 1, 1, 0, 1]


def test_tasks_of_the_model_alone(video):
    mapper = build_mapper(False, "MODEL.CLIP_HEAD.TASKS", ["noun"])
    assert mapper(clip_of(video, labels={"verb": 1, "noun": 2}))["labels"] == {"noun": 2}
    assert mapper(clip_of(video, labels={}))["labels"] == {}


def test_the_audio_pathway_alone_gets_no_frames(video):
    mapper = build_mapper(False, "INPUT.FRAMES", False)
    clip = mapper(clip_of(video))
    expected = build_mapper(False)(clip_of(video))
    assert "frames" not in clip
    assert torch.equal(clip["audio"], expected["audio"])


def test_swapped_sound_is_of_the_same_view_of_another_clip(video, tmp_path):
    other = tmp_path / "v2.mp4"
    write_video(other, num_frames=120, size=(64, 128), sound=tone(880, 4, 48000))
    mapper = build_mapper(False, "TEST.AUDIO_MODE", "swap", "TEST.VIEWS.TEMPORAL", 2)
    source = {"file_name": str(other), "source": "train.csv:8"}
    swapped = mapper(clip_of(video, view=1, audio_from=source))
    own = build_mapper(False, "TEST.VIEWS.TEMPORAL", 2)
    assert torch.equal(swapped["audio"], own(clip_of(other, view=1))["audio"])
    assert torch.equal(swapped["frames"], own(clip_of(video, view=1))["frames"])
