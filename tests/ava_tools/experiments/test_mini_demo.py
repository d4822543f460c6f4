"""The demo: which runs it starts, from which weights, and what it prints."""

import json
import subprocess
from pathlib import Path
from types import SimpleNamespace
from typing import ClassVar

from ava_tools.experiments import mini_demo
from ava_tools.mini.video_plan import AUDIBLE_ACTIONS
from avsf_det.engine.defaults import load_config

ACTIONS = ["wave", *sorted(AUDIBLE_ACTIONS)]


class Finished:
    """Replaces subprocess.Popen: a run that ends at once, with an AP that grows with each run."""

    started: ClassVar[dict[str, list[str]]] = {}  # folder to command

    def __init__(self, command: list[str], **_) -> None:
        folder = Path(command[command.index("OUTPUT_DIR") + 1])
        self.started[folder.name] = command
        (folder / "inference").mkdir(parents=True)
        ap = dict.fromkeys(ACTIONS, len(self.started) / 10)
        text = json.dumps({"per_class_by_name": ap})
        (folder / "inference" / "ava_results.json").write_text(text)

    def poll(self) -> int:
        return 0


def test_audio_is_grafted_onto_the_slowfast_of_the_demo(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(Finished, "started", {})
    monkeypatch.setattr(subprocess, "Popen", Finished)
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: SimpleNamespace(returncode=0))
    monkeypatch.setattr(mini_demo, "draw_chart", lambda ap, titles, path: path.touch())
    monkeypatch.setattr(mini_demo, "draw_video", lambda folder, path, number: path.touch())
    summary = mini_demo.run_mini_demo(tmp_path, options=("SEED", "2"))
    assert [*Finished.started] == ["slowfast", "avsf", "graft", "avsf_mute", "avsf_swap"]
    for name, start in (("graft", "slowfast"), ("avsf_mute", "avsf"), ("avsf_swap", "avsf")):
        command = Finished.started[name]
        weights = command[command.index("MODEL.WEIGHTS") + 1]
        assert weights == str(tmp_path / start / "model_final.pth")
        assert ("--eval-only" in command) == (name != "graft")
    assert "MODEL.WEIGHTS" not in Finished.started["avsf"]
    assert summary == json.loads((tmp_path / "summary.json").read_text())
    assert summary["graft"].keys() == {"mAP", "AP_sound", "AP_rest"}
    header = next(x for x in capsys.readouterr().out.splitlines() if "AP on Mini-AVA" in x)
    titles = [run.title for run in mini_demo.RUNS.values()]
    assert [cell.strip() for cell in header.split("|")[2:-1]] == titles


def test_the_grafted_model_has_the_slowfasts_visual_part():
    slowfast, grafted = (
        load_config(f"configs/mini/{name}.yaml").MODEL
        for name in ("slowfast_mini", "avsf_mini_grafted")
    )
    assert grafted.SLOWFAST.FREEZE
    grafted.SLOWFAST.FREEZE = False
    assert grafted.SLOWFAST == slowfast.SLOWFAST
    assert grafted.AUDIO.LATERAL_GAIN
