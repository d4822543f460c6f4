"""Detectron2's model zoo is imported with and without pkg_resources."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
# A None in sys.modules is how Python marks a module that cannot be imported.
CODE = """
import sys
if {hidden}:
    sys.modules["pkg_resources"] = None
from avsf_det.utils.detectron2_zoo import import_detectron2_model_zoo
zoo = import_detectron2_model_zoo()
assert sys.modules.get("pkg_resources") is None or not {hidden}
print(zoo.get_config_file("Base-RCNN-FPN.yaml"))
"""


@pytest.mark.parametrize("hidden", [False, True])
def test_configs_are_found(hidden: bool):
    done = subprocess.run(
        [sys.executable, "-c", CODE.format(hidden=hidden)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    path = Path(done.stdout.split()[-1])
    assert path.is_file() and path.name == "Base-RCNN-FPN.yaml"
