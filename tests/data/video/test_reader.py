import hashlib
import io
import json
import math
from pathlib import Path

import av
import numpy as np
import pytest
import torch

from avsf_det.data.clip_reader import LogMel
from avsf_det.data.video import MediaFile, SequentialVideoReader, VideoDecodeError, VideoReader
from tests.media import clicks, read_number, tone, write_video

SHARED = Path(__file__).resolve().parents[3] / ".." / "shared" / "data"
ORACLES = sorted((SHARED / "oracles" / "decode").glob("*.json"))
FILES = sorted(p for p in (SHARED / "video").rglob("*") if p.is_file())
# What each of these ends in; all others decode.
UNREADABLE = {
    "dog_empty.mp4": "cannot be opened",
    "dog_text.mp4": "cannot be opened",
    "dog_truncated_mp4.mp4": "cannot be opened",
    "dog_audioonly.m4a": "no video stream",
    "mma_test.wav": "no video stream",
    "tc_nasa_13013.mp4.audio_44100.mp3": "no video stream",
}
needs_oracles = pytest.mark.skipif(not ORACLES, reason="shared/data/oracles is absent")

OPEN_GOP = {"x264-params": "open-gop=1:keyint=12:min-keyint=12:scenecut=0:bframes=3"}
QUICK = {"cpu-used": "8", "deadline": "realtime"}
SOUND = tone(440, 2.0, 48000)
KINDS = {
    "h264.mp4": {},
    "b_frames.mp4": {"bframes": 3},
    "open_gop.mp4": {"bframes": 3, "codec_options": OPEN_GOP},
    "open_gop.mkv": {"bframes": 3, "codec_options": OPEN_GOP},
    "open_gop.ts": {"bframes": 3, "codec_options": OPEN_GOP},
    "mpeg4.ts": {"codec": "mpeg4"},
    "mpeg2.ts": {"codec": "mpeg2video", "bframes": 2},
    "mpeg4.avi": {"codec": "mpeg4", "sound": SOUND, "sound_codec": "pcm_s16le"},
    "aac.mkv": {"bframes": 2, "sound": SOUND},
    "opus.webm": {
        "codec": "libvpx",
        "codec_options": QUICK,
        "sound": SOUND,
        "sound_codec": "libopus",
    },
    "start.ts": {"bframes": 2, "start": 3.0, "sound": SOUND, "sound_start": 3.0},
    "ten_bit.mp4": {"pix_fmt": "yuv420p10le"},
    "odd_size.mp4": {"size": (49, 97), "pix_fmt": "yuv444p"},
    "one_frame_per_second.mp4": {"fps": 1, "num_frames": 12},
    "ntsc.mp4": {"times": [i * 1001 / 30000 for i in range(60)]},
}


def numbers(reader: VideoReader, seconds: list[float]) -> list[int]:
    return [read_number(image) for image in reader.get_frames_played_at(seconds)]


def md5(image: np.ndarray) -> str:
    return hashlib.md5(np.ascontiguousarray(image).tobytes()).hexdigest()


@pytest.mark.parametrize("name", KINDS)
def test_frame_at_a_second_is_the_one_on_screen(tmp_path: Path, name: str):
    kind = {"num_frames": 60, "fps": 30, **KINDS[name]}
    write_video(tmp_path / name, **kind)
    with VideoReader(tmp_path / name) as reader:
        count = kind["num_frames"]
        period = 1 / kind["fps"] if "times" not in kind else 1001 / 30000
        assert numbers(reader, [i * period for i in range(count)]) == list(range(count))
        # A seek for each, in an order that goes back and forth.
        for i in np.random.default_rng(0).permutation(count).tolist():
            assert numbers(reader, [(i + 0.9) * period]) == [i]
        assert numbers(reader, [7.5 * period, 2 * period, 7.6 * period, 0.0]) == [7, 2, 7, 0]
        assert reader.fps == pytest.approx(1 / period, rel=1e-3)
        assert reader.duration == pytest.approx(count * period, abs=0.05)


@pytest.mark.parametrize("name", ["vfr.mp4", "vfr.mkv"])
def test_variable_frame_rate(tmp_path: Path, name: str):
    gaps = np.random.default_rng(1).choice([0.013, 0.04, 0.1, 0.35, 1.2], 40)
    times = np.concatenate([[0.0], np.cumsum(gaps)]).round(3)
    write_video(tmp_path / name, times=times.tolist(), bframes=2)
    seconds = np.random.default_rng(2).uniform(0, times[-1], 50).tolist() + times.tolist()
    expected = [int(np.flatnonzero(times <= s + 1e-9)[-1]) for s in seconds]
    with VideoReader(tmp_path / name) as reader:
        assert numbers(reader, seconds) == expected
        assert [numbers(reader, [s])[0] for s in seconds[:15]] == expected[:15]


def test_times_outside_the_video_show_its_ends(tmp_path: Path):
    write_video(tmp_path / "a.mp4", num_frames=30)
    with VideoReader(tmp_path / "a.mp4") as reader:
        assert numbers(reader, [-5.0, -0.01, 0.999, 1.3, 60.0]) == [0, 0, 29, 29, 29]
        assert reader.get_frames_played_at([]).shape == (0, 48, 96, 3)
        with pytest.raises(ValueError, match="NaN"):
            reader.get_frames_played_at([math.nan])


def test_video_that_starts_after_the_audio(tmp_path: Path):
    write_video(tmp_path / "a.mp4", start=0.5, sound=SOUND)
    with VideoReader(tmp_path / "a.mp4") as reader:
        assert numbers(reader, [0.0, 0.49, 0.5, 0.54, 1.0]) == [0, 0, 0, 1, 15]
        assert reader.get_samples_played_in_range(0, 0.5, 16000).abs().max() > 0.4


@pytest.mark.parametrize("rotation", [0, 90, 180, 270])
def test_rotation(tmp_path: Path, rotation: int):
    write_video(tmp_path / "plain.mp4", num_frames=3)
    write_video(tmp_path / "rotated.mp4", num_frames=3, rotation=rotation)
    with (
        VideoReader(tmp_path / "plain.mp4") as plain,
        VideoReader(tmp_path / "rotated.mp4") as reader,
    ):
        expected = np.rot90(plain.get_frames_played_at([0.0, 0.05]), rotation // 90, axes=(1, 2))
        frames = reader.get_frames_played_at([0.0, 0.05])
        assert np.array_equal(frames, expected)
        assert (reader.height, reader.width) == frames.shape[1:3]
        small = reader.get_frames_played_at([0.0], size=(reader.height // 2, reader.width // 2))[0]
    assert read_number(np.rot90(small, -rotation // 90)) == 0
    blocks = expected[0].reshape(small.shape[0], 2, small.shape[1], 2, 3).mean((1, 3))
    assert np.abs(small - blocks).mean() < 8


def test_threads_change_nothing(tmp_path: Path):
    write_video(tmp_path / "a.mp4", bframes=2, size=(96, 192))
    seconds = [0.9, 0.1, 0.5]
    with VideoReader(tmp_path / "a.mp4") as one, VideoReader(tmp_path / "a.mp4", threads=2) as two:
        assert np.array_equal(one.get_frames_played_at(seconds), two.get_frames_played_at(seconds))


def test_live_recording_without_index_or_duration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    class Pipe(io.RawIOBase):
        def __init__(self):
            self.data = b""

        def writable(self) -> bool:
            return True

        def write(self, data: bytes) -> int:
            self.data += bytes(data)
            return len(data)

    pipe = Pipe()
    write_video(pipe, num_frames=60, bframes=2, container="matroska")
    (tmp_path / "live.mkv").write_bytes(pipe.data)
    with VideoReader(tmp_path / "live.mkv") as reader:
        assert [numbers(reader, [s])[0] for s in (1.71, 0.31, 1.01)] == [51, 9, 30]
        assert reader.duration == pytest.approx(2.0, abs=0.05)
        assert numbers(reader, [0.5, 9.0]) == [15, 59]
    # Its length is found by the open handle, which afterwards reads on where it is asked to.
    opened = []
    reopen = MediaFile.reopen
    monkeypatch.setattr(MediaFile, "reopen", lambda file: opened.append(file) or reopen(file))
    with SequentialVideoReader(tmp_path / "live.mkv") as reader:
        assert numbers(reader, [0.5, 0.6]) == [15, 18]
        assert reader.duration == pytest.approx(2.0, abs=0.05)
        assert numbers(reader, [0.7, 0.2, 9.0]) == [21, 6, 59]
        assert reader.duration == pytest.approx(2.0, abs=0.05)
        assert set(map(id, opened)) == {id(reader.file)}


def write_streams(path: Path, sizes: list[int], cover: int | None = None) -> None:
    """Black square videos of some sizes, and a cover image."""
    with av.open(str(path), "w") as output:
        streams = [output.add_stream("libx264", rate=10) for _ in sizes]
        if cover is not None:
            streams.append(output.add_stream("mjpeg", rate=10))
            streams[-1].disposition = av.stream.Disposition.attached_pic.value
        for stream, size in zip(streams, [*sizes, cover], strict=False):
            stream.width = stream.height = size
            stream.pix_fmt = "yuvj420p" if size == cover else "yuv420p"
        for stream in streams:
            image = av.VideoFrame(stream.width, stream.height, stream.pix_fmt)
            output.mux(stream.encode(image))
            output.mux(stream.encode(None))


def test_of_several_streams_the_largest_is_read(tmp_path: Path):
    write_streams(tmp_path / "a.mkv", [32, 64, 48])
    with VideoReader(tmp_path / "a.mkv") as reader:
        assert (reader.width, reader.height) == (64, 64)


def test_cover_art_is_no_video(tmp_path: Path):
    write_streams(tmp_path / "a.mp4", [64], cover=128)
    with VideoReader(tmp_path / "a.mp4") as reader:
        assert (reader.width, reader.height) == (64, 64)


SOUND_KINDS = {
    "pcm.mov": {"sound_codec": "pcm_s16le"},
    "pcm.avi": {"sound_codec": "pcm_s16le", "codec": "mpeg4"},
    "u8.mkv": {"sound_codec": "pcm_u8"},
    "s32.mkv": {"sound_codec": "pcm_s32le"},
    "f32.mkv": {"sound_codec": "pcm_f32le"},
    "flac.mkv": {"sound_codec": "flac"},
    "aac.mp4": {"sound_codec": "aac"},
    "aac.mkv": {"sound_codec": "aac"},
    "aac.ts": {"sound_codec": "aac", "start": 4.0, "sound_start": 4.0},
    "mp3.mp4": {"sound_codec": "libmp3lame"},
    "opus.mkv": {"sound_codec": "libopus"},
}
LOSSLESS = ("pcm.mov", "pcm.avi", "s32.mkv", "f32.mkv", "flac.mkv")


def misfit(window: np.ndarray, whole: np.ndarray, at: int) -> float:
    """Largest difference to a part of the whole, give or take half a millisecond of 48 kHz: a clock
    of milliseconds cannot say better where a first packet lies."""
    parts = (whole[at + shift :][: len(window)] for shift in range(-24, 25))
    return min(float(np.abs(window - part).max()) for part in parts)


@pytest.mark.parametrize("name", SOUND_KINDS)
def test_windows_of_audio_agree_with_the_whole_track(tmp_path: Path, name: str):
    sound = tone(300, 6.0, 48000) + tone(1111, 6.0, 48000, amplitude=0.3)
    write_video(tmp_path / name, num_frames=180, sound=sound, gop=60, **SOUND_KINDS[name])
    with VideoReader(tmp_path / name) as reader:
        native = reader.get_samples_played_in_range(0, 6, 48000).numpy()
        tolerance = 2**-15 if name in LOSSLESS else 0.05
        assert misfit(native[2400:-2400], sound[0], at=2400) < tolerance
        whole = reader.get_samples_played_in_range(0, 6, 16000).numpy()
        for start, end in [(0.0, 1.0), (1.23457, 2.5), (3.3, 3.301), (2.9, 5.03333)]:
            window = reader.get_samples_played_in_range(start, end, 16000)
            assert window.dtype == torch.float32
            assert window.shape == (round((end - start) * 16000),)
            at = round(start * 16000)
            # Lossy decoders start from silence after a seek; a wrong sample would differ by 0.2.
            np.testing.assert_allclose(
                window.numpy(),
                whole[at : at + len(window)],
                atol=1e-6 if name in LOSSLESS else 0.01,
            )


def test_packets_of_unequal_length_leave_no_gap(tmp_path: Path):
    """Matroska rounds their times to milliseconds: placed by these alone they would not join."""
    lengths = np.random.default_rng(0).integers(400, 1500, 300).tolist()
    write_video(
        tmp_path / "a.mkv", sound=SOUND, sound_codec="pcm_s16le", sound_frame_lengths=lengths
    )
    with VideoReader(tmp_path / "a.mkv") as reader:
        whole = reader.get_samples_played_in_range(0, 2, 48000).numpy()
        np.testing.assert_allclose(whole, SOUND[0], atol=2**-15)
        window = reader.get_samples_played_in_range(0.9, 1.6, 48000).numpy()
    assert misfit(window, whole, at=43200) < 2**-15


@pytest.mark.parametrize("channels", [2, 6])
def test_audio_is_the_mean_of_the_channels(tmp_path: Path, channels: int):
    sound = np.concatenate([tone(200 * (c + 1), 1.0, 32000) for c in range(channels)])
    write_video(tmp_path / "a.mov", sound=sound, sound_rate=32000, sound_codec="pcm_s16le")
    with VideoReader(tmp_path / "a.mov") as reader:
        got = reader.get_samples_played_in_range(0, 1, 32000).numpy()
    # s16 holds steps of 2 ** -15.
    np.testing.assert_allclose(got, sound.mean(axis=0), atol=2**-15)


@pytest.mark.parametrize("rate", [8000, 22050, 44100, 48000])
def test_resampled_tone_keeps_its_pitch_and_phase(tmp_path: Path, rate: int):
    write_video(
        tmp_path / "a.mov", sound=tone(440, 1.0, rate), sound_rate=rate, sound_codec="pcm_s16le"
    )
    with VideoReader(tmp_path / "a.mov") as reader:
        got = reader.get_samples_played_in_range(0.25, 0.75, 16000).numpy()
    np.testing.assert_allclose(got, tone(440, 1.0, 16000)[0, 4000:12000], atol=2e-3)


def test_no_audio_where_the_track_has_none(tmp_path: Path):
    write_video(
        tmp_path / "a.mov",
        num_frames=90,
        sound=tone(440, 1.0, 16000),
        sound_rate=16000,
        sound_start=1.0,
        sound_codec="pcm_s16le",
    )
    with VideoReader(tmp_path / "a.mov") as reader:
        got = reader.get_samples_played_in_range(-1.0, 4.0, 16000).numpy()
    assert not got[:32000].any()
    assert not got[48000:].any()
    np.testing.assert_allclose(got[32000:48000], tone(440, 1.0, 16000)[0], atol=2**-15)


def test_file_without_audio(tmp_path: Path):
    write_video(tmp_path / "a.mp4")
    with VideoReader(tmp_path / "a.mp4") as reader:
        assert not reader.has_audio
        with pytest.raises(VideoDecodeError, match=r"a\.mp4: audio: .*no audio stream"):
            reader.get_samples_played_in_range(0, 1, 16000)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("aac.mp4", {}),
        ("late_frames.mp4", {"start": 0.4}),
        ("aac.mkv", {}),
        ("opus.webm", {"codec": "libvpx", "codec_options": QUICK, "sound_codec": "libopus"}),
        ("mp3.mp4", {"sound_codec": "libmp3lame"}),
        ("start.ts", {"start": 2.0, "sound_start": 2.0, "bframes": 2}),
        ("pcm.avi", {"codec": "mpeg4", "sound_codec": "pcm_s16le"}),
    ],
)
def test_frame_and_audio_stay_in_sync(tmp_path: Path, name: str, options: dict):
    """A click is written with frames 20 and 50; it must be audible while they are on screen."""
    late = options.get("start", 0.0) - options.get("sound_start", 0.0)
    sound = clicks([late + 20 / 30, late + 50 / 30], 2.6, 48000)
    write_video(tmp_path / name, num_frames=70, sound=sound, **options)
    log_mel = LogMel(sample_rate=16000, window_sec=0.032, hop_sec=0.016, num_mels=80)
    with VideoReader(tmp_path / name) as reader:
        for frame, start in [(20, 0.3), (50, 1.4)]:
            power = (
                log_mel(reader.get_samples_played_in_range(start, start + 1.0, 16000))
                .exp()
                .sum(dim=1)
            )
            click = start + (power.argmax().item() * 256 + 256) / 16000
            seconds = np.arange(click - 0.05, click + 0.05, 0.001)
            shown = seconds[numbers(reader, seconds.tolist()).index(frame)]
            assert abs(click - shown) <= 0.016


@pytest.mark.parametrize(
    ("name", "content", "problem"),
    [
        ("missing.mp4", None, "file: cannot be opened .*No such file"),
        ("empty.mp4", b"", "file: cannot be opened"),
        ("text.mp4", b"this is no video\n" * 100, "file: cannot be opened"),
    ],
)
def test_files_that_are_no_video(tmp_path: Path, name: str, content: bytes | None, problem: str):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(VideoDecodeError, match=f"{name}: {problem}") as raised:
        VideoReader(tmp_path / name)
    assert isinstance(raised.value.__cause__, av.error.FFmpegError)


def test_audio_only(tmp_path: Path):
    with av.open(str(tmp_path / "a.m4a"), "w") as output:
        stream = output.add_stream("aac", rate=48000)
        frame = av.AudioFrame.from_ndarray(SOUND[:, :1024], format="fltp", layout="mono")
        frame.sample_rate = 48000
        output.mux(stream.encode(frame) + stream.encode(None))
    with pytest.raises(VideoDecodeError, match="video: the file has no video stream"):
        VideoReader(tmp_path / "a.m4a")


@pytest.mark.parametrize(
    ("name", "options"),
    [("a.mkv", {}), ("a.mp4", {"container_options": {"movflags": "faststart"}})],
)
def test_truncated_file_decodes_up_to_its_end(tmp_path: Path, name: str, options: dict):
    path = tmp_path / name
    sound = tone(440, 6.0, 48000)
    write_video(path, num_frames=180, sound=sound, size=(96, 192), **options)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with VideoReader(path) as reader:
        assert numbers(reader, [0.5, 2.0]) == [15, 60]
        assert reader.get_samples_played_in_range(0.5, 2.0, 16000).abs().max() > 0.4
        assert reader.duration == pytest.approx(6.0, abs=0.1)
        with pytest.raises(VideoDecodeError, match=path.name):
            reader.get_frames_played_at([1.0, 5.0])
        with pytest.raises(VideoDecodeError, match=path.name):
            reader.get_samples_played_in_range(4.5, 5.5, 16000)
        assert numbers(reader, [0.5]) == [15]


def test_truncated_mp4_without_its_index(tmp_path: Path):
    path = tmp_path / "a.mp4"
    write_video(path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(VideoDecodeError, match="cannot be opened"):
        VideoReader(path)


@pytest.mark.parametrize(("share", "byte"), [(1.0, b"\xff"), (0.5, b"\x00")])
def test_damage_spoils_the_frames_up_to_the_next_key_frame(
    tmp_path: Path, share: float, byte: bytes
):
    """The first kind does not decode at all; the second the decoder conceals, and says so."""
    path = tmp_path / "a.mp4"
    write_video(path, num_frames=60, gop=20, bframes=2, size=(96, 192))
    with av.open(str(path)) as container:
        packet = next(p for p in container.demux(video=0) if p.pts * p.time_base >= 1)
    data = bytearray(path.read_bytes())
    end, size = packet.pos + packet.size, round(share * packet.size)
    data[end - size : end] = byte * size
    path.write_bytes(data)
    with VideoReader(path) as reader:
        assert numbers(reader, [0.0, 0.5, 0.9, 1.4, 1.9]) == [0, 15, 27, 42, 57]
        for second in (packet.pts * packet.time_base + 0.01, 1.32):
            with pytest.raises(VideoDecodeError, match=r"a\.mp4: video at 1\.\d+ s"):
                reader.get_frames_played_at([0.2, second, 1.9])


@needs_oracles
@pytest.mark.parametrize("oracle", ORACLES, ids=lambda p: p.stem)
def test_decoding_equals_ffmpeg(oracle: Path):
    expected = json.loads(oracle.read_text())
    native = expected["yuv420p_noautorotate"]
    with VideoReader(SHARED / "video" / expected["file"]) as reader:
        planes = [md5(frame.to_ndarray()) for _, frame in reader.file.decode_from("video", 0)]
        assert planes == native["md5"]
        images = reader.get_frames_played_at(native["pts"])
        assert [md5(image) for image in images] == expected["rgb24_autorotate_md5"]
        if reader.file.first_frame.quarter_turns:
            unturned = np.rot90(images, -reader.file.first_frame.quarter_turns, axes=(1, 2))
            assert [md5(image) for image in unturned] == expected["rgb24_noautorotate_md5"]
        shown = {row["t"]: images[row["last_pts_le_t"]] for row in expected["at_timestamps"]}
        assert np.array_equal(reader.get_frames_played_at(list(shown)), list(shown.values()))
        for second in list(shown)[::3]:
            assert np.array_equal(reader.get_frames_played_at([second])[0], shown[second])


@needs_oracles
@pytest.mark.parametrize(
    "name", ["v_ZNVhz7ctTq0.mp4", "sk_bigbuckbunny.mp4", "flipping_a_pancake.mkv"]
)
def test_audio_and_log_mel_equal_the_reference(name: str):
    expected = np.load(SHARED / "oracles" / "logmel" / f"{Path(name).stem}.npz")
    wave = expected["wave16k"]
    with VideoReader(SHARED / "video" / name) as reader:
        got = reader.get_samples_played_in_range(0, len(wave) / 16000, 16000)
        window = reader.get_samples_played_in_range(2.0, 4.0, 16000)
    np.testing.assert_allclose(got, wave, atol=1e-6)
    np.testing.assert_allclose(window, wave[32000:64000], atol=1e-6)
    log_mel = LogMel(sample_rate=16000, window_sec=0.032, hop_sec=0.016, num_mels=80)
    np.testing.assert_allclose(log_mel(got), expected["logmel_ref"], atol=1e-3)


@pytest.mark.skipif(not FILES, reason="shared/data/video is absent")
@pytest.mark.parametrize("path", FILES, ids=lambda p: p.name)
def test_every_file_decodes_or_says_why_not(path: Path):
    if path.name in UNREADABLE:
        with pytest.raises(VideoDecodeError, match=f"{path.name}: .*{UNREADABLE[path.name]}"):
            VideoReader(path)
        return
    with VideoReader(path) as reader:
        frames = reader.get_frames_played_at([0.0, min(1.0, reader.duration / 2)], size=(24, 32))
        assert frames.shape == (2, 24, 32, 3)
        if reader.has_audio:
            sound = reader.get_samples_played_in_range(-0.1, 1.5, 16000)
            assert sound.shape == (25600,)
            assert sound.isfinite().all()
            assert sound.any() == (path.name != "dog_silent_audio.mp4")


@pytest.mark.parametrize(
    ("name", "good", "bad"),
    [
        ("decord_corrupted.mp4", 2.8, 3.0),
        ("derived/dog_bitrot.mkv", 1.9, 2.1),
        ("derived/dog_truncated_mkv.mkv", 3.3, 5.0),
    ],
)
@pytest.mark.skipif(not FILES, reason="shared/data/video is absent")
def test_damaged_real_files(name: str, good: float, bad: float):
    with VideoReader(SHARED / "video" / name) as reader:
        reader.get_frames_played_at([0.5, good])
        with pytest.raises(VideoDecodeError, match=Path(name).name):
            reader.get_frames_played_at([0.5, bad])
