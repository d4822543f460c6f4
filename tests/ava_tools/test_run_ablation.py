"""The ablation tool: the runs that it starts and keeps, and the figures in its table."""

import json
import os
import re
import statistics
import subprocess
from pathlib import Path
from types import SimpleNamespace
from typing import IO

import numpy as np
import pytest
from detectron2.config import get_cfg
from detectron2.modeling import build_backbone

from ava_tools import run_ablation as tool
from ava_tools.experiments import ablation, training_runs
from ava_tools.measurement.analysis import build_without_data
from avsf_det import add_avsf_config
from avsf_det.engine.defaults import load_config
from avsf_det.evaluation import ClipScores, write_scores

from ..commands import run_script
from ..media import tone, write_video

pytestmark = pytest.mark.xdist_group("commands")
ROOT = Path(__file__).resolve().parents[2]
CONFIG = str(ROOT / "configs" / "mini" / "avsf_kinetics_mini.yaml")
NAMES = ["wave", "sing", "talk"]
LABELS = np.array([0, 0, 0, 1, 1, 2, 2, 2])
# Probability of the right class of each clip, by what is trained; the rest is the next class's.
RIGHT = {
    "build_slowfast_backbone": [0.9, 0.9, 0.9, 0.4, 0.4, 0.4, 0.4, 0.4],
    "build_audio_backbone": [0.4, 0.4, 0.4, 0.9, 0.9, 0.9, 0.9, 0.55],
}


class ServedTraining:
    """Replaces subprocess.Popen: runs the command to its end, without the time of imports."""

    def __init__(self, command: list, stdout: IO[str], **_) -> None:
        script = str(Path(command[1]).relative_to(ROOT))
        arguments = map(str, command[2:])
        done = run_script(script, *arguments, environment=os.environ, few_blocks=True)
        stdout.write(done.stdout + done.stderr)
        self.returncode = done.returncode

    def poll(self) -> int:
        return self.returncode


class FakeTraining:
    """Replaces subprocess.Popen: writes the files of train_net.py and records its command lines."""

    commands: list[list[str]]  # of one test
    returncode = 0

    def __init__(self, command: list, **_) -> None:
        command = [str(part) for part in command]
        self.commands.append(command)
        options = dict(zip(command[5::2], command[6::2], strict=True))
        folder = Path(options["OUTPUT_DIR"])
        row = {"iteration": 19, "total_loss": 1.0, "eta_seconds": 0.0}
        (folder / "metrics.json").write_text(f'{json.dumps(row)}\n{{"action/top1": 50}}\n')
        seed = int(options["SEED"])
        if "ssl" in command[4]:
            found = {"sync/all_easy": 80 + seed, "sync/all_hard": 60, "sync/clips": 9}
            with open(folder / "metrics.json", "a") as file:
                file.write(f'{json.dumps(found)}\n{{"sync/all_ea')
            return
        (folder / "inference").mkdir()
        self.write(folder, options.get("MODEL.BACKBONE.NAME", "build_slowfast_backbone"), seed)

    def write(self, folder: Path, backbone: str, seed: int) -> None:
        right = np.array(RIGHT[backbone])
        right[:seed] = 0.0  # seed 1 gets the first clip wrong, seed 2 the first two
        scores = np.zeros((len(LABELS), len(NAMES)), np.float32)
        rows = np.arange(len(LABELS))
        scores[rows, LABELS], scores[rows, (LABELS + 1) % len(NAMES)] = right, 1 - right
        clips = [f"clip{row}" for row in rows]
        made = ClipScores("", clips, {"action": scores}, {"action": LABELS}, {"action": NAMES})
        write_scores(made, str(folder / "inference" / "scores.npz"))

    def poll(self) -> int:
        return self.returncode


@pytest.fixture
def commands(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    monkeypatch.setattr(FakeTraining, "commands", [], raising=False)
    monkeypatch.setattr(training_runs.subprocess, "Popen", FakeTraining)
    return FakeTraining.commands


def call(output: Path, name: str, *arguments: str) -> int:
    return tool.main([name, "--config-file", CONFIG, "--output", str(output), *arguments])


def run(output: Path, *arguments: str) -> dict:
    assert call(output, *arguments) == 0
    return json.loads((output / arguments[0] / "table.json").read_text())


def figures(result: dict, measure: str) -> dict[str, list[float]]:
    """Variant -> mean, spread and the figure of each seed."""
    return {
        row["variant"]: list(row.values())[2:]
        for row in result["rows"]
        if row["percent"] == measure
    }


def test_table_has_every_seed_mean_and_spread(tmp_path, commands, capsys, monkeypatch):
    parts = {name: ablation.ABLATIONS["fusion"][0][name] for name in ("slowfast", "audio")}
    monkeypatch.setitem(ablation.ABLATIONS, "fusion", (parts, {"late": ("slowfast", "audio")}))
    result = run(tmp_path, "fusion", "--seeds", "1", "2", "--classes", "sing", "talk")
    assert len(commands) == 4
    # SlowFast is right on clips 0-2 and Audio on 3-7, less the first of each seed. Fused, a clip
    # is right where its two probabilities sum to more than 1: 0-6, not 7 (0.95).
    everything = figures(result, "action top1, all clips")
    assert everything["slowfast"] == [18.75, statistics.stdev([25, 12.5]), 25, 12.5]
    assert everything["audio"] == [62.5, 0, 62.5, 62.5]
    assert everything["late"] == [68.75, statistics.stdev([75, 62.5]), 75, 62.5]
    audio_classes = figures(result, "action top1, clips of sing, talk")
    assert audio_classes == {
        "slowfast": [0, 0, 0, 0],
        "audio": [100, 0, 100, 100],
        "late": [80, 0] + [80] * 2,
    }
    assert result["iterations"] == [20]
    assert result["dataset"] == "kinetics_mini_val (generated data)"
    printed = capsys.readouterr().out
    assert (tmp_path / "fusion" / "table.md").read_text() in printed
    cells = [[cell.strip() for cell in line.split("|")[2:-1]] for line in printed.splitlines()]
    assert ["late", "68.75", "8.84", "75.00", "62.50"] in cells
    assert "MODEL.BACKBONE.NAME build_audio_backbone INPUT.FRAMES False" in printed
    assert "- late: mean scores of slowfast, audio" in printed


def test_one_seed_has_no_spread(tmp_path, commands):
    result = run(tmp_path, "drop_pathway", "--seeds", "2")
    assert figures(result, "action top1, all clips")["drop_0.8"] == [12.5, None, 12.5]


def test_variant_and_seed_come_after_the_users_options(tmp_path, commands):
    run(tmp_path, "drop_pathway", "--seeds", "7", "--opts", "MODEL.AUDIO.DROP_PATHWAY", "0.1")
    assert [command[1:] for command in commands] == [
        [
            *(str(ROOT / "train_net.py"), "--resume", "--config-file", CONFIG),
            *("MODEL.AUDIO.DROP_PATHWAY", "0.1", "MODEL.AUDIO.DROP_PATHWAY", rate),
            *("SEED", "7", "OUTPUT_DIR", str(tmp_path / "drop_pathway" / f"drop_{rate}_seed7")),
        ]
        for rate in ("0.8", "0.5", "0.2", "0.0")
    ]


def test_pretraining_is_compared_by_its_evaluation(tmp_path, commands):
    config = CONFIG.replace("kinetics", "ssl")
    result = run(tmp_path, "curriculum", "--config-file", config, "--seeds", "1", "3")
    for variant in ("easy_first", "mixed"):
        assert figures(result, "sync/all_easy")[variant] == [82, statistics.stdev([81, 83]), 81, 83]
        assert figures(result, "sync/all_hard")[variant] == [60, 0, 60, 60]
    assert len(result["rows"]) == 4
    assert ["MODEL.AVSYNC.HARD_AFTER" in command for command in commands] == [False, True] * 2


def test_finished_runs_are_kept_and_others_continued(tmp_path, commands, monkeypatch, capsys):
    monkeypatch.setattr(FakeTraining, "returncode", 1)
    assert call(tmp_path, "drop_pathway", "--seeds", "1") == 1
    error = capsys.readouterr().err
    assert re.fullmatch(r"error: drop_0.8_seed1 failed; see .*drop_0.8_seed1.log\n", error)
    monkeypatch.setattr(FakeTraining, "returncode", 0)
    (tmp_path / "drop_pathway" / "drop_0.8_seed1" / "inference" / "scores.npz").unlink()
    (tmp_path / "drop_pathway" / "drop_0.8_seed1" / "inference").rmdir()
    first = run(tmp_path, "drop_pathway", "--seeds", "1")
    assert len(commands) == 1 + 4
    assert run(tmp_path, "drop_pathway", "--seeds", "1") == first
    assert len(commands) == 1 + 4
    run(tmp_path, "drop_pathway", "--seeds", "2", "1")
    assert len(commands) == 1 + 4 + 4


def test_a_folder_of_other_options_is_refused(tmp_path, commands, capsys):
    run(tmp_path, "drop_pathway", "--seeds", "1")
    assert call(tmp_path, "drop_pathway", "--seeds", "1", "--opts", "SOLVER.MAX_ITER", "9") == 1
    assert "other arguments: give another --output" in capsys.readouterr().err
    assert len(commands) == 4


def built(options: tuple[str, ...]) -> tuple[set[str], set[str], float]:
    """Pathways, stages of audio fusion, and DropPathway's probability."""
    cfg = get_cfg()
    add_avsf_config(cfg)
    cfg.merge_from_file(CONFIG)
    cfg.merge_from_list(["MODEL.SLOWFAST.WIDTH", 8, "MODEL.AUDIO.FUSION_WIDTH", 4, *options])
    names = {name.split(".")[0] for name in build_backbone(cfg).state_dict()}
    return names, set(cfg.MODEL.AUDIO.FUSION_STAGES), cfg.MODEL.AUDIO.DROP_PATHWAY


def test_variants_are_the_models_of_their_names():
    fusion, _ = ablation.ABLATIONS["fusion"]
    hierarchical = {"slow", "fast", "f2s", "audio", "a2fs"}
    assert built(fusion["hierarchical"])[:2] == (hierarchical, {"res3", "res4", "pool5"})
    assert built(fusion["pool5"])[:2] == (hierarchical - {"a2fs", "f2s"}, {"pool5"})
    assert built(fusion["slowfast"])[0] == {"slow", "fast", "f2s"}
    assert built(fusion["audio"])[0] == {"audio"}
    rates = [built(options)[2] for options in ablation.ABLATIONS["drop_pathway"][0].values()]
    assert rates == [0.8, 0.5, 0.2, 0.0]
    for options in ablation.ABLATIONS["connection"][0].values():
        assert built(options)[0] == hierarchical
    levels = [["res5"], ["res4", "res5"], ["res3", "res4", "res5"]]
    for name, section, key, values in (
        ("avs", "AVSYNC", "ENABLED", [True, False]),
        ("avs_levels", "AVSYNC", "LEVELS", levels),
        ("audio_width", "AUDIO", "BETA_INV", [8, 4, 2, 1]),
        ("connection", "AUDIO", "FUSION_TYPE", ["a_f_s", "a_fs", "av_nonlocal"]),
        ("curriculum", "AVSYNC", "HARD_AFTER", [0.4, 0.0]),
        ("graft", "AUDIO", "LATERAL_GAIN", [True, False, False]),
    ):
        found = []
        for options in ablation.ABLATIONS[name][0].values():
            cfg = get_cfg()
            add_avsf_config(cfg)
            cfg.merge_from_file(CONFIG.replace("kinetics", "ssl"))
            cfg.merge_from_list(list(options))
            found.append(cfg.MODEL[section][key])
        assert found == values
    misaligned = [
        (dict(zip(options[::2], options[1::2], strict=True)), built(options)[0])
        for options in ablation.ABLATIONS["misalignment"][0].values()
    ]
    assert [(x["MODEL.AUDIO.FUSION_TYPE"], x["INPUT.AUDIO.OFFSET_SEC"]) for x, _ in misaligned] == [
        (connection, seconds)
        for seconds in ("0.0", "0.5", "1.0")
        for connection in ("a_fs", "a_f_s")
    ]
    assert all(pathways == hierarchical for _, pathways in misaligned)


@pytest.mark.parametrize("variant", ablation.ABLATIONS["fusion"][0])
def test_fusion_varies_the_recipe_of_the_paper(variant):
    """It has the synchronisation loss, which models of one modality cannot have."""
    options = (*ablation.ABLATIONS["fusion"][0][variant], "MODEL.SLOWFAST.WIDTH", "8")
    cfg = load_config(str(ROOT / "configs" / "Kinetics" / "avsf_r50_4x16.yaml"), options)
    has_both = variant in ("hierarchical", "pool5")
    assert (build_without_data(cfg).avsync_head is not None) == has_both
    assert cfg.INPUT.AUDIO.NEGATIVES == has_both


def write_clips(folder: Path) -> None:
    """Two clips, each of a class of its own, to train on and to test."""
    header = "label,youtube_id,time_start,time_end,split"
    for split in ("train", "val"):
        rows = [f"{name},{name * 11},0,2,{split}" for name in "ab"]
        (folder / "annotations").mkdir(parents=True, exist_ok=True)
        (folder / "annotations" / f"{split}.csv").write_text("\n".join([header, *rows, ""]))
        (folder / "videos" / split).mkdir(parents=True)
        for name in "ab":
            path = folder / "videos" / split / f"{name * 11}_000000_000002.mp4"
            write_video(path, num_frames=75, sound=tone(440, 2.5, 48000))


@pytest.fixture
def served(tmp_path, monkeypatch) -> None:
    served = SimpleNamespace(Popen=ServedTraining, STDOUT=subprocess.STDOUT)
    monkeypatch.setattr(training_runs, "subprocess", served)
    monkeypatch.setenv("DETECTRON2_DATASETS", str(tmp_path))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")


def test_trains_for_real(tmp_path, monkeypatch, served):
    """Two iterations of the Audio pathway."""
    write_clips(tmp_path / "kinetics_mini")
    audio = {"audio": ablation.ABLATIONS["fusion"][0]["audio"]}
    monkeypatch.setitem(ablation.ABLATIONS, "drop_pathway", (audio, {}))
    options = ("SOLVER.MAX_ITER", "2", "SOLVER.IMS_PER_BATCH", "2", "DATALOADER.NUM_WORKERS", "0")
    result = run(tmp_path, "drop_pathway", "--seeds", "1", "--opts", *options)
    (row,) = result["rows"]
    assert row["seed 1"] in (0, 50, 100)
    assert result["iterations"] == [2]


def test_pretrains_for_real(tmp_path, monkeypatch, served):
    """Training and evaluation write into one metrics file."""
    write_clips(tmp_path / "places_mini")
    monkeypatch.setitem(ablation.ABLATIONS, "curriculum", ({"easy_first": ()}, {}))
    options = ("SOLVER.MAX_ITER", "2", "SOLVER.IMS_PER_BATCH", "2", "DATALOADER.NUM_WORKERS", "0")
    width = ("MODEL.SLOWFAST.WIDTH", "8", "TEST.PRECISE_BN.NUM_ITER", "2")
    config = CONFIG.replace("kinetics", "ssl")
    result = run(
        tmp_path, "curriculum", "--config-file", config, "--seeds", "1", "--opts", *options, *width
    )
    rows = {row["percent"]: row["seed 1"] for row in result["rows"]}
    assert 0 <= rows["rotation/accuracy"] <= 100
