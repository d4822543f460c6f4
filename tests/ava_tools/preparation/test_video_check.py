from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from ava_tools.preparation.video_check import check_video, presentation_times
from avsf_det.data.video import SequentialVideoReader, VideoDecodeError, VideoReader

from ...media import read_number, tone, write_video

SHARED = Path(__file__).resolve().parents[3] / ".." / "shared" / "data" / "video" / "derived"
SOUND = tone(440, 2, 48000)


@pytest.fixture
def video(tmp_path):
    """Write a video of 2 s with audio; return its path."""

    def write(name: str = "video.mp4", **options) -> str:
        path = tmp_path / name
        write_video(path, **{"num_frames": 60, "sound": SOUND, **options})
        return str(path)

    return write


def test_a_good_video(video):
    check = check_video(video(), min_sec=2.0)
    assert check.problems == {}
    assert (check.width, check.height, check.fps, check.frames) == (96, 48, 30, 60)
    assert check.seconds == pytest.approx(2)


def test_missing_unreadable_and_empty_files(tmp_path):
    assert check_video(None).problems == {"missing": "no such file"}
    (tmp_path / "text.mp4").write_text("not a video")
    (problem,) = check_video(str(tmp_path / "text.mp4")).problems.items()
    assert problem[0] == "undecodable" and problem[1].startswith("file: cannot be opened")


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"sound": None}, {"no sound": "there is no audio stream"}),
        ({"sound": 0 * SOUND}, {"silent": "the audio stream is silent"}),
        (
            {"sound": SOUND[:, :-48000]},
            {"out of sync": "the audio ends 1.00 s before the frames"},
        ),
        (
            {"sound_start": 0.5, "sound": SOUND[:, :-24000]},
            {"out of sync": "the audio starts 0.50 s after the frames"},
        ),
        (
            {"start": 0.5, "num_frames": 45},
            {"out of sync": "the audio starts 0.50 s before the frames"},
        ),
    ],
)
def test_audio(video, options, problem):
    # Pcm starts and ends at the sample, in a container that keeps starts apart.
    assert check_video(video("v.mkv", sound_codec="pcm_s16le", **options)).problems == problem


def test_small_gaps_are_no_problem(video):
    path = video("v.mkv", sound=SOUND[:, :-19200], sound_codec="pcm_s16le")  # by 0.4 s
    assert check_video(path, max_gap=0.5).problems == {}
    assert check_video(path).problems.keys() == {"out of sync"}


def test_too_short_for_a_clip(video):
    assert check_video(video(), min_sec=2.5).problems == {
        "too short": "2.00 s, a clip takes 2.50 s"
    }


def test_damage_is_placed(video):
    path = Path(video("v.mkv", gop=12))
    data = bytearray(path.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 400] = bytes(400)
    path.write_bytes(data)
    (problem,) = check_video(str(path)).problems.items()
    assert problem[0] == "undecodable"
    assert 0.7 < float(problem[1].split(" at ")[1].split(" s")[0]) < 1.3


def test_truncation(video):
    path = Path(video("v.mkv"))
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    assert "should last 2.0" in check_video(str(path)).problems["undecodable"]


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".ts"])
def test_presentation_times_of_a_variable_rate(video, suffix):
    times = np.cumsum([0, *np.tile([0.04, 0.05, 0.1], 10)])
    path = video(f"v{suffix}", times=times, num_frames=31, bframes=2, sound=None)
    np.testing.assert_allclose(presentation_times(path), times, atol=6e-4)


@pytest.mark.skipif(not SHARED.exists(), reason=f"{SHARED} is not there")
@pytest.mark.parametrize(
    ("name", "kinds"),
    [
        ("dog_base6s.mp4", set()),
        ("dog_vfr.mp4", set()),
        ("dog_rot90.mp4", set()),
        ("dog_start_nonzero.ts", set()),
        ("dog_bitrot.mkv", {"undecodable"}),
        ("dog_empty.mp4", {"undecodable"}),
        ("dog_truncated_mkv.mkv", {"undecodable"}),
        ("dog_noaudio.mp4", {"no sound"}),
        ("dog_silent_audio.mp4", {"silent"}),
        ("dog_audio_starts_0.7s_late.mp4", {"out of sync"}),
        ("dog_video_starts_0.5s_late.mkv", {"out of sync"}),
        ("dog_audio_short_2.5s.mp4", {"out of sync"}),
        ("dog_video_short_2s.mp4", {"out of sync", "too short"}),
        ("dog_0.3s.mp4", {"too short"}),
        ("../decord_corrupted.mp4", {"undecodable", "no sound"}),
    ],
)
def test_real_files(name, kinds):
    assert check_video(str(SHARED / name), min_sec=2.1).problems.keys() == kinds


@pytest.mark.parametrize(
    ("name", "codec", "audio"),
    [("a.mkv", "libx264", "aac"), ("a.webm", "libvpx", "libopus"), ("a.ts", "libx264", "aac")],
)
def test_an_audio_track_without_packets_is_none(tmp_path, name, codec, audio):
    options = {"codec": codec, "sound_codec": audio, "num_frames": 12}
    write_video(tmp_path / name, sound=SOUND[:, :0], **options)
    for reader in (VideoReader, SequentialVideoReader):
        for _ in range(2):  # what is known of a file is kept
            with reader(tmp_path / name) as video:
                assert not video.has_audio
                with pytest.raises(VideoDecodeError, match="the file has no audio stream"):
                    video.get_samples_played_in_range(0, 1, 16000)
                assert len(video.get_frames_played_at([0.1, 0.2])) == 2
    (problem,) = check_video(str(tmp_path / name)).problems.items()
    assert problem == ("no sound", "the audio stream is empty")


def test_of_two_video_tracks_the_one_with_packets(tmp_path):
    write_video(tmp_path / "one.mkv", num_frames=12)
    with (
        av.open(str(tmp_path / "one.mkv")) as source,
        av.open(str(tmp_path / "a.mkv"), "w") as output,
    ):
        empty = output.add_stream("libx264", rate=30)  # the first, and the largest
        empty.width = empty.height = 256
        empty.codec_context.open()
        video = output.add_stream_from_template(source.streams.video[0])
        for packet in source.demux():
            if packet.dts is not None:
                packet.stream = video
                output.mux(packet)
    for _ in range(2):
        with VideoReader(tmp_path / "a.mkv") as reader:
            assert read_number(reader.get_frames_played_at([0.11])[0]) == 3


def test_of_two_audio_tracks_the_one_with_packets(tmp_path):
    write_video(tmp_path / "one.mkv", num_frames=60, sound=SOUND)
    with (
        av.open(str(tmp_path / "one.mkv")) as source,
        av.open(str(tmp_path / "a.mkv"), "w") as output,
    ):
        video, audio = (output.add_stream_from_template(s) for s in source.streams)
        empty = output.add_stream("aac", rate=48000, layout="5.1")  # of more channels
        empty.codec_context.open()
        for packet in source.demux():
            if packet.dts is not None:
                packet.stream = video if packet.stream.type == "video" else audio
                output.mux(packet)
    with VideoReader(tmp_path / "a.mkv") as reader:
        assert reader.get_samples_played_in_range(0, 1, 16000).abs().max() > 0.4
    assert check_video(str(tmp_path / "a.mkv")).problems == {}


def test_what_readers_make_up_for_is_noted(tmp_path):
    options = {"num_frames": 30, "sound": tone(440, 1, 48000)}
    write_video(tmp_path / "a.mp4", pixel_aspect=Fraction(2), rotation=90, mirrored=True, **options)
    check = check_video(str(tmp_path / "a.mp4"))
    assert check.problems == {}
    assert check.notes == {
        "pixels": "width to height 2:1, shown as 48x192",
        "orientation": "turned by 90 degrees, mirrored",
    }
    write_video(tmp_path / "b.mp4", pixel_aspect=Fraction(12), **options)
    expected = {"pixels": "stated width to height 12:1, taken as square"}
    assert check_video(str(tmp_path / "b.mp4")).notes == expected
    data = b""
    for i, size in enumerate([(48, 96), (96, 64)]):
        sound = tone(440, 1, (48000, 32000)[i])
        times = {"start": 1.0 + i, "sound_start": 1.0 + i, "sound_rate": (48000, 32000)[i]}
        write_video(tmp_path / "part.ts", num_frames=30, size=size, sound=sound, **times)
        data += (tmp_path / "part.ts").read_bytes()
    (tmp_path / "c.ts").write_bytes(data)
    notes = check_video(str(tmp_path / "c.ts")).notes
    assert notes["frames change"] == "to 64x96 yuv420p at 1.00 s"
    assert notes["audio changes"].startswith("to 32000 Hz mono at ")


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_audio_that_is_no_number(tmp_path, value):
    sound = SOUND.copy()
    sound[0, 48000] = value
    write_video(tmp_path / "a.mov", num_frames=60, sound=sound, sound_codec="pcm_f32le")
    problems = check_video(str(tmp_path / "a.mov")).problems
    assert problems.keys() == {"undecodable"}
    assert problems["undecodable"].startswith(("audio at 0.9", "audio at 1.0"))
