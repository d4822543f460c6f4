"""Similarities by shift, and their peak."""

import numpy as np
import pytest
import torch
from detectron2.modeling import build_model

from ava_tools.sync.audio_offset import Windows, align, find_peak

from ...modeling.builders import NUM_FRAMES, NUM_MELS, NUM_TIME_STEPS, make_cfg, randomize

pytestmark = pytest.mark.usefixtures("few_blocks")
SHIFTS = np.arange(-20, 21)


def test_a_parabola_is_found_exactly():
    shifts = SHIFTS * 0.05
    for late in (-0.113, 0.0, 0.29):
        curve = 0.4 - (shifts - late) ** 2
        peak = find_peak(shifts, np.stack([curve, 3 * curve]))
        assert peak.second == pytest.approx(late, abs=1e-9) and peak.is_clear
    rising = find_peak(shifts, -((shifts[None] - 2) ** 2))
    assert rising.confidence == 1 and not rising.is_inside
    assert str(rising) == "no clear peak (confidence 100%)"


def test_confidence_is_the_share_of_resampled_windows_that_agree():
    shifts = SHIFTS * 0.05
    # Two windows that cannot both have their way: of four draws of two, three have the higher.
    own, height = np.array([[0.4], [-0.5]]), np.array([[2.0], [1.0]])
    similarity = height * np.exp(-(((shifts - own) / 0.1) ** 2))
    peak = find_peak(shifts, similarity)
    assert peak.second == pytest.approx(0.4, abs=0.02)
    assert peak.confidence == pytest.approx(3 / 4, abs=0.1)
    assert not peak.is_clear
    unknown = np.full((1, len(shifts)), np.nan)
    agreed = find_peak(shifts, np.concatenate([similarity[:1]] * 8 + [unknown]))
    assert agreed.confidence == 1
    assert agreed.is_clear
    assert str(agreed) == f"audio is late by {agreed.second:.2f} s (confidence 100%)"


def test_next_to_an_unknown_shift_there_is_no_clear_peak():
    curve = np.where(SHIFTS == 4, np.nan, np.exp(-((SHIFTS - 3) ** 2) / 4))
    peak = find_peak(SHIFTS, curve[None])
    assert peak.second == 3 and peak.confidence == 1 and not peak.is_clear


def smooth(rng: np.random.Generator, num: int, length: int = 10) -> np.ndarray:
    """(num, 16) unit vectors that change slowly."""
    noise = rng.standard_normal((num + length, 16)).cumsum(axis=0)
    vectors = noise[length:] - noise[:-length]
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


# A file of 3 s and one of 10 s, clips of 1.6 s.
@pytest.mark.parametrize(("last", "fraction"), [(28, 0.3), (168, 0.06)])
def test_what_is_not_in_sync_rarely_has_a_clear_peak(last, fraction):
    audio_steps = np.arange(last + 1)
    seen = np.unique(np.linspace(0, last, 24).round().astype(int))
    clear = right = 0
    for seed in range(25):
        rng = np.random.default_rng(seed)
        visual, other = smooth(rng, last + 1), smooth(rng, last + 1)
        peaks = [
            find_peak(SHIFTS * 0.05, align(visual[seen] @ sound.T, seen, audio_steps, SHIFTS))
            for sound in (other, np.roll(visual, 4, axis=0))
        ]
        clear += peaks[0].is_clear
        right += peaks[1].is_clear and abs(peaks[1].second - 0.2) < 0.05
    assert clear <= 25 * fraction
    assert right >= 24


def test_alignment_takes_off_what_windows_and_sounds_have_in_common():
    rng = np.random.default_rng(0)
    seen, audio_steps = np.array([0, 3, 5, 9]), np.array([0, 1, 2, 4, 5, 7, 8, 9])
    additive = rng.standard_normal((4, 1)) + rng.standard_normal(8)
    assert np.nanmax(np.abs(align(additive, seen, audio_steps, SHIFTS))) < 1e-12
    cosine = rng.standard_normal((4, 8))
    aligned = align(additive + cosine, seen, audio_steps, SHIFTS)
    rows, columns = cosine.mean(axis=1, keepdims=True), cosine.mean(axis=0)
    expected = cosine - rows - columns + cosine.mean()
    for row, at in enumerate(seen):
        for column, shift in enumerate(SHIFTS):
            # Of four windows, one that has sound at a shift is enough.
            if at + shift in audio_steps:
                sound = audio_steps.tolist().index(at + shift)
                assert aligned[row, column] == pytest.approx(expected[row, sound])
            else:
                assert np.isnan(aligned[row, column])


def test_shifts_that_few_windows_have_are_unknown():
    aligned = align(np.ones((5, 5)), np.arange(5), np.arange(5), np.arange(-4, 5))
    counts = np.isfinite(aligned).sum(axis=0)
    assert counts.tolist() == [0, 2, 3, 4, 5, 4, 3, 2, 0]  # one of five is too few


@pytest.mark.parametrize("fusion", ["a_fs", "a_f_s", "av_nonlocal"])
def test_sound_is_embedded_alike_whatever_it_is_seen_with(fusion):
    cfg = make_cfg(audio=True)
    cfg.MODEL.META_ARCHITECTURE = "AVPretrainer"
    cfg.MODEL.AVSYNC.ENABLED, cfg.MODEL.ROTATION.ENABLED = True, False
    cfg.MODEL.AUDIO.FUSION_STAGES = ["res3", "res4", "pool5"]
    cfg.MODEL.AUDIO.FUSION_TYPE = fusion
    cfg.INPUT.CLIP.NUM_FRAMES, cfg.INPUT.AUDIO.NUM_FRAMES = NUM_FRAMES, NUM_TIME_STEPS
    cfg.INPUT.AUDIO.NUM_MELS = NUM_MELS
    model = randomize(build_model(cfg)).eval()

    class Loud:
        has_audio = True

        def get_samples_played_in_range(self, start: float, end: float, rate: int) -> torch.Tensor:
            generator = torch.Generator().manual_seed(0)
            return torch.rand(round((end - start) * rate), generator=generator) - 0.5

    audio_steps = Windows(cfg).read_audio(Loud(), 0.0)
    seen = torch.randint(256, (3, NUM_FRAMES, 48, 64)).byte()
    with torch.no_grad():
        blank, real = model([audio_steps])[0], model([{**audio_steps, "frames": seen}])[0]
    for level, vectors in blank["embeddings"].items():
        torch.testing.assert_close(vectors["audio"], real["embeddings"][level]["audio"])
        assert not torch.allclose(vectors["visual"], real["embeddings"][level]["visual"], atol=1e-4)
