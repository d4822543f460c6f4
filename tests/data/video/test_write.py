from fractions import Fraction

import av
import numpy as np
import pytest

from avsf_det.data import VideoReader
from avsf_det.data.video.write import write_video

from ... import media
from ...media import clicks, paint_number, read_number, tone

CODECS = {".mp4": ("h264", "aac"), ".MP4": ("h264", "aac"), ".avi": ("mpeg4", "mp3float")}


@pytest.mark.parametrize("suffix", CODECS)
@pytest.mark.parametrize("channels", [0, 1, 2])
def test_frames_and_audio_come_back_in_step(tmp_path, suffix, channels):
    path = tmp_path / f"out{suffix}"
    sound = np.repeat(clicks([0.5], 1, 44100), channels, 0) if channels else None
    write_video(path, (paint_number(i, 64, 96) for i in range(25)), 25, sound, 44100)
    with av.open(str(path)) as container:
        codecs = [stream.codec_context.name for stream in container.streams]
        assert codecs == list(CODECS[suffix])[: 2 if channels else 1]
        assert [stream.channels for stream in container.streams.audio] == [channels] * bool(
            channels
        )
        assert [f.time for f in container.decode(video=0)] == pytest.approx(np.arange(25) / 25)
    with VideoReader(path) as reader:
        assert (reader.height, reader.width, reader.fps) == (64, 96, 25)
        assert reader.has_audio == (channels > 0)
        frames = reader.get_frames_played_at([i / 25 for i in range(25)])
        samples = (
            reader.get_samples_played_in_range(0, 1, 44100).abs().numpy() if channels else None
        )
    assert [read_number(frame) for frame in frames] == list(range(25))
    if channels:
        late = np.flatnonzero(samples > 0.3 * samples.max())[0] / 44100 - 0.5
        assert abs(late - 0.025 * (suffix == ".avi")) < 0.005


def test_other_containers_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"a.mkv has the suffix '.mkv'; it can be .mp4 or .avi"):
        write_video(tmp_path / "a.mkv", [], 25)
    assert not list(tmp_path.iterdir())


STEREO = np.concatenate([tone(440, 2, 48000), tone(1000, 2, 48000)])
SOURCES = {
    "aac.mp4": ({"sound_codec": "aac"}, "aac", 2),
    "opus.mkv": ({"sound_codec": "libopus"}, "opus", 2),
    "adts.ts": ({"sound_codec": "aac"}, "aac", 2),
    "flac.mkv": ({"sound_codec": "flac"}, "aac", 2),
    "surround.mkv": ({"sound_codec": "flac", "sound": np.tile(STEREO[:1], (6, 1))}, "aac", 2),
    "mono.mov": ({"sound_codec": "pcm_s16le", "sound": STEREO[:1]}, "aac", 1),
    "pcm.avi": ({"codec": "mpeg4", "sound_codec": "pcm_s16le"}, "aac", 2),
    "late.mp4": ({"sound_start": 0.5}, "aac", 2),
    "video_late.mkv": ({"start": 0.4}, "aac", 2),
    "longer.mp4": ({"sound": np.tile(STEREO, 2)}, "aac", 2),
}


@pytest.mark.parametrize("name", SOURCES)
def test_the_audio_of_a_video_is_kept_in_step(tmp_path, name):
    options, codec, channels = SOURCES[name]
    media.write_video(tmp_path / name, **{"num_frames": 60, "sound": STEREO, **options})
    path = tmp_path / "out.mp4"
    with VideoReader(tmp_path / name) as source:
        count = round(source.duration * source.fps)
        frames = (paint_number(i, 64, 96) for i in range(count))
        write_video(path, frames, Fraction(source.fps), audio_of=tmp_path / name)
        end = 4 if name.startswith("longer") else source.duration
        before = source.get_samples_played_in_range(0, end, 16000).numpy()
    with av.open(str(path)) as container:
        (audio,) = container.streams.audio
        assert audio.codec_context.codec.canonical_name == codec
        assert audio.channels == channels
    with VideoReader(path) as drawn:
        assert drawn.duration == pytest.approx(count / 30)
        after = drawn.get_samples_played_in_range(0, end, 16000).numpy()
    # In step to a millisecond: a shift of one period of 1000 Hz would be as bad as silence.
    assert before.std() > 0.1
    likeness = max(
        np.corrcoef(before[16:-16], np.roll(after, shift)[16:-16])[0, 1] for shift in range(-8, 9)
    )
    assert likeness > 0.97


def test_a_video_without_audio_gives_none(tmp_path):
    media.write_video(tmp_path / "silent.mp4")
    frames = [paint_number(0, 64, 96)]
    write_video(tmp_path / "out.mp4", frames, 30, audio_of=tmp_path / "silent.mp4")
    with VideoReader(tmp_path / "out.mp4") as reader:
        assert not reader.has_audio
    with pytest.raises(ValueError, match=r"out.avi: the audio of another video is kept in .mp4"):
        write_video(tmp_path / "out.avi", frames, 30, audio_of=tmp_path / "silent.mp4")


def test_frames_at_any_seconds(tmp_path):
    seconds = [0, 0.1, 0.15, 0.8, 1.0]
    frames = ((second, paint_number(i, 64, 96)) for i, second in enumerate(seconds))
    write_video(tmp_path / "out.mp4", frames, None)
    with av.open(str(tmp_path / "out.mp4")) as container:
        shown = [(f.time, read_number(f.to_ndarray(format="rgb24"))) for f in container.decode()]
    assert [number for _, number in shown] == [0, 1, 2, 3, 4]
    assert [time for time, _ in shown] == pytest.approx(seconds)


def test_frame_rates_may_be_fractions(tmp_path):
    frames = (paint_number(i, 64, 96) for i in range(60))
    write_video(tmp_path / "out.mp4", frames, Fraction(30000, 1001))
    with VideoReader(tmp_path / "out.mp4") as reader:
        assert reader.fps == pytest.approx(30000 / 1001)
        shown = reader.get_frames_played_at([i * 1001 / 30000 for i in range(60)])
    assert [read_number(frame) for frame in shown] == list(range(60))
