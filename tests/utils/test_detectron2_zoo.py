"""Detectron2's model zoo is imported with and without pkg_resources."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
# A None in sys.modules is how Python marks a module that cannot be imported. Each case runs in a
# fork of a process that has imported torch alone.
CODE = """
import multiprocessing, sys, torch, torchvision

def find_config(hidden):
    if hidden:
        sys.modules["pkg_resources"] = None
    from avsf_det.utils.detectron2_zoo import import_detectron2_model_zoo
    zoo = import_detectron2_model_zoo()
    assert sys.modules.get("pkg_resources") is None or not hidden
    print(zoo.get_config_file("Base-RCNN-FPN.yaml"), flush=True)

for hidden in (False, True):
    child = multiprocessing.get_context("fork").Process(target=find_config, args=(hidden,))
    child.start()
    child.join()
    assert child.exitcode == 0, hidden
"""


def test_configs_are_found_with_and_without_pkg_resources():
    done = subprocess.run(
        [sys.executable, "-c", CODE], cwd=ROOT, capture_output=True, text=True, check=True
    )
    paths = [Path(line) for line in done.stdout.split()[-2:]]
    assert len(paths) == 2
    assert all(path.is_file() and path.name == "Base-RCNN-FPN.yaml" for path in paths)
