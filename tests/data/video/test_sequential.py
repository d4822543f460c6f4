from pathlib import Path

import av
import numpy as np
import pytest
import torch

from avsf_det.data.video import SequentialVideoReader, VideoDecodeError, VideoReader, audio_reader
from avsf_det.data.video.sequential import copy_frame
from tests.data.video.test_reader import KINDS
from tests.media import tone, write_video

NOISE = np.random.default_rng(0).normal(0, 0.3, (2, 48000 * 10)).astype(np.float32)
NUM_FRAMES = 12
TASKS = Path("/proc/self/task")
MORE_KINDS = {
    "rotated.mp4": {"rotation": 90, "bframes": 2},
    "sound_late.mp4": {"sound": tone(440, 1.0, 48000), "sound_start": 0.7, "bframes": 2},
    "sound_late.mkv": {"sound": tone(440, 1.0, 48000), "sound_start": 0.7},
    "vfr.mkv": {"times": np.linspace(0, 1.4, 60).round(3).tolist(), "bframes": 2},
    "vfr.mp4": {"times": (np.arange(60) ** 1.3 / 100).round(3).tolist()},
}


def window(second: float) -> list[float]:
    """A clip of every second frame at 30 fps around a keyframe."""
    return [second + (i - NUM_FRAMES / 2) / 15 for i in range(NUM_FRAMES)]


def result(read, *args):
    """What it gives, or the error it raises."""
    try:
        return np.asarray(read(*args))
    except VideoDecodeError as error:
        return str(error)


def check_equal(path: Path, sequential: SequentialVideoReader, seconds: list[float]) -> list:
    """Compare with a file opened for each keyframe; returns the results."""
    results = []
    for second in seconds:
        with VideoReader(path) as reader:
            results.append(result(reader.get_frames_played_at, window(second)))
            np.testing.assert_equal(
                result(sequential.get_frames_played_at, window(second)), results[-1]
            )
            if reader.has_audio:
                span = second - 0.4, second + 0.4, 16000
                expected = result(reader.get_samples_played_in_range, *span)
                np.testing.assert_equal(
                    result(sequential.get_samples_played_in_range, *span), expected
                )
    return results


@pytest.mark.parametrize("name", KINDS | MORE_KINDS)
def test_equal_to_a_reader_for_each_keyframe(tmp_path: Path, name: str):
    path = tmp_path / name
    write_video(path, **{"num_frames": 60, **(KINDS | MORE_KINDS)[name]})
    back_and_forth = np.random.default_rng(0).uniform(-0.5, 2.5, 4).tolist()
    with SequentialVideoReader(path) as sequential:
        assert sequential.duration == VideoReader(path).duration
        check_equal(path, sequential, [0.0, 0.25, 1.0, 1.0, 2.0, 0.7, *back_and_forth])


def test_equal_at_every_size(tmp_path: Path):
    write_video(tmp_path / "a.mp4")
    with (
        SequentialVideoReader(tmp_path / "a.mp4") as sequential,
        VideoReader(tmp_path / "a.mp4") as reader,
    ):
        for size in [None, (24, 48), None]:
            expected = reader.get_frames_played_at([0.3, 0.2, 0.3], size)
            assert np.array_equal(sequential.get_frames_played_at([0.3, 0.2, 0.3], size), expected)
        assert sequential.get_frames_played_at([]).shape == (0, 48, 96, 3)


@pytest.mark.parametrize("rate", [1, 2, 3])
def test_each_frame_is_decoded_and_converted_once(tmp_path: Path, rate: int):
    """At 2 and 3 keyframes a second neighbouring clips take frames that the other skips."""
    path = tmp_path / "a.mp4"
    write_video(path, num_frames=150, bframes=2, gop=40)
    seconds = [i / rate for i in range(1, 4 * rate)]
    with VideoReader(path) as reader:
        expected = [reader.get_frames_played_at(window(s))[:, ::4, ::4] for s in seconds]
    converted, sought = [], []

    def transform(image: np.ndarray, out: np.ndarray | None) -> np.ndarray:
        converted.append(image)
        return copy_frame(image[::4, ::4], out)

    with SequentialVideoReader(path, transform=transform) as sequential:
        decode = sequential.file.decode
        sequential.file.decode = lambda *args, **kw: sought.append(args) or decode(*args, **kw)
        for second, frames in zip(seconds, expected, strict=True):
            assert np.array_equal(sequential.get_frames_played_at(window(second)), frames)
    shown = {max(0, round(t * 30)) for second in seconds for t in window(second)}
    assert len(converted) == len(shown)
    assert len(sought) == 1


def test_far_ahead_and_back_are_sought(tmp_path: Path):
    path = tmp_path / "a.mp4"
    write_video(path, num_frames=60 * 4, fps=4, gop=20)
    decoded = []
    with SequentialVideoReader(path) as sequential:
        decode = sequential.file.decode
        sequential.file.decode = lambda *args, **kw: (
            decoded.append(f) or f for f in decode(*args, **kw)
        )
        check_equal(path, sequential, [1.0, 50.0, 2.0])
    assert len(decoded) < 80


def test_memory_is_bounded_by_the_request(tmp_path: Path):
    path = tmp_path / "a.mkv"
    write_video(path, num_frames=450, sound=NOISE, sound_codec="pcm_s16le")
    with SequentialVideoReader(path) as sequential:
        for second in range(15):
            sequential.get_frames_played_at(window(second))
            sequential.get_samples_played_in_range(second - 1, second + 1, 16000)
            assert len(sequential._converted) <= NUM_FRAMES + 1
            assert len(sequential._held) <= 30
            assert len(sequential._audio_reader._chunks) <= 3
            assert len(sequential._audio_reader._blocks) <= 2
        sequential.get_frames_played_at([0.0, 14.0])
        assert len(sequential._held) <= 9


def test_audio_is_decoded_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = tmp_path / "a.mp4"
    write_video(path, num_frames=300, sound=NOISE)
    with av.open(str(path)) as container:
        packets = sum(1 for _ in container.decode(audio=0))
    decoded = []

    class Counted(audio_reader.MonoFrame):
        def __init__(self, frame):
            super().__init__(frame)
            decoded.append(frame.pts)

    with SequentialVideoReader(path) as sequential:
        monkeypatch.setattr(audio_reader, "MonoFrame", Counted)
        for second in range(11):
            sequential.get_samples_played_in_range(second - 1, second + 1, 16000)
    assert len(decoded) == len(set(decoded)) == packets


@pytest.mark.parametrize("rate", [16000, 44100])
def test_audio_of_blocks_is_that_of_the_request(tmp_path: Path, rate: int):
    path = tmp_path / "a.mp4"
    write_video(path, num_frames=300, sound=NOISE)
    spans = [(-1, 1.13), (6.9, 7.99), (6.9, 8.001), (7.5, 9.63), (8, 8), (0.5, 9.9), (15, 17.5)]
    with SequentialVideoReader(path) as sequential, VideoReader(path) as reader:
        for start, end in spans:
            expected = reader.get_samples_played_in_range(start, end, rate)
            assert torch.equal(sequential.get_samples_played_in_range(start, end, rate), expected)
        other = reader.get_samples_played_in_range(15, 16, 8000)
        assert torch.equal(sequential.get_samples_played_in_range(15, 16, 8000), other)


def test_transformed_frames_are_those_of_the_frames(tmp_path: Path):
    write_video(tmp_path / "a.mp4", num_frames=60)
    transform = {"transform": lambda image, out: copy_frame(image[::2, :9], out)}
    with (
        SequentialVideoReader(tmp_path / "a.mp4", **transform) as sequential,
        VideoReader(tmp_path / "a.mp4") as reader,
    ):
        for seconds in ([0.5, 0.1, 0.5], [0.6, 0.5, 5.0], [0.1, 1.9]):
            expected = reader.get_frames_played_at(seconds)[:, ::2, :9]
            assert np.array_equal(
                np.stack(sequential.get_transformed_frames_played_at(seconds)), expected
            )
        window = (10, 4, 50, 40)
        assert np.array_equal(
            sequential.get_frames_played_at([0.3], window=window),
            reader.get_frames_played_at([0.3], window=window)[:, ::2, :9],
        )


def test_decoder_noise_is_always_the_same(tmp_path: Path):
    """AAC's noise substitution: the decoder's random numbers go on from packet to packet."""
    path = tmp_path / "a.mp4"
    options = {"aac_coder": "twoloop", "b": "64000"}  # without these, nothing is substituted
    write_video(path, num_frames=300, sound=NOISE[:1], sound_options=options)
    with VideoReader(path) as reader:
        whole = reader.get_samples_played_in_range(0, 10, 48000)
    with VideoReader(path) as reader, SequentialVideoReader(path) as sequential:
        for start in (6.0, 0.5, 3.5, 3.6, 7.9):
            expected = whole[round(start * 48000) :][:96000]
            assert torch.equal(
                reader.get_samples_played_in_range(start, start + 2, 48000), expected
            )
            assert torch.equal(
                sequential.get_samples_played_in_range(start, start + 2, 48000), expected
            )


@pytest.mark.parametrize(("share", "byte"), [(1.0, b"\xff"), (0.5, b"\x00")])
def test_damage_spoils_the_same_keyframes(tmp_path: Path, share: float, byte: bytes):
    path = tmp_path / "a.mp4"
    write_video(path, num_frames=180, gop=20, bframes=2, size=(96, 192))
    with av.open(str(path)) as container:
        packet = next(p for p in container.demux(video=0) if p.pts * p.time_base >= 2)
    data = bytearray(path.read_bytes())
    end, size = packet.pos + packet.size, round(share * packet.size)
    data[end - size : end] = byte * size
    path.write_bytes(data)
    with SequentialVideoReader(path) as sequential:
        results = check_equal(path, sequential, [0.5, 1.0, 1.8, 2.0, 2.2, 3.0, 4.0, 2.1, 5.0])
    spoilt = [isinstance(r, str) for r in results]
    assert 0 < sum(spoilt) < len(spoilt)


def test_truncated_file(tmp_path: Path):
    path = tmp_path / "a.mkv"
    write_video(path, num_frames=180, sound=NOISE[:, : 48000 * 6], size=(96, 192))
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with SequentialVideoReader(path) as sequential:
        results = check_equal(path, sequential, [0.5, 1.0, 2.0, 3.0, 4.0, 5.0, 1.0])
    assert [isinstance(r, str) for r in results] == [False] * 3 + [True] * 3 + [False]


@pytest.mark.skipif(not TASKS.exists(), reason="only Linux shows the threads of a process")
def test_one_thread_stays_one(tmp_path: Path):
    """A forked loader worker that frees a converter would wait for its threads forever."""
    write_video(tmp_path / "a.mp4", sound=tone(440, 1.0, 48000))
    before = len(list(TASKS.iterdir()))
    with SequentialVideoReader(tmp_path / "a.mp4") as sequential:
        sequential.get_frames_played_at([0.5], (24, 32))
        sequential.get_samples_played_in_range(0, 1, 16000)
        assert len(list(TASKS.iterdir())) <= before
