"""Modules that a new interpreter loads on import: heavy ones only where needed."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.xdist_group("long")
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


def test_help_of_every_tool_shows_an_example_and_loads_neither_torch_nor_detectron2():
    """One process asks all tools for help, those that need the least first."""
    tools = [f"ava_tools/{path.name}" for path in (ROOT / "ava_tools").glob("[a-z]*.py")]
    code = (
        "import runpy, sys\n"
        "for script in sys.argv[1:]:\n"
        "    sys.argv = [script, '--help']\n"
        "    try: runpy.run_path(script, run_name='__main__')\n"
        "    except SystemExit as end: assert not end.code, script\n"
        "    else: assert False, script\n"
        "    print('LOADED', script, *sys.modules)"
    )
    scripts = ["ava_tools/get_ava_performance.py", "train_net.py", *sorted(tools)]
    done = subprocess.run(
        [sys.executable, "-c", code, *scripts], cwd=ROOT, capture_output=True, text=True, check=True
    )
    *texts, end = re.split(r"^LOADED (.*)\n", done.stdout, flags=re.M)
    helps, lines = texts[::2], [line.split() for line in texts[1::2]]
    loaded = {script: set(modules) for script, *modules in lines}
    assert loaded.keys() == set(scripts) and len(scripts) > 20 and not end
    for script, text in zip(scripts, helps, strict=True):
        assert Path(script).name in text.split("xample")[-1], script
    for script in scripts:
        assert not loaded[script] & (OCCASIONAL | {"torch", "detectron2", "av"}), script
    assert {"numpy", "pyarrow"} < loaded["ava_tools/get_ava_performance.py"]
    assert all("cv2" not in loaded[script] for script in scripts[:2])
    assert "avsf_det" in loaded["train_net.py"]


def find_configs(has_pkg_resources: bool) -> str:
    """Return code that finds a config of Detectron2's zoo, which would import pkg_resources."""
    # A None in sys.modules is how Python marks a module that cannot be imported.
    hide = "" if has_pkg_resources else "sys.modules['pkg_resources'] = None\n"
    return (
        f"import os, sys\n{hide}"
        "from avsf_det.utils.detectron2_zoo import import_detectron2_model_zoo\n"
        "path = import_detectron2_model_zoo().get_config_file('Base-RCNN-FPN.yaml')\n"
        "assert os.path.isfile(path) and path.endswith('/Base-RCNN-FPN.yaml')\n"
        f"assert {has_pkg_resources} or sys.modules.get('pkg_resources') is None\n"
    )


def test_imports_register_datasets_and_load_no_module_for_later(tmp_path: Path):
    """Detectron2 runs the module of its variable while it is imported, whoever imports it first.

    Detectron2's model zoo is imported with and without pkg_resources. Each code runs in a fork of a
    process that has imported torch alone.
    """
    module = tmp_path / "register.py"
    module.write_text(
        "from avsf_det.data import register_ava_csv\n"
        "def setup_environment():\n"
        "    register_ava_csv('mine', 'a.csv', {1: 'sit'}, 'videos')\n"
    )
    registered = (
        "from detectron2.data import DatasetCatalog\n"
        "assert {'mine', 'ava_mini_val'} <= set(DatasetCatalog.list())\n"
    )
    codes = [
        "from avsf_det import add_avsf_config\n"
        "from detectron2.modeling import META_ARCH_REGISTRY\n"
        f"assert 'ActionDetector' in META_ARCH_REGISTRY\n{registered}",
        f"from avsf_det.data.datasets.ava import load_ava_csv\n{registered}",
        f"import avsf_det.engine.train\n{registered}",
        "import avsf_det.data.checks, avsf_det.engine.launch, avsf_det.engine.trainer, sys\n"
        f"assert not {OCCASIONAL} & set(sys.modules)\n{registered}",
        find_configs(has_pkg_resources=True),
        find_configs(has_pkg_resources=False),
    ]
    fork = (
        "import multiprocessing, sys, torch, torchvision\n"
        "for code in sys.argv[1:]:\n"
        "    child = multiprocessing.get_context('fork').Process(target=exec, args=(code, {}))\n"
        "    child.start()\n"
        "    child.join()\n"
        "    assert child.exitcode == 0, code\n"
    )
    environment = {**os.environ, "DETECTRON2_ENV_MODULE": str(module), "PYTHONPATH": str(ROOT)}
    subprocess.run([sys.executable, "-c", fork, *codes], cwd=tmp_path, env=environment, check=True)
