"""Hard negatives: sound of the same video at another time."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from detectron2.config import get_cfg

from avsf_det import add_avsf_config
from avsf_det.data import KeyframeMapper, SegmentMapper
from avsf_det.data import segment_mapper as module
from avsf_det.data.clip_reader import mel_matrix

from ..media import clicks, tone, write_video

NUM_FRAMES, STRIDE, FPS = 8, 4, 30
CLIP_SEC = NUM_FRAMES * STRIDE / FPS
DURATION = 5  # seconds of the video
NUM_COLUMNS, NUM_MELS = 64, 80
STEP = 0.1  # seconds of a note
AT_TEST = ("TEST.AUDIO_NEGATIVES", True)


def notes() -> list[float]:
    """Hz of each note of the scale, evenly spaced in mel from 300 Hz to 7 kHz."""
    low, high = (2595 * np.log10(1 + hertz / 700) for hertz in (300, 7000))
    return [700 * (10 ** (m / 2595) - 1) for m in np.linspace(low, high, round(DURATION / STEP))]


@pytest.fixture(scope="module")
def scale(tmp_path_factory) -> Path:
    """5 s in which the pitch rises by a note every 0.1 s: it says the time."""
    path = tmp_path_factory.mktemp("media") / "scale.mp4"
    sound = np.concatenate([tone(hertz, STEP, 48000) for hertz in notes()], axis=1)
    write_video(path, num_frames=DURATION * 30, sound=sound)
    return path


def start_of(audio: torch.Tensor) -> float:
    """When a spectrogram (1, T_a, F) of the scale starts, in seconds of the file."""
    banks = mel_matrix(16000, 257, NUM_MELS)
    hertz = banks.T @ torch.linspace(0, 8000, 257) / banks.sum(dim=0)  # middle of each bin
    nearest = (hertz[:, None] - torch.tensor(notes())).abs().argmin(dim=1)
    heard = (nearest[audio[0].argmax(dim=1)] + 0.5) * STEP
    return (heard - (torch.arange(NUM_COLUMNS) + 0.5) * CLIP_SEC / NUM_COLUMNS).median().item()


def make_cfg(*options):
    cfg = get_cfg()
    add_avsf_config(cfg)
    cfg.merge_from_list(
        [
            *("INPUT.CLIP.NUM_FRAMES", NUM_FRAMES, "INPUT.CLIP.STRIDE", STRIDE),
            *("INPUT.AUDIO.NUM_FRAMES", NUM_COLUMNS, "INPUT.AUDIO.NUM_MELS", NUM_MELS),
            *("MODEL.CLIP_HEAD.NUM_CLASSES", [5], "INPUT.MIN_SIZE_TEST", 48),
            *("INPUT.MIN_SIZE_TRAIN", (48,), "INPUT.MIN_SIZE_TRAIN_SAMPLING", "range"),
            *("TEST.VIEWS.TEMPORAL", 1, "TEST.VIEWS.SPATIAL", 1, "INPUT.AUDIO.NEGATIVES", True),
            *options,
        ]
    )
    return cfg


def build_mapper(is_train: bool, *options) -> SegmentMapper:
    return SegmentMapper(make_cfg(*options), is_train)


def clip_of(path: Path, view: int = 0) -> dict:
    name = path.stem
    return {
        "file_name": str(path),
        "video_id": name,
        "clip_id": name,
        "source": "train.csv:7",
        "labels": {},
        "view": view,
    }


@pytest.mark.parametrize("gap", [0.5, 1.5])
def test_negatives_in_training_are_of_the_same_file_and_far_enough(scale, gap):
    mapper = build_mapper(True, "INPUT.AUDIO.NEGATIVE_GAP_SEC", gap)
    np.random.seed(0)
    shifts = []
    for _ in range(25):
        clip = mapper(clip_of(scale))
        assert clip["has_audio_negative"] is True
        assert clip["audio_negative"].shape == clip["audio"].shape == (1, NUM_COLUMNS, NUM_MELS)
        start, negative = start_of(clip["audio"]), start_of(clip["audio_negative"])
        assert all(-0.04 <= second <= DURATION - CLIP_SEC + 0.04 for second in (start, negative))
        shifts.append(negative - start)
    assert np.abs(shifts).min() > gap - 0.08
    assert min(shifts) < 0 < max(shifts)
    assert np.std(shifts) > 0.5  # each time another one


def test_negatives_in_training_differ_for_the_same_clip(scale, monkeypatch):
    mapper = build_mapper(True)
    monkeypatch.setattr(module, "random_span", lambda *_: (2.0, 2.0 + CLIP_SEC))
    np.random.seed(0)
    clips = [mapper(clip_of(scale)) for _ in range(6)]
    assert [start_of(clip["audio"]) for clip in clips] == pytest.approx([2.0] * 6, abs=0.04)
    assert len({round(start_of(clip["audio_negative"]), 1) for clip in clips}) > 3


def test_negatives_in_testing_are_always_the_same(scale, tmp_path):
    """For any draws, in any process, wherever the file lies; of other clips they are others."""
    options = [*AT_TEST, "TEST.VIEWS.TEMPORAL", 3]
    mapper = build_mapper(False, *options)
    clips = [mapper(clip_of(scale, view)) for view in range(3)]
    copy = shutil.copy(scale, tmp_path / scale.name)
    np.random.seed(1)
    for data in (clip_of(scale), clip_of(copy)):
        again = build_mapper(False, *options)(data)["audio_negative"]
        assert torch.equal(again, clips[0]["audio_negative"])
    shifts = [start_of(clip["audio_negative"]) - start_of(clip["audio"]) for clip in clips]
    assert np.abs(shifts).min() > 0.5 - 0.08
    assert len({round(shift, 1) for shift in shifts}) == 3


def test_other_files_have_other_negatives(scale, tmp_path):
    mapper = build_mapper(False, *AT_TEST)
    copies = [shutil.copy(scale, tmp_path / f"{name}.mp4") for name in "abc"]
    starts = {round(start_of(mapper(clip_of(path))["audio_negative"]), 1) for path in copies}
    assert len(starts) > 1


def test_a_click_is_as_much_earlier_as_the_negative_starts_later(tmp_path, monkeypatch):
    """There is room for little more than the gap, and after the clip alone."""
    path = tmp_path / "click.mp4"
    write_video(path, num_frames=48, sound=clicks([1.0], 1.6, 48000))
    mapper = build_mapper(True)
    monkeypatch.setattr(module, "random_span", lambda *_: (0.0, CLIP_SEC))
    clip = mapper(clip_of(path))
    own, negative = (clip[name][0].mean(1).argmax() for name in ("audio", "audio_negative"))
    assert own / NUM_COLUMNS * CLIP_SEC == pytest.approx(1.0, abs=0.03)
    assert (own - negative) / NUM_COLUMNS * CLIP_SEC == pytest.approx(0.52, abs=0.04)


@pytest.mark.parametrize("is_train", [True, False])
def test_a_short_file_has_no_negative(tmp_path, is_train):
    """Of 1.5 s a clip leaves 0.43 s, less than the gap."""
    path = tmp_path / "short.mp4"
    write_video(path, num_frames=45, sound=tone(440, 1.5, 48000))
    clip = build_mapper(is_train, *AT_TEST)(clip_of(path))
    assert (clip["has_audio"], clip["has_audio_negative"]) == (True, False)
    silence = np.float32(np.log(1e-8))
    assert torch.allclose(clip["audio_negative"], torch.full((1, NUM_COLUMNS, NUM_MELS), silence))


def test_silence_is_no_negative(tmp_path, monkeypatch):
    """Sound at the start of the clip alone, and no track at all."""
    quiet, mute = tmp_path / "quiet.mp4", tmp_path / "mute.mp4"
    write_video(quiet, num_frames=120, sound=np.pad(tone(440, 0.3, 48000), ((0, 0), (0, 177600))))
    write_video(mute, num_frames=120)
    mapper = build_mapper(True)
    monkeypatch.setattr(module, "random_span", lambda *_: (0.0, CLIP_SEC))
    for path, has_audio in ((quiet, True), (mute, False)):
        clip = mapper(clip_of(path))
        assert (clip["has_audio"], clip["has_audio_negative"]) == (has_audio, False)


@pytest.mark.parametrize(
    "is_train, options, given",
    [
        (True, (), True),
        (True, AT_TEST, True),
        (False, AT_TEST, True),
        (False, (), False),
        (True, ("INPUT.AUDIO.NEGATIVES", False), False),
        (True, (*AT_TEST, "INPUT.AUDIO.NEGATIVES", False), False),
        (False, ("TEST.AUDIO_NEGATIVES", False), False),
    ],
)
def test_who_gets_negatives(scale, is_train, options, given):
    """Training with the synchronisation loss; and testing models that are evaluated by it."""
    clip = build_mapper(is_train, *options)(clip_of(scale))
    names = {name for name in clip if name.endswith("audio_negative")}
    assert names == ({"audio_negative", "has_audio_negative"} if given else set())


def test_muting_mutes_both(scale):
    clip = build_mapper(False, *AT_TEST, "TEST.AUDIO_MODE", "mute")(clip_of(scale))
    assert (clip["has_audio"], clip["has_audio_negative"]) == (False, False)


def test_detectors_in_training_get_them_too(scale):
    mapper = KeyframeMapper(make_cfg(), is_train=True)
    data = {
        **clip_of(scale),
        "image_id": "scale,902",
        "timestamp": 902.5,
        "offset": 900.0,
        "annotations": [],
    }
    np.random.seed(0)
    clip = mapper(data)
    start = 2.5 - CLIP_SEC / 2
    assert start_of(clip["audio"]) == pytest.approx(start, abs=0.04)
    assert abs(start_of(clip["audio_negative"]) - start) > 0.5 - 0.04
