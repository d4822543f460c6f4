"""What a reader leaves out (frames that are not asked for, parts of them, a file's first frame)
does not change its results."""

import os
from pathlib import Path

import numpy as np
import pytest

from avsf_det.data.video import MediaFile, SequentialVideoReader, VideoReader
from avsf_det.data.video.cut import cut_video
from avsf_det.data.video.reader import decode_needed, make_converter
from tests.media import read_number, write_video

PYRAMID = {"x264-params": "bframes=3:b-pyramid=normal:b-adapt=0:ref=3:scenecut=0:keyint=40"}
OPEN_GOP = {"x264-params": PYRAMID["x264-params"] + ":open-gop=1"}
KINDS = {
    "pyramid.mp4": {"codec_options": PYRAMID},
    "pyramid.mkv": {"codec_options": PYRAMID},
    "open_gop.mp4": {"codec_options": OPEN_GOP},
    "open_gop.ts": {"codec_options": OPEN_GOP, "start": 2.0},
    "uneven.mp4": {
        "codec_options": PYRAMID,
        "times": np.cumsum(np.random.default_rng(1).choice([0.01, 0.04, 0.3], 90)).tolist(),
    },
}


def decoded(reader: VideoReader, seconds: list[float], all_of_them: bool) -> list:
    """(pts, frame) from the I-frame before the first second to the last second."""
    limits = [reader.file.clock.pts_played_at(second) for second in seconds]
    if all_of_them:
        frames = reader.file.decode_from("video", limits[0])
    else:
        frames = decode_needed(reader.file, limits)
    return [item for item in frames if item[0] <= limits[-1]]


@pytest.mark.parametrize("name", KINDS)
def test_frames_that_are_left_out_change_no_other(tmp_path: Path, name: str):
    write_video(tmp_path / name, num_frames=90, bframes=3, **KINDS[name])
    with VideoReader(tmp_path / name) as reader:
        convert = make_converter(reader.file, reader.height, reader.width)
        fewer = 0
        for start, step in [(1.4, 2 / 30), (0.9, 2 / 30), (1.7, 1 / 30), (1.0, 0.21), (0.0, 0.1)]:
            seconds = [start + i * step for i in range(8)]
            every = decoded(reader, seconds, all_of_them=True)
            images = {pts: convert(frame) for pts, frame in every}
            limits = [reader.file.clock.pts_played_at(second) for second in seconds]
            expected = [images[max(pts for pts in images if pts <= limit)] for limit in limits]
            assert np.array_equal(reader.get_frames_played_at(seconds), expected)
            fewer += len(every) - len(decoded(reader, seconds, all_of_them=False))
        assert fewer > 10


@pytest.mark.parametrize("name", KINDS)
def test_frames_that_no_request_needs_are_skipped(tmp_path: Path, name: str):
    write_video(tmp_path / name, num_frames=90, bframes=3, **KINDS[name])
    pts = []
    with VideoReader(tmp_path / name) as reader, SequentialVideoReader(tmp_path / name) as other:
        decode = other.file.decode
        other.file.decode = lambda *args, **kw: (
            pts.append(item[0]) or item for item in decode(*args, **kw)
        )
        num_decoded = []
        for start in [0.4, 0.8, 1.2, 1.6, 1.6 + 1 / 30, 2.0]:  # at 1.63 s, skipped ones are needed
            seconds = [start + i / 15 for i in range(12)]
            expected = reader.get_frames_played_at(seconds)
            assert np.array_equal(other.get_frames_played_at(seconds), expected)
            num_decoded.append(len(pts))
    if name in ("pyramid.mp4", "pyramid.mkv", "open_gop.mp4"):
        assert num_decoded[3] < 0.85 * 30 * 2.4
        assert num_decoded[4] > num_decoded[3] + 20


@pytest.mark.parametrize(
    "options",
    [
        {"codec": "mpeg4", "bframes": 2},
        {"codec_options": {"x264-params": "interlaced=1"}, "bframes": 3},
    ],
    ids=["mpeg4", "fields"],
)
def test_nothing_is_left_out_where_it_may_change_others(tmp_path: Path, options: dict):
    write_video(tmp_path / "a.mp4", num_frames=60, gop=30, **options)
    with VideoReader(tmp_path / "a.mp4") as reader:
        seconds = [1.5 + i / 15 for i in range(6)]
        every = decoded(reader, seconds, all_of_them=True)
        assert len(decoded(reader, seconds, all_of_them=False)) >= len(every)
        assert [read_number(x) for x in reader.get_frames_played_at(seconds)] == list(
            range(45, 56, 2)
        )


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"rotation": 90},
        {"pix_fmt": "yuv420p10le"},
        {"pix_fmt": "yuv444p", "size": (49, 97)},
        {"codec": "libvpx", "size": (49, 97), "codec_options": {"deadline": "realtime"}},
    ],
    ids=["plain", "rotated", "ten_bit", "odd", "odd_halved"],
)
def test_a_window_is_a_part_of_the_frame(tmp_path: Path, options: dict):
    path = tmp_path / ("a.webm" if options.get("codec") == "libvpx" else "a.mp4")
    write_video(path, num_frames=10, **options)
    rng = np.random.default_rng(0)
    with VideoReader(path) as reader:
        whole = reader.get_frames_played_at([0.1, 0.2])
        for _ in range(10):
            x0, x1 = sorted(rng.choice(reader.width + 1, 2, replace=False).tolist())
            y0, y1 = sorted(rng.choice(reader.height + 1, 2, replace=False).tolist())
            part = reader.get_frames_played_at([0.1, 0.2], window=(x0, y0, x1, y1))
            assert np.array_equal(part, whole[:, y0:y1, x0:x1])
        assert reader.get_frames_played_at([], window=(2, 4, 12, 34)).shape == (0, 30, 10, 3)


def test_first_frame_is_decoded_once_for_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    calls = []
    first_frame = MediaFile.decode_first
    monkeypatch.setattr(
        MediaFile, "decode_first", lambda *args: calls.append(args) or first_frame(*args)
    )
    path = tmp_path / "a.mp4"
    for size, rotation, expected in [((48, 96), 0, (48, 96)), ((96, 192), 90, (192, 96))]:
        write_video(path, size=size, rotation=rotation)
        os.utime(path, ns=(rotation, rotation))
        for _ in range(3):
            with VideoReader(path) as reader:
                assert (reader.height, reader.width) == expected
                assert reader.get_frames_played_at([0.5]).shape[1:3] == expected
    assert len(calls) == 2


def test_cut_with_a_gop_needs_no_second_frame(tmp_path: Path):
    write_video(tmp_path / "a.mp4", num_frames=120, bframes=2)
    cut_video(tmp_path / "a.mp4", tmp_path / "b.mp4", 1.0, 4.0, gop=30)
    with VideoReader(tmp_path / "b.mp4") as reader:
        seconds = [1 + i / 15 for i in range(14)]
        frames = decoded(reader, seconds, all_of_them=False)
        assert [pts * reader.file.time_base("video") for pts, _ in frames] == pytest.approx(seconds)
