import logging
import math

import numpy as np
import pytest
import torch
from detectron2.config import get_cfg
from detectron2.structures import BoxMode

from avsf_det import add_avsf_config
from avsf_det.data import KeyframeMapper, VideoDecodeError, VideoReader
from avsf_det.data import clip_reader as module
from avsf_det.data.clip_reader import BadClipReplacer

from ..media import clicks, read_number, tone, write_video

NUM_FRAMES, STRIDE, FPS = 8, 4, 30  # a clip of 32 / 30 s


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    """3 s, 30 fps, 64 x 128, every frame numbered; sound: a tone."""
    path = tmp_path_factory.mktemp("media") / "v1.mp4"
    write_video(path, num_frames=90, size=(64, 128), sound=tone(440, 3, 48000))
    return path


@pytest.fixture(scope="module")
def clicking(tmp_path_factory):
    """The same pictures, with a click at 1.5 s."""
    path = tmp_path_factory.mktemp("media") / "v2.mp4"
    write_video(path, num_frames=90, size=(64, 128), sound=clicks([1.5], 3, 48000))
    return path


def build_mapper(is_train: bool, *options) -> KeyframeMapper:
    cfg = get_cfg()
    add_avsf_config(cfg)
    cfg.merge_from_list(
        [
            *("INPUT.CLIP.NUM_FRAMES", NUM_FRAMES, "INPUT.CLIP.STRIDE", STRIDE),
            *("INPUT.AUDIO.NUM_FRAMES", 64, "INPUT.AUDIO.NUM_MELS", 20),
            *("MODEL.ROI_ACTION_HEAD.NUM_CLASSES", 5, "INPUT.MIN_SIZE_TEST", 64),
            *("INPUT.MIN_SIZE_TRAIN", (64, 80), "INPUT.MIN_SIZE_TRAIN_SAMPLING", "range"),
            *("INPUT.CROP.ENABLED", True, "INPUT.CROP.TYPE", "absolute"),
            *("INPUT.CROP.SIZE", [56, 56]),
            *options,
        ]
    )
    return KeyframeMapper(cfg, is_train)


def keyframe(path, timestamp=1.5, offset=0.0, **extra) -> dict:
    return {
        "file_name": str(path),
        "video_id": "v1",
        "image_id": f"v1,{timestamp:g}",
        "timestamp": timestamp,
        "offset": offset,
        "source": "gt.csv:7",
        "annotations": [
            {
                "bbox": [0.25, 0.125, 0.75, 0.875],
                "bbox_mode": BoxMode.XYXY_REL,
                "category_id": 0,
                "action_ids": [1, 4],
            }
        ],
        **extra,
    }


def numbers(clip: dict) -> list[int]:
    return [read_number(frame.numpy()) for frame in clip["frames"].permute(1, 2, 3, 0)]


@pytest.mark.parametrize("offset", [0.0, 900.0])
def test_clip_is_the_frames_around_the_keyframe(video, offset):
    clip = build_mapper(False)(keyframe(video, 1.5 + offset, offset))
    assert clip["frames"].dtype == torch.uint8
    assert clip["frames"].shape == (3, NUM_FRAMES, 64, 128)
    # The middle is frame 45; the clip reaches NUM_FRAMES * STRIDE / 2 = 16 frames to each side.
    assert numbers(clip) == list(range(45 - 16, 45 + 16, STRIDE))
    assert (clip["height"], clip["width"]) == (64, 128)
    assert clip["timestamp"] == 1.5 + offset
    assert "instances" not in clip


def test_reading_only_what_is_cropped_changes_nothing(video):
    mapper = build_mapper(True)
    times = [0.5 + i / 10 for i in range(NUM_FRAMES)]
    with VideoReader(video) as reader:
        whole = reader.get_frames_played_at(times)
        for seed in range(8):
            np.random.seed(seed)
            clip, transforms = mapper.source.read_frames(reader, times)
            assert clip.shape == (NUM_FRAMES, 56, 56, 3)
            assert np.array_equal(clip, transforms.apply_image(whole))


def test_clip_at_the_edge_repeats_the_first_frame(video):
    assert numbers(build_mapper(False)(keyframe(video, 0.2)))[:4] == [0, 0, 0, 2]


def test_spectrogram_is_of_the_same_span(clicking):
    """A click at the keyframe is in the middle; a tenth of a span later, a tenth further."""
    clip = build_mapper(False)(keyframe(clicking, 1.5))
    assert clip["has_audio"] is True
    assert clip["audio"].shape == (1, 64, 20)
    assert clip["audio"].dtype == torch.float32
    middle = clip["audio"][0].mean(1).argmax().item()
    assert abs(middle - 31.5) <= 1.5
    later = build_mapper(False)(keyframe(clicking, 1.5 - 0.1 * NUM_FRAMES * STRIDE / FPS))
    assert abs(later["audio"][0].mean(1).argmax().item() - middle - 6.4) <= 1.5


def test_muted_and_soundless_clips_are_silence_with_a_mask(video, tmp_path):
    silent = tmp_path / "silent.mp4"
    write_video(silent, num_frames=90, size=(64, 128))
    for clip in (
        build_mapper(False, "TEST.AUDIO_MODE", "mute")(keyframe(video)),
        build_mapper(False)(keyframe(silent)),
    ):
        assert clip["has_audio"] is False
        torch.testing.assert_close(clip["audio"], torch.full((1, 64, 20), math.log(1e-8)))


def test_a_digitally_silent_track_counts_as_no_sound(tmp_path):
    path = tmp_path / "zeros.mp4"
    write_video(path, num_frames=90, size=(64, 128), sound=np.zeros((1, 144000), np.float32))
    assert build_mapper(False)(keyframe(path))["has_audio"] is False


def test_swapped_sound_is_the_other_clips(video, clicking):
    own = build_mapper(False)(keyframe(clicking, 1.4))
    swapped = build_mapper(False, "TEST.AUDIO_MODE", "swap")(
        keyframe(video, 1.5, audio_from=keyframe(clicking, 1.4))
    )
    torch.testing.assert_close(swapped["audio"], own["audio"])
    assert numbers(swapped)[0] == 45 - 16


def test_test_boxes_are_scaled_and_all_kept(video):
    boxes = np.array([[0, 0, 1, 1], [0.5, 0.25, 0.5, 0.25]], np.float32)
    proposals = {"boxes": boxes, "scores": np.array([0.9, 0.8], np.float32)}
    clip = build_mapper(False, "INPUT.MIN_SIZE_TEST", 32)(keyframe(video, proposals=proposals))
    result = clip["proposals"]
    assert result.image_size == (32, 64)
    expected = torch.tensor([[0.0, 0, 64, 32], [32, 8, 32, 8]])
    torch.testing.assert_close(result.proposal_boxes.tensor, expected)
    torch.testing.assert_close(result.objectness_logits, torch.tensor([0.9, 0.8]))


def test_training_labels_follow_the_crop(video):
    mapper = build_mapper(True)
    for seed in range(6):
        np.random.seed(seed)
        clip = mapper(keyframe(video))
        instances = clip["instances"]
        assert clip["frames"].shape == (3, NUM_FRAMES, 56, 56)
        assert instances.image_size == (56, 56)
        assert instances.gt_actions.tolist() == [[0, 1, 0, 0, 1]] * len(instances)
        assert instances.gt_classes.tolist() == [0] * len(instances)
        boxes = instances.gt_boxes.tensor
        assert ((boxes >= 0) & (boxes <= 56)).all()


def test_boxes_that_the_crop_left_out_are_dropped(video):
    np.random.seed(0)
    corner = keyframe(video)
    corner["annotations"][0]["bbox"] = [0.0, 0.0, 0.2, 0.5]
    mapper = build_mapper(True)
    sizes = {len(mapper(corner)["instances"]) for _ in range(12)}
    assert sizes == {0, 1}


def test_bad_clip_stops_a_test_and_is_counted_in_training(video, tmp_path, caplog):
    broken = tmp_path / "broken.mp4"
    broken.write_text("not a video")
    with pytest.raises(VideoDecodeError, match=r"broken\.mp4"):
        build_mapper(False)(keyframe(broken))

    mapper = BadClipReplacer(build_mapper(True), [keyframe(video)], 0.05)
    with caplog.at_level(logging.WARNING):
        replacement = mapper(keyframe(broken))
    assert "broken.mp4" in caplog.text
    assert replacement["frames"].shape == (3, NUM_FRAMES, 56, 56)
    assert (mapper.num_bad_clips, mapper.num_clips) == (1, 2)


def test_too_many_bad_clips_stop_the_training(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "MIN_CLIPS_TO_JUDGE", 10)
    missing = keyframe(tmp_path / "missing.mp4")
    mapper = BadClipReplacer(build_mapper(True), [missing], 0.2)
    # 2 of 10 are allowed.
    with pytest.raises(VideoDecodeError, match=r"3 of 3 clips.*MAX_BAD_CLIPS = 0.2"):
        mapper(missing)
    assert (mapper.num_bad_clips, mapper.num_clips) == (3, 3)


@pytest.mark.parametrize("timestamp, offset", [(9.0, 0.0), (1.5, 900.0)])
def test_keyframe_outside_the_file_is_an_error_that_says_so(video, timestamp, offset):
    with pytest.raises(VideoDecodeError, match=r"gt.csv:7: keyframe v1,.*lasts 3 s.*offset"):
        build_mapper(False)(keyframe(video, timestamp, offset))


def test_unknown_audio_mode_is_refused():
    with pytest.raises(ValueError, match="AUDIO_MODE"):
        build_mapper(False, "TEST.AUDIO_MODE", "louder")
