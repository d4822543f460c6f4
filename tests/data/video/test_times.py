"""Times that containers state badly: B-frames without pts, joined files, gaps, late starts."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from ava_tools.preparation.video_check import check_video
from avsf_det.data.video import MediaFile, SequentialVideoReader, VideoDecodeError, VideoReader
from avsf_det.data.video.cut import cut_video
from tests.media import read_number, tone, write_video

FPS = 25
PYRAMID = {"x264-params": "bframes=3:b-pyramid=normal:b-adapt=0:ref=3:scenecut=0:keyint=12"}
OPEN_GOP = {"x264-params": PYRAMID["x264-params"] + ":open-gop=1"}
READERS = [VideoReader, SequentialVideoReader]


def packets_of(path: Path) -> list[av.Packet]:
    with av.open(str(path)) as source:
        return [packet for packet in source.demux(source.streams.video[0]) if packet.size]


def write_in_decoding_order(path: Path, chunks: list[bytes], keys: list[bool], like: Path) -> None:
    """Write packets whose pts are their dts, as AVI does."""
    with av.open(str(like)) as source, av.open(str(path), "w") as output:
        stream = output.add_stream_from_template(source.streams.video[0])
        stream.time_base = Fraction(1, FPS)
        for i, (chunk, is_key) in enumerate(zip(chunks, keys, strict=True)):
            packet = av.Packet(chunk)
            packet.pts = packet.dts = i
            packet.time_base, packet.duration = Fraction(1, FPS), 1
            packet.is_keyframe, packet.stream = is_key, stream
            output.mux(packet)


def pack(packets: list[av.Packet]) -> tuple[list[bytes], list[bool]]:
    """Return the chunks of a 'packed bitstream' (DivX, XviD): a B-frame lies with its reference."""
    datas = [bytes(packet) for packet in packets]
    types = [data[data.index(b"\0\0\1\xb6") + 4] >> 6 for data in datas]
    chunks, keys, i = [], [], 0
    while i < len(datas):
        count = next((j for j in range(i + 1, len(datas)) if types[j] != 2), len(datas)) - i - 1
        mark = b"\0\0\1\xb2DivX503b1393p"
        group = [mark + datas[i] + b"".join(datas[i + 1 : i + 2 * bool(count)])]
        group += datas[i + 2 : i + 1 + count]
        # A frame that is not coded fills the place of the B-frame.
        group += [b"\0\0\1\xb6\x50\x40"] * bool(count)
        chunks += group
        keys += [types[i] == 0] + [False] * (len(group) - 1)
        i += 1 + count
    return chunks, keys


def check_frames(path: Path, expected: list[int], fps: float = FPS) -> None:
    """Check each frame in its middle: all at once, one by one forward, and by seeking."""
    seconds = [(i + 0.5) / fps for i in range(len(expected))]
    with VideoReader(path) as reader, SequentialVideoReader(path) as sequential:
        assert [*map(read_number, reader.get_frames_played_at(seconds))] == expected
        for i in range(len(seconds)):
            assert read_number(sequential.get_frames_played_at([seconds[i]])[0]) == expected[i]
        for i in np.random.default_rng(0).permutation(len(seconds))[:25]:
            assert read_number(reader.get_frames_played_at([seconds[i]])[0]) == expected[i]
        assert reader.duration == pytest.approx(len(expected) / fps, abs=2.5 / fps)


@pytest.mark.parametrize("suffix", ["avi", "asf", "mkv", "mp4", "ts"])
@pytest.mark.parametrize("options", [PYRAMID, OPEN_GOP], ids=["pyramid", "open_gop"])
def test_h264_with_b_frames_and_no_pts(tmp_path: Path, suffix: str, options: dict):
    source = tmp_path / ("source.mp4" if suffix in ("mp4", "mkv") else "source.ts")
    write_video(source, num_frames=40, fps=FPS, bframes=3, codec_options=options)
    packets = packets_of(source)
    keys = [packet.is_keyframe for packet in packets]
    path = tmp_path / f"a.{suffix}"
    write_in_decoding_order(path, [*map(bytes, packets)], keys, source)
    check_frames(path, list(range(40)))


@pytest.mark.parametrize("count", [1, 2, 3, 40])
@pytest.mark.parametrize("bframes", [1, 2])
@pytest.mark.parametrize("is_packed", [True, False])
def test_mpeg4_with_b_frames_in_avi(tmp_path: Path, count: int, bframes: int, is_packed: bool):
    """Most files of UCF101 are packed."""
    source = tmp_path / "source.avi"
    write_video(source, num_frames=count, fps=FPS, codec="mpeg4", bframes=bframes)
    packets = packets_of(source)
    keys = [packet.is_keyframe for packet in packets]
    chunks = [*map(bytes, packets)]
    if is_packed:
        chunks, keys = pack(packets)
    write_in_decoding_order(tmp_path / "a.avi", chunks, keys, source)
    check_frames(tmp_path / "a.avi", list(range(count)))


@pytest.mark.parametrize("codec", ["mpeg2video", "libx264"])
def test_program_stream_whose_packets_share_times(tmp_path: Path, codec: str):
    write_video(tmp_path / "a.mpg", num_frames=60, fps=FPS, codec=codec, bframes=2)
    check_frames(tmp_path / "a.mpg", list(range(60)))


def test_raw_stream_is_counted(tmp_path: Path):
    write_video(tmp_path / "a.h264", num_frames=30, fps=FPS, bframes=2)
    check_frames(tmp_path / "a.h264", list(range(30)))


@pytest.mark.parametrize(
    ("suffix", "starts"),
    [
        ("ts", (0, 0)),
        ("ts", (0, 86400)),
        ("ts", (86400, 0)),
        ("ts", (7, 5000, 3, 3.5)),
        ("ts", (2**33 / 90000 - 1, 0)),  # its clock wraps in the first part
        ("mpg", (0, 0)),
    ],
)
def test_joined_files_have_one_clock(tmp_path: Path, suffix: str, starts: tuple):
    data = b""
    codecs = {"codec": "mpeg2video", "sound_codec": "mp2"} if suffix == "mpg" else {}
    for start in starts:
        write_video(
            tmp_path / f"part.{suffix}",
            num_frames=50,
            fps=FPS,
            bframes=2,
            start=start,
            sound=tone(440, 2.0, 48000),
            sound_start=start,
            **codecs,
        )
        data += (tmp_path / f"part.{suffix}").read_bytes()
    path = tmp_path / f"a.{suffix}"
    path.write_bytes(data)
    check_frames(path, [*range(50)] * len(starts))
    length = 2 * len(starts)
    for reader_class in READERS:
        with reader_class(path) as reader:
            samples = reader.get_samples_played_in_range(0, length + 5, 16000)
            loud = samples.abs().reshape(-1, 1600).amax(1) > 0.4
            assert loud[: 10 * length - 1].all()
            assert not loud[10 * length + 1 :].any()
    assert not check_video(str(path)).problems


def test_audio_that_begins_in_the_second_of_joined_files(tmp_path: Path):
    """The stream's rate is unknown when the file is opened."""
    part, path = tmp_path / "part.ts", tmp_path / "a.ts"
    write_video(part, num_frames=250, fps=FPS)
    data = part.read_bytes()
    sound = {"sound": tone(440, 2.0, 48000), "sound_start": 10}
    write_video(part, num_frames=50, fps=FPS, start=10, **sound)
    path.write_bytes(data + part.read_bytes())
    for reader_class in READERS:
        with reader_class(path) as reader:
            samples = reader.get_samples_played_in_range(9, 11, 16000)
        loud = samples.abs().reshape(-1, 1600).amax(1) > 0.4
        assert loud[11:].all() and not loud[:9].any()


@pytest.mark.parametrize("suffix", ["mkv", "flv"])
def test_clock_that_starts_again_is_reported(tmp_path: Path, suffix: str):
    write_video(tmp_path / f"part.{suffix}", num_frames=75, fps=FPS, sound=tone(440, 3, 48000))
    data = (tmp_path / f"part.{suffix}").read_bytes()
    path = tmp_path / f"a.{suffix}"
    path.write_bytes(data + data[13 if suffix == "flv" else 0 :])
    problem = r"at (2\.9|3\.0)\d+ s: the clock goes back"
    with pytest.raises(VideoDecodeError, match=problem), VideoReader(path) as reader:
        reader.get_frames_played_at([0.0, 4.0])
    assert "goes back" in check_video(str(path)).problems["undecodable"]


@pytest.mark.parametrize("gap", [20.0, 1e5])
def test_gap_in_audio_is_silence_without_work(tmp_path: Path, gap: float, monkeypatch):
    write_video(tmp_path / "source.mp4", num_frames=75, fps=FPS, sound=tone(440, 3, 48000))
    path = tmp_path / "a.mkv"
    with av.open(str(tmp_path / "source.mp4")) as source, av.open(str(path), "w") as output:
        streams = [output.add_stream_from_template(stream) for stream in source.streams]
        for packet in source.demux():
            if packet.size:
                if packet.stream.type == "audio" and packet.pts * packet.time_base >= 1.5:
                    packet.pts = packet.dts = packet.pts + round(gap / packet.time_base)
                packet.stream = streams[packet.stream_index]
                output.mux(packet)
    opened = []
    reopen = MediaFile.reopen
    monkeypatch.setattr(MediaFile, "reopen", lambda file: opened.append(file) or reopen(file))
    for reader_class in READERS:
        with reader_class(path) as reader:
            samples = reader.get_samples_played_in_range(0, 10, 16000)
            assert samples[1600:22400].abs().max() > 0.4
            assert not samples[25600:].any()
            assert reader.get_samples_played_in_range(gap + 2, gap + 2.8, 16000).abs().max() > 0.4
            assert reader.duration == pytest.approx(3.0, abs=0.05)
    assert list(check_video(str(path)).problems) == ["out of sync"]
    assert len(opened) < 30


@pytest.mark.parametrize(
    ("suffix", "codecs"),
    [
        ("mkv", {}),
        ("webm", {"codec": "libvpx", "sound_codec": "libopus"}),
        ("mp4", {}),
        ("flv", {}),
        ("nut", {}),
        ("ts", {}),
        ("asf", {"codec": "wmv2", "sound_codec": "wmav2"}),
    ],
)
@pytest.mark.parametrize("start", [0.0, 7.3])
def test_length_is_that_of_the_frames(tmp_path: Path, suffix: str, codecs: dict, start: float):
    path = tmp_path / f"a.{suffix}"
    options = {"start": start, "sound_start": start, **codecs}
    write_video(path, num_frames=50, fps=FPS, sound=tone(440, 6.0, 48000), **options)
    with VideoReader(path) as reader:
        assert reader.duration == pytest.approx(2.0, abs=0.05)
        assert reader.get_samples_played_in_range(4, 5, 16000).abs().max() > 0.4
        assert read_number(reader.get_frames_played_at([9.0])[0]) == 49
        assert reader.duration == pytest.approx(2.0, abs=0.05)
    with SequentialVideoReader(path) as reader:
        assert read_number(reader.get_frames_played_at([1.0])[0]) in (24, 25)
        assert reader.duration == pytest.approx(2.0, abs=0.05)
        assert read_number(reader.get_frames_played_at([9.0])[0]) == 49
    assert list(check_video(str(path)).problems) == ["out of sync"]


@pytest.mark.parametrize("codec", ["pcm_f32le", "pcm_f64le"])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e30])
def test_audio_that_is_no_number_is_an_error(tmp_path: Path, codec: str, value: float):
    sound = tone(440, 3.0, 48000)
    sound[0, 100000] = value  # at 2.083 s
    path = tmp_path / "a.mov"
    write_video(path, num_frames=75, fps=FPS, sound=sound, sound_codec=codec)
    for reader_class in READERS:
        with reader_class(path) as reader:
            with pytest.raises(VideoDecodeError, match=r"a\.mov: audio at 2\.083 s: holds NaN"):
                reader.get_samples_played_in_range(0, 3, 16000)
            assert reader.get_samples_played_in_range(0, 1, 16000).isfinite().all()
    assert "audio at 2.0" in check_video(str(path)).problems["undecodable"]


def test_cut_with_a_gop_of_a_file_without_pts(tmp_path: Path):
    write_video(tmp_path / "a.avi", num_frames=50, fps=FPS, codec="mpeg4", bframes=2)
    cut_video(tmp_path / "a.avi", tmp_path / "b.mp4", 0.8, 1.6, gop=8)
    check_frames(tmp_path / "b.mp4", list(range(20, 40)))
