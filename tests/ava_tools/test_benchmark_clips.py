"""The benchmark of reading training clips measures what is there, and says what bounds training."""

from pathlib import Path

import pytest
from detectron2.config import get_cfg

from ava_tools import benchmark
from ava_tools.benchmarks import clips as tool
from ava_tools.benchmarks.clip_timing import time_stages
from avsf_det import add_avsf_config

from ..media import tone, write_video

CONFIGS = Path(__file__).resolve().parents[2] / "configs"


@pytest.fixture(scope="module")
def video(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("videos") / "480p_8s.mp4"
    write_video(path, num_frames=240, gop=250, sound=tone(440, 8, 48000), size=(64, 96))
    return path


def test_readers_and_stages(video: Path, monkeypatch: pytest.MonkeyPatch, capsys):
    monkeypatch.setattr(tool, "PEERS", {"none": "no_such_package"})
    options = ["--clips", "2", "--repeats", "1", "--seconds", "8"]
    benchmark.main(["clips", "--videos", "none", "--folder", str(video.parent), *options])
    out = capsys.readouterr().out
    assert "no_such_package is not installed: pip install" in out
    for row in ("| 480p_8s ", "| 480p_8s_gop30 ", "| seek and decode ", "| augmentation "):
        assert row in out


def test_stages_are_the_whole(video: Path):
    cfg = get_cfg()
    add_avsf_config(cfg)
    stages = time_stages(cfg, video, [3.0, 4.0])
    assert all(seconds >= 0 for seconds in stages.values())
    assert stages["seek and decode"] > 0 and stages["audio"] > 0


@pytest.mark.parametrize("config", ["avsf_mini", "avsf_kinetics_mini"])
def test_what_bounds_training(
    video: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch, config: str
):
    # The model gets a thread per core; more than one would wait for each other beside other tests.
    monkeypatch.setattr(tool.os, "cpu_count", lambda: 1)
    options = ["--clips", "1", "--repeats", "1", "--seconds", "8", "--batch", "2"]
    file = ["--config-file", str(CONFIGS / f"mini/{config}.yaml")]
    small = ["MODEL.SLOWFAST.WIDTH", "8", "INPUT.MIN_SIZE_TRAIN", "(64, 64)"]
    small += ["INPUT.CROP.SIZE", "[64, 64]", "MODEL.DEVICE", "cpu"]
    folder = ["--videos", "none", "--folder", str(video.parent)]
    benchmark.main(["clips", *folder, *options, *file, *small])
    out = capsys.readouterr().out
    assert "clips/s on cpu, 2 an iteration" in out
    assert "bounds training." in out
