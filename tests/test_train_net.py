"""Command line of train_net.py."""

import subprocess
import sys
from pathlib import Path

import pytest
from detectron2.engine import DefaultTrainer, default_argument_parser

from avsf_det.engine import train

ROOT = Path(__file__).resolve().parents[1]
CONFIG = str(ROOT / "configs" / "AVA" / "avsf_r50_4x16.yaml")


def build_cfg(tmp_path, *options):
    opts = ["OUTPUT_DIR", str(tmp_path), *options]
    return train.setup(default_argument_parser().parse_args(["--config-file", CONFIG, *opts]))


@pytest.mark.parametrize(
    "processes, batch, rate, steps", [(16, 256, 0.4, 52000), (8, 128, 0.2, 104000)]
)
def test_recipe_is_scaled_linearly_to_the_processes(tmp_path, processes, batch, rate, steps):
    cfg = DefaultTrainer.auto_scale_workers(build_cfg(tmp_path), processes)
    solver = cfg.SOLVER
    assert (solver.IMS_PER_BATCH, solver.BASE_LR, solver.MAX_ITER) == (batch, rate, steps)


def test_a_batch_size_given_by_hand_is_used_as_it_is(tmp_path):
    cfg = build_cfg(tmp_path, "SOLVER.IMS_PER_BATCH", "1", "SOLVER.MAX_ITER", "2")
    scaled = DefaultTrainer.auto_scale_workers(cfg, 1)
    assert (scaled.SOLVER.IMS_PER_BATCH, scaled.SOLVER.MAX_ITER) == (1, 2)
    assert scaled.SOLVER.BASE_LR == 0.4


def test_import_without_detectron2_says_what_to_run():
    code = (
        "from importlib.machinery import PathFinder as f; find = f.find_spec\n"
        "f.find_spec = lambda name, *a: None if name == 'detectron2' else find(name, *a)\n"
        "import avsf_det.structures.ava_csv, avsf_det.evaluation.ava_map\n"
        "import train_net"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == (
        "ImportError: avsf_det needs Detectron2, which is not installed; run: "
        "python ava_tools/install_detectron2.py"
    )
