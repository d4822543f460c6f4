"""What a fresh interpreter loads before it does anything: heavy modules only where needed."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
# torch and Detectron2 register models and data sets; these are for what may be done afterwards.
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


def test_scoring_needs_numpy_only():
    loaded = loaded_by("ava_tools/get_ava_performance.py")
    assert "numpy" in loaded
    assert not loaded & (OCCASIONAL | {"torch", "detectron2", "avsf_det", "cv2", "av"})


def test_the_main_command_loads_no_module_for_later():
    loaded = loaded_by("train_net.py")
    assert "avsf_det" in loaded
    assert not loaded & OCCASIONAL
