"""The benchmark of long videos makes them by copying packets, and measures processes."""

from multiprocessing import get_context
from pathlib import Path

import av
import numpy as np
import pytest

from ava_tools.benchmarks import growth
from ava_tools.benchmarks.growth import read_keyframes
from avsf_det.data import VideoReader
from avsf_det.data.video.cut import repeat_video

from ..media import tone, write_video

LINUX = Path("/proc/self/status").exists()


@pytest.fixture
def video(tmp_path: Path) -> Path:
    """6 s: a part of 2 s, three times."""
    write_video(tmp_path / "part.mp4", num_frames=60, sound=tone(440, 2, 48000), bframes=2)
    repeat_video(tmp_path / "part.mp4", tmp_path / "video.mp4", 3, 2)
    return tmp_path / "video.mp4"


def test_repeated_video(video: Path):
    with VideoReader(video.with_name("part.mp4")) as part, VideoReader(video) as reader:
        assert reader.fps == part.fps
        assert reader.duration == pytest.approx(6, abs=0.02)
        for second in (0.5, 1.9):
            times = [second, second + 2, second + 4]
            assert np.array_equal(
                reader.get_frames_played_at(times),
                part.get_frames_played_at([second]).repeat(3, axis=0),
            )
            for start in times:
                assert (
                    reader.get_samples_played_in_range(start - 0.2, start, 16000).abs().max() > 0.1
                )
    with av.open(str(video)) as container:
        assert sum(1 for _ in container.decode(video=0)) == 180


@pytest.mark.skipif(not LINUX, reason="only Linux shows the peak memory of a process")
def test_videos_are_shared_by_processes(video: Path, monkeypatch: pytest.MonkeyPatch):
    # New interpreters would import torch again, which takes seconds.
    monkeypatch.setattr(growth, "get_context", lambda method: get_context("fork"))
    rate, peak = read_keyframes([video, video.with_name("part.mp4")], seconds=2, processes=2)
    assert rate > 0
    assert 50 < peak < 10000
