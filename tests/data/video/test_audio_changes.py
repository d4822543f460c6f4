"""Audio whose sample rate or channels change on the way."""

from pathlib import Path

import av
import numpy as np
import pytest

from ava_tools.preparation.video_check import check_video
from avsf_det.data import VideoReader
from avsf_det.data.video import SequentialVideoReader
from avsf_det.data.video.audio_reader import MonoFrame
from avsf_det.data.video.write import write_video as write_frames

from ...media import clicks, tone, write_video

HERTZ = 400


@pytest.mark.parametrize(
    ("rates", "channels", "codec"),
    [
        ((48000, 32000), (2, 1), "aac"),
        ((32000, 48000), (1, 2), "aac"),
        ((44100, 22050), (1, 1), "aac"),
        ((48000, 48000), (2, 1), "mp2"),
    ],
)
def test_pitch_level_and_time_stay(tmp_path: Path, rates, channels, codec: str):
    """Two MPEG-TS files of 2 s in one: a tone, and clicks at 0.9 s and 2.9 s."""
    data = b""
    for i, (rate, count) in enumerate(zip(rates, channels, strict=True)):
        sound = tone(HERTZ, 2.0, rate, 0.3) * (np.arange(2 * rate) >= 1.1 * rate)
        sound = np.repeat(sound + clicks([0.9], 2.0, rate), count, axis=0)
        write_video(
            tmp_path / f"{i}.ts",
            fps=10,
            num_frames=20,
            start=1.0 + 2 * i,
            sound=sound,
            sound_rate=rate,
            sound_codec=codec,
            sound_start=1.0 + 2 * i,
        )
        data += (tmp_path / f"{i}.ts").read_bytes()
    path = tmp_path / "joined.ts"
    path.write_bytes(data)
    for reader in (VideoReader, SequentialVideoReader):
        with reader(path) as video:
            whole = video.get_samples_played_in_range(0, 4, 16000).numpy()
            window = video.get_samples_played_in_range(2.5, 3.5, 16000).numpy()
        np.testing.assert_allclose(window, whole[40000:56000], atol=1e-6)
        for start in (1.2, 3.2):
            part = whole[round(start * 16000) :][:8000]
            power = np.abs(np.fft.rfft(part * np.hanning(len(part))))
            assert power.argmax() * 2 == pytest.approx(HERTZ, abs=4)
            assert np.abs(part).max() == pytest.approx(0.3, abs=0.05)
        for start, second in [(0.7, 0.9), (2.7, 2.9)]:
            part = np.abs(whole[round(start * 16000) : round((start + 0.3) * 16000)])
            onset = start + np.flatnonzero(part > 0.3 * part.max())[0] / 16000
            assert onset == pytest.approx(second, abs=0.003)
    assert "undecodable" not in check_video(str(path)).problems
    # The whole audio is written, too.
    images = [np.zeros((32, 32, 3), np.uint8)] * 40
    write_frames(tmp_path / "a.mp4", images, 10, audio_of=path)
    with VideoReader(tmp_path / "a.mp4") as video:
        copy = video.get_samples_played_in_range(0, 4, 16000).numpy()
    for start in (1.2, 3.2):
        part = slice(round(start * 16000), round((start + 0.5) * 16000))
        # Channels are mixed as libav does it: stereo of two equal channels is 3 dB louder as mono.
        assert 0.6 < np.abs(copy[part]).max() / np.abs(whole[part]).max() < 1.6


@pytest.mark.parametrize("sample_format", ["fltp", "s16p"])
def test_frames_of_many_channels(sample_format):
    """PyAV does not find the planes of more than eight channels."""
    samples = np.tile(np.arange(24, dtype=np.float32) / 32, 64)[None]  # one sample of each channel
    packed = av.AudioFrame.from_ndarray(samples, format="flt", layout="22.2")
    packed.sample_rate = 48000
    (frame,) = av.AudioResampler(sample_format).resample(packed)
    assert frame.format.name == sample_format and frame.layout.nb_channels == 24
    assert np.allclose(MonoFrame(frame).mono, np.mean(np.arange(24)) / 32, atol=1e-6)
