"""The benchmark of reading videos joins clips as documented, and measures all four methods."""

from pathlib import Path

import av
import pytest
from detectron2.config import get_cfg

from ava_tools import benchmark
from ava_tools.benchmarks import videos as tool
from ava_tools.benchmarks.joined_video import join_videos
from avsf_det import add_avsf_config
from avsf_det.data import VideoReader

from ..media import clicks, tone, write_video


@pytest.fixture(scope="module")
def video(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("clips")
    write_video(folder / "a.mp4", num_frames=75, sound=tone(440, 2.5, 48000))
    write_video(folder / "b.mp4", num_frames=60, fps=15, sound=clicks([1.0], 4, 48000))
    clips = [str(folder / "a.mp4"), str(folder / "b.mp4")]
    join_videos(folder / "video.mp4", clips, 9, (32, 64), fps=30)
    return folder / "video.mp4"


def test_joined_video(video: Path):
    with av.open(str(video)) as container:
        frames = list(container.decode(video=0))
        assert [i for i, frame in enumerate(frames) if frame.key_frame] == [0, 250]
        assert len(frames) == 9 * 30
    with VideoReader(video) as reader:
        assert (reader.height, reader.width, reader.fps) == (32, 64, 30)
        # 2 s of tone, 4 s with a click at 1 s, 2 s of tone again.
        loud = [
            reader.get_samples_played_in_range(s, s + 0.9, 16000).abs().max() > 0.3
            for s in range(9)
        ]
    assert loud == [True, True, False, True, False, False, True, True, False]


def test_four_methods(video: Path):
    cfg = get_cfg()
    add_avsf_config(cfg)
    cfg.INPUT.MIN_SIZE_TEST = 32
    rates = tool.measure(video, seconds=9, seeks=2, repeats=1, cfg=cfg)
    assert list(rates) == ["one pass", "seek", "PyAV seek", "decode"]
    assert all(rate > 0 for rate in rates.values())


def test_clips_that_are_too_short(tmp_path: Path, capsys: pytest.CaptureFixture):
    write_video(tmp_path / "a.mp4", num_frames=20)
    options = ["--videos", str(tmp_path / "a.mp4"), "--folder", str(tmp_path / "videos")]
    assert benchmark.main(["videos", *options]) == 1
    assert "a.mp4 lasts 0.7 s; give clips of 1 s or more" in capsys.readouterr().err
