"""Command line of train_net.py."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from detectron2.engine import DefaultTrainer

from avsf_det.engine import train
from avsf_det.engine.defaults import load_config

ROOT = Path(__file__).resolve().parents[1]
CONFIG = str(ROOT / "configs" / "AVA" / "avsf_r50_4x16.yaml")


def build_cfg(tmp_path, *options):
    opts = ["OUTPUT_DIR", str(tmp_path), *options]
    return train.setup(train.build_parser().parse_args(["--config-file", CONFIG, *opts]))


@pytest.mark.parametrize(
    "processes, batch, rate, steps", [(128, 256, 0.4, 52000), (8, 16, 0.025, 832000)]
)
def test_recipe_is_scaled_linearly_to_the_processes(tmp_path, processes, batch, rate, steps):
    cfg = DefaultTrainer.auto_scale_workers(build_cfg(tmp_path), processes)
    solver = cfg.SOLVER
    assert (solver.IMS_PER_BATCH, solver.BASE_LR, solver.MAX_ITER) == (batch, rate, steps)


def test_a_config_may_be_a_name_in_the_zoo(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    arguments = ["--config-file", "AVA/avsf_r50_4x16.yaml", "OUTPUT_DIR", "x"]
    cfg = train.setup(train.build_parser().parse_args(arguments))
    assert cfg == build_cfg(tmp_path / "x", "OUTPUT_DIR", "x")
    assert (tmp_path / "x" / "config.yaml").is_file()


def test_a_batch_size_given_by_hand_is_used_as_it_is(tmp_path):
    cfg = build_cfg(tmp_path, "SOLVER.IMS_PER_BATCH", "1", "SOLVER.MAX_ITER", "2")
    scaled = DefaultTrainer.auto_scale_workers(cfg, 1)
    assert (scaled.SOLVER.IMS_PER_BATCH, scaled.SOLVER.MAX_ITER) == (1, 2)
    assert scaled.SOLVER.BASE_LR == 0.4


@pytest.mark.parametrize(
    "arguments",
    [
        ["--config-file", CONFIG, "OUTPUT_DIR", "x", "--resume", "--num-gpus", "2", "SEED", "-1"],
        ["OUTPUT_DIR=x", "--num-gpus", "2", "--resume", "SEED=-1", "--config-file", CONFIG],
        ["--resume", "OUTPUT_DIR", "x", "--num-gpus=2", f"--config-file={CONFIG}", "SEED", "-1"],
    ],
)
def test_options_may_stand_anywhere(monkeypatch, arguments):
    seen = []
    monkeypatch.setattr(train, "run", seen.append)
    assert train.main(arguments) == 0
    args = seen[0]
    assert (args.num_gpus, args.resume) == (2, True)
    assert load_config(options=args.opts).SEED == -1
    assert load_config(options=args.opts).OUTPUT_DIR == "x"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--num-gpus", "2"], "2 processes on this machine need 2 GPUs; it has 0"),
        (["--num-gpus", "-1"], "must be at least 0, got -1"),
        (["--num-gpus", "two"], "invalid whole number value: 'two'"),
        (["DATASETS.TRAIN", "()"], "DATASETS.TRAIN is empty; registered are"),
        (["DATASETS.TEST", "('ava_mini_vall',)"], "no dataset is registered as 'ava_mini_vall'; "),
        (["DATASETS.TRAIN", "('ava_mini_trian',)"], "registered are ava_mini_train, "),
        (
            ["DATASETS.TRAIN", "('mine',)"],
            "DATASETS.OWN, or register them in $DETECTRON2_ENV_MODULE",
        ),
        (
            ["SOLVER.MAX_ITERS", "4"],
            "no config key 'SOLVER.MAX_ITERS'; the nearest is SOLVER.MAX_ITER",
        ),
        (["--resume", "--overwrite"], "--overwrite: not allowed with argument --resume"),
        (["SOLVER.IMS_PER_BATCH=0"], "SOLVER.IMS_PER_BATCH is 0"),
    ],
)
def test_a_training_that_cannot_be_is_one_line(monkeypatch, tmp_path, capsys, arguments, message):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.chdir(tmp_path)
    try:
        code = train.main(["--config-file", CONFIG, *arguments])
    except SystemExit as end:
        code = end.code
    error = capsys.readouterr().err
    assert code in (1, 2) and message in error
    assert error.count("\n") == 1 and len(error) <= 300
    assert [*tmp_path.iterdir()] == []


def test_import_without_detectron2_says_what_to_run():
    code = (
        "import sys; from importlib.machinery import PathFinder as f; find = f.find_spec\n"
        "f.find_spec = lambda name, *a: None if name == 'detectron2' else find(name, *a)\n"
        "import avsf_det.structures.ava_csv, avsf_det.evaluation.ava_map\n"
        "import train_net\n"
        "sys.exit(train_net.main(['--config-file', 'none.yaml']))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert done.stderr == (
        "error: avsf_det needs Detectron2, which is not installed; run: "
        "python ava_tools/install_detectron2.py\n"
    )
