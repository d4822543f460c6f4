"""Orientation, shape of pixels, and changes of size: what is read is what players show."""

import struct
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from detectron2.config import get_cfg

from ava_tools.preparation.video_check import check_video
from avsf_det import add_avsf_config
from avsf_det.data import KeyframeMapper, SequentialReader, VideoReader
from avsf_det.data.transforms import build_clip_augmentations
from avsf_det.data.video import SequentialVideoReader
from avsf_det.data.video.cut import cut_video

from ...media import paint_number, read_number, write_video

READERS = [VideoReader, SequentialVideoReader]


def read(path: Path, seconds: list[float], reader=VideoReader, **options) -> np.ndarray:
    with reader(path) as video:
        frames = video.get_frames_played_at(seconds, **options)
        if not options:
            assert frames.shape[1:3] == (video.height, video.width)
        return frames


@pytest.mark.parametrize("mirrored", [False, True])
@pytest.mark.parametrize("rotation", [0, 90, 180, 270])
def test_all_orientations(tmp_path: Path, rotation: int, mirrored: bool):
    write_video(tmp_path / "plain.mp4", num_frames=3)
    write_video(tmp_path / "a.mp4", num_frames=3, rotation=rotation, mirrored=mirrored)
    expected = np.rot90(read(tmp_path / "plain.mp4", [0.0, 0.05]), rotation // 90, axes=(1, 2))
    expected = expected[:, :, ::-1] if mirrored else expected
    for reader in READERS:
        assert np.array_equal(read(tmp_path / "a.mp4", [0.0, 0.05], reader), expected)
        window = read(tmp_path / "a.mp4", [0.0, 0.05], reader, window=(3, 5, 20, 31))
        assert np.array_equal(window, expected[:, 5:31, 3:20])
    # Copied, the matrix is kept; encoded, the frames are upright.
    for gop in (None, 3):
        cut_video(tmp_path / "a.mp4", tmp_path / "cut.mp4", 0, 0.1, gop)
        error = read(tmp_path / "cut.mp4", [0.0, 0.05]).astype(int) - expected
        assert np.abs(error).mean() < 6


@pytest.mark.parametrize(("degrees", "nearest"), [(8, 0), (-30, 0), (80, 90), (200, 180)])
def test_other_angles_are_the_nearest_quarter(tmp_path: Path, degrees: int, nearest: int):
    write_video(tmp_path / "a.mp4", num_frames=1, rotation=degrees)
    write_video(tmp_path / "b.mp4", num_frames=1, rotation=nearest)
    assert np.array_equal(read(tmp_path / "a.mp4", [0]), read(tmp_path / "b.mp4", [0]))


@pytest.mark.parametrize(
    ("aspect", "rotation", "size"),
    [
        (Fraction(2), 0, (64, 192)),
        (Fraction(2), 90, (192, 64)),
        (Fraction(8, 9), 0, (64, 85)),
        (Fraction(1, 2), 270, (48, 64)),
        (Fraction(201, 200), 0, (64, 96)),  # hardly seen
        (Fraction(1, 1000), 0, (64, 96)),  # impossible
        (Fraction(12), 0, (64, 96)),
    ],
)
@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".ts"])
def test_shape_of_pixels(tmp_path: Path, suffix: str, aspect: Fraction, rotation: int, size):
    name = "a.mp4" if rotation else f"a{suffix}"  # only mp4 is written with a rotation
    write_video(
        tmp_path / name, num_frames=12, size=(64, 96), pixel_aspect=aspect, rotation=rotation
    )
    for reader in READERS:
        frames = read(tmp_path / name, [0.0, 0.2], reader)
        assert frames.shape[1:3] == size
        window = read(tmp_path / name, [0.0, 0.2], reader, window=(2, 5, 31, 40))
        assert np.array_equal(window, frames[:, 5:40, 2:31])
    assert [read_number(np.rot90(f, -rotation // 90)) for f in frames] == [0, 6]
    for gop in (None, 4):
        cut_video(tmp_path / name, tmp_path / "cut.mp4", 0, 0.3, gop)
        cut = read(tmp_path / "cut.mp4", [0.0, 0.2])
        assert abs(cut.shape[1] - size[0]) <= 1 and abs(cut.shape[2] - size[1]) <= 1
        assert [read_number(np.rot90(f, -rotation // 90)) for f in cut] == [0, 6]
    check = check_video(str(tmp_path / name))
    assert (check.height, check.width) == size


def test_shape_of_pixels_in_the_container_alone(tmp_path: Path):
    """Matroska's DisplayWidth, and mp4's track header, speak for any codec."""
    write_video(tmp_path / "a.mp4", num_frames=3, size=(64, 96))
    data = bytearray((tmp_path / "a.mp4").read_bytes())
    at = data.index(b"tkhd") + 4 + 4 + 20 + 16 + 36
    data[at : at + 8] = struct.pack(">2I", 192 << 16, 64 << 16)
    (tmp_path / "a.mp4").write_bytes(data)
    assert read(tmp_path / "a.mp4", [0]).shape == (1, 64, 192, 3)
    cut_video(tmp_path / "a.mp4", tmp_path / "cut.mp4", 0, 0.1)
    assert read(tmp_path / "cut.mp4", [0]).shape == (1, 64, 192, 3)


@pytest.mark.parametrize("source", [None, "sequential"])
def test_model_input_has_the_shape_as_shown(tmp_path: Path, source: str | None):
    """64x96 pixels, each twice as wide as high, are shown as 64x192."""
    write_video(tmp_path / "a.mp4", num_frames=60, size=(64, 96), pixel_aspect=Fraction(2))
    cfg = get_cfg()
    add_avsf_config(cfg)
    cfg.merge_from_list(["INPUT.CLIP.NUM_FRAMES", 4, "INPUT.MIN_SIZE_TEST", 32])
    cfg.merge_from_list(["MODEL.ROI_ACTION_HEAD.NUM_CLASSES", 1, "INPUT.AUDIO.NUM_FRAMES", 16])
    reader = SequentialReader(build_clip_augmentations(cfg, False)) if source else None
    box = {"bbox": [0.25, 0.5, 0.75, 1.0], "bbox_mode": 2, "category_id": 0, "action_ids": [0]}
    keyframe = {
        "file_name": str(tmp_path / "a.mp4"),
        **{"video_id": "a", "image_id": "a,1", "timestamp": 1.0, "offset": 0.0, "source": ""},
        "annotations": [box],
        "proposals": {"boxes": np.array([box["bbox"]], np.float32), "scores": np.ones(1)},
    }
    clip = KeyframeMapper(cfg, is_train=False, source=reader)(keyframe)
    assert clip["frames"].shape == (3, 4, 32, 96)
    assert (clip["height"], clip["width"]) == (64, 192)
    assert clip["proposals"].proposal_boxes.tensor.tolist() == [[24, 16, 72, 32]]


def write_changing(path: Path, sizes: list[tuple[int, int]], formats: list[str]) -> None:
    """Write ten frames of each (height, width) at 10 fps; the codec keeps each frame's size."""
    with av.open(str(path), "w") as output:
        stream = output.add_stream("png", rate=10)
        stream.height, stream.width = sizes[0]
        stream.pix_fmt = formats[0]
        for part, (size, name) in enumerate(zip(sizes, formats, strict=True)):
            encoder = av.CodecContext.create("png", "w")
            encoder.height, encoder.width = size
            encoder.pix_fmt, encoder.time_base = name, Fraction(1, 1000)
            for i in range(10 * part, 10 * part + 10):
                frame = av.VideoFrame.from_ndarray(paint_number(i, *size), "rgb24")
                frame = frame.reformat(format=name)
                frame.pts, frame.time_base = 100 * i, Fraction(1, 1000)
                for packet in encoder.encode(frame):
                    packet.stream = stream
                    output.mux(packet)


@pytest.mark.parametrize(
    "sizes", [[(64, 96), (120, 160)], [(120, 160), (64, 96)], [(64, 96), (97, 49), (64, 96)]]
)
@pytest.mark.parametrize("formats", [["rgb24", "rgb24"], ["rgb24", "gray"], ["gray", "rgba"]])
def test_a_size_that_changes(tmp_path: Path, sizes, formats):
    path = tmp_path / "a.mov"
    write_changing(path, sizes, (formats + formats)[: len(sizes)])
    count = 10 * len(sizes)
    seconds = [i / 10 + 0.02 for i in range(count)]
    height, width = sizes[0]
    for reader in READERS:
        frames = read(path, seconds, reader)
        assert list(map(read_number, frames)) == list(range(count))
        assert frames.shape[1:] == (height, width, 3)
        window = (3, 2, width - 5, height - 9)
        cut = read(path, seconds, reader, window=window)
        assert np.array_equal(cut, frames[:, window[1] : window[3], window[0] : window[2]])
        backwards = [seconds[-1], seconds[0], seconds[count // 2]]
        assert list(map(read_number, read(path, backwards, reader))) == [count - 1, 0, count // 2]
