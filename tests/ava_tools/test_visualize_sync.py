"""The tool on real files, with a model whose embeddings encode the time of frames and audio."""

import csv
import json
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from detectron2.config import CfgNode, get_cfg
from detectron2.modeling import build_model

from ava_tools import visualize_sync as tool
from ava_tools.sync import measure
from ava_tools.sync.measure import load_model
from avsf_det import add_avsf_config
from avsf_det.data import ClipReader

from ..media import read_number, tone, write_video

pytestmark = pytest.mark.usefixtures("few_blocks")
MINI = Path(__file__).resolve().parents[2] / "configs" / "mini" / "avsf_ssl_mini.yaml"
FPS, RATE = 20, 16000
SECONDS, CLIP_SEC = 4, 0.8
LAST_SECOND = 4.0  # second at which the audio is at full volume


def volume(late: float) -> np.ndarray:
    """(1, L): a tone that grows by a factor of e each second."""
    sound = tone(1000, SECONDS, RATE, amplitude=0.9)
    return sound * np.exp(np.arange(sound.shape[1]) / RATE - late - LAST_SECOND).astype(np.float32)


class Clock:
    """Replaces AVPretrainer. Frames and audio of the same second have the same embedding.

    The second is that of the number painted on the first frame, and that of the volume: it grows
    exponentially, so its logarithm at the end of the clip is a clock. At res3 there is only noise.
    """

    audio_std = torch.tensor(4.7)

    def __init__(self, cfg: CfgNode):
        self.avsync_head = SimpleNamespace(min_variance=0.01, levels=("res3", "res4"))
        log_mel = ClipReader(cfg, is_train=False).log_mel
        self.full = log_mel(torch.from_numpy(tone(1000, 1, RATE, amplitude=0.9)[0])).max()
        self.generator = torch.Generator().manual_seed(0)
        self.sizes = []

    def __call__(self, clips: list[dict]) -> list[dict]:
        return [{"embeddings": self.embed(**clip)} for clip in clips]

    def embed(self, frames: torch.Tensor, audio: torch.Tensor, has_audio: bool) -> dict:
        self.sizes.append(frames.shape[-1])
        seen = read_number(frames[:, 0].permute(1, 2, 0).numpy()) / FPS
        end = (audio[0, -1].max() - self.full).item() / 2 + LAST_SECOND + 0.016  # half a time step
        return {
            "res3": {"visual": self.noise(), "audio": self.noise()},
            "res4": {"visual": of_second(seen), "audio": of_second(end - CLIP_SEC)},
        }

    def noise(self) -> torch.Tensor:
        return 0.5 * F.normalize(torch.randn(90, generator=self.generator), dim=0)


def of_second(second: float) -> torch.Tensor:
    """(D,) of length 0.5; cosines fall off with the difference in time, to 0.37 at 0.3 s."""
    places = torch.arange(-2, 7, 0.1)
    return 0.5 * F.normalize(torch.exp(-(((places - second) / 0.212) ** 2)), dim=0)


@pytest.fixture
def clock(monkeypatch) -> Clock:
    cfg = get_cfg()
    add_avsf_config(cfg)
    cfg.INPUT.CLIP.NUM_FRAMES, cfg.INPUT.CLIP.STRIDE, cfg.INPUT.CLIP.FPS = 4, 4, FPS
    cfg.INPUT.MIN_SIZE_TEST = 64
    clock = Clock(cfg)
    monkeypatch.setattr(measure, "load_model", lambda *args: (clock, cfg))
    return clock


def make_video(path: Path, late: float = 0.0, seconds: float = SECONDS, **options) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    sound = {"sound": volume(late), "sound_codec": "pcm_s16le", "sound_rate": RATE} | options
    write_video(path, num_frames=round(seconds * FPS), fps=FPS, size=(64, 64), **sound)
    return str(path)


def run(source, *options: str) -> int:
    return tool.main(["--config-file", "any.yaml", "--input", str(source), *options])


@pytest.mark.parametrize(
    "late, delay, said",
    [
        (0.0, 0.0, ("late by 0.00", "early by 0.00")),
        (0.3, 0.0, ("late by 0.30",)),
        (-0.25, 0.0, ("early by 0.25",)),
        (0.0, 0.4, ("late by 0.40",)),
        (-0.25, 0.1, ("early by 0.15",)),
    ],
)
def test_a_known_offset_is_measured(clock, tmp_path, capsys, late, delay, said):
    video = make_video(tmp_path / "v.mov", late)
    assert run(video, "--level", "res4", "--shift-sound", str(delay)) == 0
    out = capsys.readouterr().out
    assert any(f"v.mov: audio is {words} s (" in out for words in said), out
    # Frames once per window, at most 24; audio once per time, with small frames.
    assert clock.sizes.count(64) == 24 and clock.sizes.count(32) <= 65


def test_an_offset_between_two_shifts_is_refined(clock, tmp_path, capsys):
    video = make_video(tmp_path / "v.mov", 0.13)
    assert run(video, "--level", "res4", "--json", "--step", "0.1", "--max-shift", "0.75") == 0
    row = json.loads(capsys.readouterr().out)
    assert row["late_sec"] == row["peak_sec"] == pytest.approx(0.13, abs=0.015)
    assert row["shift_sec"] == pytest.approx(np.arange(-7, 8) / 10)
    assert np.argmax(row["similarity"]) == row["shift_sec"].index(0.1)


def test_without_a_clear_peak_no_offset_is_given(clock, tmp_path, capsys):
    video = make_video(tmp_path / "v.mov")
    assert run(video, "--level", "res3") == 0
    assert "no clear peak" in capsys.readouterr().out
    # Out of reach, the curve only rises towards it.
    assert run(video, "--level", "res4", "--shift-sound", "0.9", "--max-shift", "0.5") == 0
    assert "no clear peak" in capsys.readouterr().out


def test_silence_does_not_count(clock, tmp_path, capsys):
    sound = volume(0.2)
    sound[:, : 2 * RATE] = 0
    video = make_video(tmp_path / "half.mov", sound=sound)
    assert run(video, "--level", "res4") == 0
    assert "late by 0.2" in capsys.readouterr().out
    clock.avsync_head.min_variance = 99.0
    for nothing in (sound, 0 * sound):
        assert run(make_video(tmp_path / "mute.mov", sound=nothing)) == 1
        assert "silent or monotonous" in capsys.readouterr().err


def test_picture(clock, tmp_path):
    image = tmp_path / "new" / "sync.png"
    assert run(make_video(tmp_path / "v.mov"), "--output", str(image)) == 0
    assert cv2.imread(str(image)).std() > 10


def test_folder(clock, tmp_path, capsys):
    late = {"a/v.mov": 0.3, "b/v.MOV": -0.2}
    for name, second in late.items():
        make_video(tmp_path / "in" / name, second)
    make_video(tmp_path / "in" / "c.mp4", sound=None)
    (tmp_path / "in" / "d.mkv").write_bytes(b"no video")
    (tmp_path / "in" / "notes.txt").write_text("no video either")
    options = ["--level", "res4", "--output", str(tmp_path / "out")]
    assert run(tmp_path / "in", *options) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 5 and "1 of 2 are within 0.25 s of 0 s" in lines[-1]
    with open(tmp_path / "out" / "offsets.csv") as file:
        rows = {row["video"]: row for row in csv.DictReader(file)}
    assert list(rows) == ["a/v.mov", "b/v.MOV", "c.mp4", "d.mkv"]
    for name, second in late.items():
        assert float(rows[name]["late_sec"]) == pytest.approx(second, abs=0.01)
        assert (tmp_path / "out" / name).with_suffix(".png").exists()
    assert "no audio track" in rows["c.mp4"]["problem"] and rows["c.mp4"]["late_sec"] == ""
    assert "cannot be opened" in rows["d.mkv"]["problem"]
    assert run(tmp_path / "out") == 1
    assert "no video there" in capsys.readouterr().err


def test_files_that_cannot_be_measured(clock, tmp_path, capsys):
    (tmp_path / "text.mp4").write_text("no video")
    problems = {
        make_video(tmp_path / "mute.mp4", sound=None): "has no audio track",
        make_video(tmp_path / "short.mov", seconds=0.9): "0.90 s; 1.05 s are needed",
        str(tmp_path / "text.mp4"): "cannot be opened",
        str(tmp_path / "none.mp4"): "No such file",
    }
    for path, problem in problems.items():
        assert run(path) == 1
        error = capsys.readouterr().err
        assert error.startswith("error: ") and error.count("\n") == 1
        assert path in error and problem in error
    assert run(make_video(tmp_path / "v.mov"), "--level", "res5") == 1
    assert "res5: this model has res3, res4, mean" in capsys.readouterr().err


def test_models_that_cannot_compare(tmp_path, capsys):
    tiny = ["MODEL.SLOWFAST.WIDTH", "8"]

    def problem(config: Path, *options: str) -> str:
        arguments = ["--config-file", str(config), "--input", "v.mp4", *tiny, *options]
        assert tool.main(arguments) == 1
        return capsys.readouterr().err

    assert "AVSYNC.ENABLED is False" in problem(MINI.with_name("avsf_mini.yaml"))
    assert "MODEL.WEIGHTS is empty" in problem(MINI)
    cfg = get_cfg()
    add_avsf_config(cfg)
    cfg.merge_from_file(str(MINI))
    cfg.merge_from_list(tiny)
    state = build_model(cfg).state_dict()
    weights = {name: str(tmp_path / f"{name}.pth") for name in ("whole", "headless")}
    torch.save({"model": state}, weights["whole"])
    headless = {name: x for name, x in state.items() if not name.startswith("avsync_head")}
    torch.save({"model": headless}, weights["headless"])
    assert "head: avsync_head.res3" in problem(MINI, "MODEL.WEIGHTS", weights["headless"])
    assert "v.mp4" in problem(
        MINI, "MODEL.WEIGHTS", weights["whole"]
    )  # then the video is looked for
    model, _ = load_model(str(MINI), [*tiny, "MODEL.WEIGHTS", weights["whole"]])
    assert not model.training and model.rotation_head is None
    for name, value in model.state_dict().items():
        assert torch.equal(value, state[name])
