import av
import numpy as np
import pytest

from avsf_det.data import VideoDecodeError, VideoReader
from avsf_det.data.video.cut import cut_video

from ...media import clicks, read_number, tone, write_video

FORMATS = {
    "h264.mp4": {"bframes": 2},
    "h264.mkv": {"bframes": 2},
    "h264_opus.mkv": {"fps": 25, "sound_codec": "libopus"},
    "vp9.webm": {"codec": "libvpx-vp9", "sound_codec": "libopus"},
    "late.ts": {"start": 5.0, "sound_start": 5.0},
}
CLICKS = (1.0, 2.0, 3.0)


@pytest.fixture(scope="module", params=FORMATS)
def source(request, tmp_path_factory) -> str:
    """4.5 s with a click every second; an I-frame every 40."""
    path = tmp_path_factory.mktemp("videos") / request.param
    options = {"fps": 30, "gop": 40, **FORMATS[request.param]}
    sound = clicks(CLICKS, 4.5, 48000)
    write_video(path, num_frames=round(4.5 * options["fps"]), sound=sound, **options)
    return str(path)


def onsets(reader: VideoReader) -> np.ndarray:
    """Return the seconds at which clicks start."""
    samples = reader.get_samples_played_in_range(0, reader.duration, 48000).abs().numpy()
    loud = np.flatnonzero(samples > 0.3 * samples.max()) / 48000
    return loud[np.diff(loud, prepend=-1) > 0.1]


@pytest.mark.parametrize("gop", [None, 8])
@pytest.mark.parametrize("start", [0.0, 1.6, 1.99])
def test_frames_and_audio_are_those_of_the_video(source, tmp_path, start, gop):
    target = str(tmp_path / "cut.mp4")
    cut_video(source, target, start, 3.5, gop)
    with VideoReader(source) as whole, VideoReader(target) as cut:
        fps = whole.fps
        first = np.floor(start * fps + 1e-6)  # is on screen at the start
        assert cut.duration == pytest.approx(3.5 - first / fps, abs=4 / fps)
        times = np.arange(0, 3.5 - start - 0.01, 1 / fps) + 0.2 / fps
        assert list(map(read_number, cut.get_frames_played_at(times))) == [
            first + i for i in range(len(times))
        ]
        backwards = [1.2, 0.1]  # is found by seeking, too
        assert list(map(read_number, cut.get_frames_played_at(backwards))) == [
            first + np.floor(t * fps) for t in backwards
        ]
        expected = onsets(whole) - first / fps
        expected = expected[(expected > 0) & (expected < cut.duration - 0.1)]
        np.testing.assert_allclose(onsets(cut)[: len(expected)], expected, atol=0.002)
        assert len(expected) == sum(start < t < 3.45 for t in CLICKS)


def test_the_cut_is_copied_or_has_the_key_frames_asked_for(tmp_path):
    source = tmp_path / "source.mp4"
    write_video(source, num_frames=90, gop=30, bframes=2, sound=tone(440, 3, 48000))
    packets = {}
    for gop in (None, 10):
        cut_video(source, tmp_path / "cut.mp4", 1.0, 3.0, gop)
        with av.open(str(tmp_path / "cut.mp4")) as cut:
            packets[gop] = [p for p in cut.demux(video=0) if p.size]
    with av.open(str(source)) as whole:
        originals = {bytes(p) for p in whole.demux(video=0)}
    assert {bytes(p) for p in packets[None]} <= originals
    numbers = [i for i, p in enumerate(packets[10]) if p.is_keyframe]
    assert len(packets[10]) == 60
    assert max(np.diff(numbers, append=60)) == 10
    assert not {bytes(p) for p in packets[10]} & originals


def test_a_video_without_audio_and_a_cut_beyond_its_end(tmp_path):
    write_video(tmp_path / "source.mp4", num_frames=60)
    cut_video(tmp_path / "source.mp4", tmp_path / "cut.mp4", 1.0, 9.0)
    with VideoReader(str(tmp_path / "cut.mp4")) as cut:
        assert not cut.has_audio
        assert cut.duration == pytest.approx(1.0, abs=0.01)
    with pytest.raises(VideoDecodeError, match=r"source.mp4: file: ends at 2.00 s, before"):
        cut_video(tmp_path / "source.mp4", tmp_path / "cut.mp4", 2.0, 9.0)


def test_odd_sizes_are_encoded(tmp_path):
    options = {"codec": "mpeg4", "size": (49, 97)}
    write_video(tmp_path / "source.avi", num_frames=30, **options)
    cut_video(tmp_path / "source.avi", tmp_path / "cut.mp4", 0.5, 1.0, gop=5)
    with VideoReader(str(tmp_path / "cut.mp4")) as cut:
        assert (cut.width, cut.height) == (96, 48)
        assert read_number(cut.get_frames_played_at([0.01])[0]) == 15


def test_what_cannot_be_done_is_said(tmp_path):
    target = tmp_path / "cut.mp4"
    write_video(tmp_path / "a.webm", codec="libvpx", sound=tone(9, 1, 48000), sound_codec="libopus")
    with pytest.raises(VideoDecodeError, match=r"a.webm: file: .*libvpx.*encode the frames again"):
        cut_video(tmp_path / "a.webm", target, 0, 1)
    cut_video(tmp_path / "a.webm", target, 0, 1, gop=10)
    write_video(tmp_path / "rotated.mp4", rotation=90)
    cut_video(tmp_path / "rotated.mp4", target, 0, 1)
    with VideoReader(str(target)) as cut:
        assert (cut.width, cut.height) == (48, 96)
    cut_video(tmp_path / "rotated.mp4", target, 0, 1, gop=10)
    with VideoReader(str(target)) as cut:
        assert (cut.width, cut.height, cut.file.first_frame.quarter_turns) == (48, 96, 0)
