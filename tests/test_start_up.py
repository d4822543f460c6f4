"""Modules that a new interpreter loads on import: heavy ones only where needed."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
# torch and Detectron2 register models and datasets; these are for what may be done afterwards.
OCCASIONAL = {
    "jinja2",
    "matplotlib",
    "onnx",
    "openvino",
    "pandas",
    "scipy",
    "sklearn",
    "tensorboard",
}


def loaded_by(script: str) -> set[str]:
    """Modules after ``script --help``."""
    code = (
        "import runpy, sys\n"
        "sys.argv = [sys.argv[1], '--help']\n"
        "try: runpy.run_path(sys.argv[0], run_name='__main__')\n"
        "except SystemExit as end: assert not end.code\n"
        "print('LOADED', *sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(ROOT / script)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    return set(done.stdout.rpartition("LOADED")[2].split())


def test_scoring_needs_numpy_and_pyarrow_only():
    loaded = loaded_by("ava_tools/get_ava_performance.py")
    assert {"numpy", "pyarrow"} < loaded
    assert not loaded & (OCCASIONAL | {"torch", "detectron2", "cv2", "av"})


def test_the_main_command_loads_no_module_for_later():
    loaded = loaded_by("train_net.py")
    assert "avsf_det" in loaded
    assert not loaded & OCCASIONAL


@pytest.mark.parametrize(
    "first_import",
    [
        "from avsf_det import add_avsf_config",
        "from avsf_det.data.datasets.ava import load_ava_csv",
        "import avsf_det.engine.train",
    ],
)
def test_module_of_detectron2s_variable_registers_datasets(tmp_path: Path, first_import: str):
    """Detectron2 runs that module while it is imported, whoever imports it first."""
    module = tmp_path / "register.py"
    module.write_text(
        "from avsf_det.data import register_ava_csv\n"
        "def setup_environment():\n"
        "    register_ava_csv('mine', 'a.csv', {1: 'sit'}, 'videos')\n"
    )
    code = (
        f"{first_import}\n"
        "from detectron2.data import DatasetCatalog\n"
        "assert {'mine', 'ava_mini_val'} <= set(DatasetCatalog.list())\n"
    )
    environment = {**os.environ, "DETECTRON2_ENV_MODULE": str(module), "PYTHONPATH": str(ROOT)}
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=environment, check=True)


def test_the_config_function_registers_models_and_datasets():
    code = (
        "from avsf_det import add_avsf_config\n"
        "from detectron2.data import DatasetCatalog\n"
        "from detectron2.modeling import META_ARCH_REGISTRY\n"
        "assert 'ActionDetector' in META_ARCH_REGISTRY\n"
        "assert 'ava_mini_val' in DatasetCatalog.list()"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)
