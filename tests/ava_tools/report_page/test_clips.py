"""Encoded clips contain the frames and the audio around the keyframe."""

import base64
import io

import numpy as np
import pytest
from PIL import Image

from ava_tools.report_page.clips import encode_clip
from avsf_det.data import VideoDecodeError, VideoReader

from ...media import read_number
from .small_set import CLICKS


def decode(uri: str) -> bytes:
    return base64.b64decode(uri.partition(";base64,")[2])


def image(uri: str) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(decode(uri))))


@pytest.mark.parametrize(
    ("second", "start", "seconds"), [(3.0, 2.0, 2.0), (0.4, 0.0, 1.4), (5.6, 4.6, 1.4)]
)
def test_frames_and_audio_of_the_same_time(small_set, tmp_path, second, start, seconds):
    clip = encode_clip(f"{small_set['videos']}/one.mp4", second)
    assert (clip.size, clip.seconds) == ((96, 64), pytest.approx(seconds))
    assert clip.keyframe_at == pytest.approx(second - start)
    assert read_number(image(clip.poster)) == round(second * 25)
    path = tmp_path / "clip.mp4"
    path.write_bytes(decode(clip.video))
    with VideoReader(path) as reader:
        assert reader.duration == pytest.approx(seconds, abs=0.01)
        frames = reader.get_frames_played_at([0, seconds / 2, seconds - 0.01])
        first = round(start * 25)
        expected = [first + int(t * 25 + 1e-6) for t in (0, seconds / 2, seconds - 0.01)]
        assert [read_number(frame) for frame in frames] == expected
        waveform = reader.get_samples_played_in_range(0, seconds, 16000).numpy()
    expected = [c - start for c in CLICKS if start <= c < start + seconds - 0.01]
    loud = np.flatnonzero(np.abs(waveform) > 0.2) / 16000
    onsets = loud[np.diff(loud, prepend=-1) > 0.1]
    assert onsets == pytest.approx(expected, abs=0.01)
    # The spectrogram is bright where the clicks are, in its own width.
    bright = image(clip.logmel).astype(int).sum(axis=(0, 2))
    columns = np.flatnonzero(bright > (bright.max() + bright.min()) / 2)
    centres = columns[np.diff(columns, prepend=-99) > 20] / len(bright) * seconds
    assert centres == pytest.approx(expected, abs=0.08)


def test_without_an_audio_track(small_set, tmp_path):
    clip = encode_clip(f"{small_set['videos']}/two.mp4", 3.0)
    assert clip.logmel == ""
    path = tmp_path / "clip.mp4"
    path.write_bytes(decode(clip.video))
    with VideoReader(path) as reader:
        assert not reader.has_audio


def test_an_unreadable_file(tmp_path):
    path = tmp_path / "text.mp4"
    path.write_text("no video")
    with pytest.raises(VideoDecodeError, match=r"text\.mp4"):
        encode_clip(str(path), 1.0)
