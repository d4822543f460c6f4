import logging
import math
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from avsf_det.data import clip_reader as module
from avsf_det.data.clip_reader import LogMel, is_silent, mel_matrix, pick_time_steps
from avsf_det.data.video.audio_reader import resample
from tests.media import tone

SHARED = Path(__file__).resolve().parents[2] / ".." / "shared" / "data"
ORACLES = sorted((SHARED / "oracles" / "logmel").glob("*.npz"))
SILENCE = math.log(1e-8)


@pytest.fixture(params=["torchaudio", "torch.stft"])
def with_and_without_torchaudio(request, monkeypatch) -> None:
    """Run a test twice, the second time as where torchaudio cannot be imported."""
    if request.param == "torch.stft":
        monkeypatch.setattr(module, "_import_torchaudio", lambda: None)


@pytest.fixture
def log_mel(with_and_without_torchaudio) -> LogMel:
    return LogMel(sample_rate=16000, window_sec=0.032, hop_sec=0.016, num_mels=80)


def mel_edges(num_mels: int) -> np.ndarray:
    """Corners of the triangles in hertz: even steps of the HTK mel scale from 0 to 8 kHz."""
    mels = np.linspace(0, 2595 * math.log10(1 + 8000 / 700), num_mels + 2)
    return 700 * (10 ** (mels / 2595) - 1)


def log_mel_by_hand(wave: np.ndarray, num_mels: int) -> np.ndarray:
    """The spectrogram straight from its definition, in float64."""
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(512) / 512)
    starts = range(0, len(wave) - 511, 256)
    power = np.abs(np.fft.rfft([wave[s : s + 512] * window for s in starts])) ** 2
    hertz = np.fft.rfftfreq(512, 1 / 16000)
    edges = mel_edges(num_mels)
    bands = []
    for low, middle, high in zip(edges, edges[1:], edges[2:], strict=False):
        triangle = np.minimum((hertz - low) / (middle - low), (high - hertz) / (high - middle))
        bands.append(np.maximum(triangle, 0) * 2 / (high - low))
    return np.log(power @ np.transpose(bands) + 1e-8)


@pytest.mark.parametrize("num_mels", [40, 80])
def test_log_mel_equals_its_definition(num_mels: int, with_and_without_torchaudio):
    wave = torch.randn(5000, generator=torch.Generator().manual_seed(0)) * 0.1
    log_mel = LogMel(sample_rate=16000, window_sec=0.032, hop_sec=0.016, num_mels=num_mels)
    got = log_mel(wave)
    assert got.shape == (1 + (5000 - 512) // 256, num_mels)
    np.testing.assert_allclose(got, log_mel_by_hand(wave.double().numpy(), num_mels), atol=1e-4)


@pytest.mark.parametrize("error", [ImportError, OSError, RuntimeError])
def test_without_torchaudio_results_are_equal_and_the_log_says_so_once(error, monkeypatch, caplog):
    settings = dict(sample_rate=16000, window_sec=0.032, hop_sec=0.016, num_mels=80)
    wave = torch.randn(34133, generator=torch.Generator().manual_seed(0)) * 0.1
    expected = LogMel(**settings)(wave)

    class Refuser:
        def find_spec(self, name, path=None, target=None):
            if name == "torchaudio":
                raise error("made for another CUDA")

    monkeypatch.delitem(sys.modules, "torchaudio", raising=False)
    monkeypatch.setattr(sys, "meta_path", [Refuser(), *sys.meta_path])
    module._import_torchaudio.cache_clear()
    caplog.clear()
    try:
        with caplog.at_level(logging.WARNING):
            got = [LogMel(**settings)(wave) for _ in range(2)]
    finally:
        module._import_torchaudio.cache_clear()
    torch.testing.assert_close(got[0], expected, rtol=0, atol=1e-5)
    assert torch.equal(got[0], got[1])
    assert [record.message for record in caplog.records if "torchaudio" in record.message] == [
        "torchaudio cannot be imported (made for another CUDA). Spectrograms are computed with "
        "torch.stft, with equal results. To use torchaudio, install the version for this torch."
    ]


@pytest.mark.parametrize("num_mels", [8, 40, 64, 80])
def test_mel_filters_equal_those_of_torchaudio(num_mels: int):
    torchaudio = module._import_torchaudio()
    if torchaudio is None:
        pytest.skip("torchaudio cannot be imported beside this torch")
    expected = torchaudio.functional.melscale_fbanks(257, 0, 8000, num_mels, 16000, "slaney")
    torch.testing.assert_close(mel_matrix(16000, 257, num_mels), expected, rtol=0, atol=1e-6)


def test_a_tone_is_loudest_in_its_own_band(log_mel: LogMel):
    edges = mel_edges(80)
    for band in (20, 40, 70):
        got = log_mel(torch.from_numpy(tone(float(edges[band + 1]), 0.5, 16000)[0]))
        assert (got.argmax(dim=1) == band).all()


def test_silence_is_the_offset(log_mel: LogMel):
    assert torch.allclose(log_mel(torch.zeros(34133)), torch.full((132, 80), SILENCE))


@pytest.mark.parametrize("length", [0, 1, 511, 512, 767])
def test_less_than_two_windows_make_one_time_step(log_mel: LogMel, length: int):
    wave = torch.full((length,), 0.5)
    got = log_mel(wave)
    padded = torch.nn.functional.pad(wave[:512], (0, max(512 - length, 0)))
    assert got.shape == (1, 80)
    assert torch.equal(got, log_mel(padded))


def test_pick_time_steps():
    def picked_of(length: int, num: int) -> list[int]:
        logmel = torch.arange(length, dtype=torch.float32)[:, None].expand(length, 3)
        got = pick_time_steps(logmel, num)
        assert got.shape == (num, 3)
        return got[:, 0].int().tolist()

    assert picked_of(5, 5) == [0, 1, 2, 3, 4]
    assert picked_of(7, 3) == [0, 3, 6]
    assert picked_of(1, 4) == [0, 0, 0, 0]
    assert picked_of(3, 5) == [0, 0, 1, 2, 2]
    picked = picked_of(132, 128)
    assert (picked[0], picked[-1]) == (0, 131)
    assert all(abs(step - i * 131 / 127) <= 0.5 for i, step in enumerate(picked))


def test_is_silent():
    assert is_silent(torch.zeros(100))
    assert is_silent(torch.zeros(0))
    assert is_silent(torch.full((100,), -0.9e-4))
    wave = torch.zeros(100)
    wave[50] = -1.1e-4
    assert not is_silent(wave)


@pytest.mark.parametrize("rate", [8000, 11025, 22050, 44100, 48000])
def test_resampled_tone_is_the_tone_at_the_new_rate(rate: int):
    got = resample(torch.from_numpy(tone(1000, 0.5, rate)[0]), rate, 16000)
    assert got.dtype == torch.float32
    assert len(got) == math.ceil(round(0.5 * rate) * 16000 / rate)
    expected = tone(1000, 0.5, 16000)[0]
    np.testing.assert_allclose(got[400:7600], expected[400:7600], atol=2e-3)


def test_resampling_removes_what_the_new_rate_cannot_hold():
    got = resample(torch.from_numpy(tone(11000, 0.5, 48000)[0]), 48000, 16000)
    assert got[400:-400].abs().max() < 5e-3


def test_same_rate_changes_nothing():
    wave = torch.randn(100)
    assert torch.equal(resample(wave, 16000, 16000), wave)


@pytest.mark.skipif(not ORACLES, reason="shared/data/oracles is absent")
@pytest.mark.parametrize("path", ORACLES, ids=lambda p: p.stem)
def test_log_mel_equals_the_authors(log_mel: LogMel, path: Path):
    oracle = np.load(path)
    got = log_mel(torch.from_numpy(oracle["wave16k"]))
    np.testing.assert_allclose(got, oracle["logmel_ref"], atol=1e-3)
