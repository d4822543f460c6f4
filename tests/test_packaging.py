"""The wheel holds what it needs, installs away from the checkout, and trains and scores there."""

import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib  # pytest brings it along

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
BUILT_FROM = ("avsf_det", "ava_tools", "configs", "setup.py", "pyproject.toml", "MANIFEST.in")
FEW_STEPS = [
    *("--num-gpus", "0", "SOLVER.MAX_ITER", "2", "SOLVER.WARMUP_ITERS", "0"),
    *("SOLVER.IMS_PER_BATCH", "2", "DATALOADER.NUM_WORKERS", "1"),
]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    """Wheel, built without a network from a copy: a folder ``build`` may hold old files."""
    folder = tmp_path_factory.mktemp("wheel")
    for name in (*BUILT_FROM, "README.md", "LICENSE"):
        if (ROOT / name).is_dir():
            ignored = shutil.ignore_patterns("__pycache__")
            shutil.copytree(ROOT / name, folder / "source" / name, ignore=ignored)
        else:
            (folder / "source").mkdir(exist_ok=True)
            shutil.copy(ROOT / name, folder / "source")
    # As `pip wheel --no-build-isolation`, which starts a process for each step.
    build = "import sys; from setuptools import build_meta; build_meta.build_wheel(sys.argv[1])"
    command = [sys.executable, "-c", build, str(folder)]
    subprocess.run(command, cwd=folder / "source", check=True, capture_output=True)
    (path,) = folder.glob("*.whl")
    return path


def test_the_wheel_holds_code_configs_and_pages(wheel: Path):
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
    assert {name.split("/")[0] for name in names} == {"avsf_det", "ava_tools"}
    suffixes = {".py", ".html", ".css", ".js"}
    files = [path for top in ("avsf_det", "ava_tools") for path in (ROOT / top).rglob("*")]
    expected = {str(path.relative_to(ROOT)) for path in files if path.suffix in suffixes}
    configs = (ROOT / "configs").rglob("*.yaml")
    expected |= {f"avsf_det/model_zoo/{path.relative_to(ROOT)}" for path in configs}
    assert names == expected | {"avsf_det/py.typed"}


def test_oldest_versions_are_the_lower_bounds():
    """.ci/oldest.txt pins a release within each bound: the bound itself, or a patch of it."""
    pins = dict(re.findall(r"^([\w-]+)==(\S+)$", (ROOT / ".ci/oldest.txt").read_text(), re.M))
    bounds = PROJECT["dependencies"] + PROJECT["optional-dependencies"]["test"]
    bounds = dict(re.findall(r"^([\w-]+)>=([^,\s]+)", "\n".join(bounds), re.M))
    assert not pins.keys() - bounds.keys()
    for name, pin in pins.items():
        assert f"{pin}.".startswith(f"{bounds[name]}."), name
    assert {"torch", "torchvision", "torchaudio", "av", "numpy", "pyarrow"} <= pins.keys()


@pytest.mark.wheel
def test_an_empty_environment_trains_and_scores(wheel: Path, tmp_path: Path):
    """Every command is the installed one, in a folder that has nothing of the checkout."""
    subprocess.run([sys.executable, "-m", "venv", str(tmp_path / "env")], check=True)
    folder = tmp_path / "work"
    folder.mkdir()
    hidden = {"PYTHONPATH", "DETECTRON2_DATASETS", "VIRTUAL_ENV"}
    environment = {name: value for name, value in os.environ.items() if name not in hidden}

    def run(command: str, *arguments: str) -> str:
        program = str(tmp_path / "env/bin" / command)
        done = subprocess.run(
            [program, *arguments], cwd=folder, env=environment, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def find_config(name: str) -> str:
        code = f"from avsf_det import model_zoo; print(model_zoo.get_config_file({name!r}))"
        return run("python", "-c", code).split()[-1]

    run("pip", "install", "torch<2.15", str(wheel))
    run("avsf-install-detectron2")
    for command in PROJECT["scripts"]:
        run(command, "--help")
    assert str(tmp_path / "env") in find_config("AVA/avsf_r101_8x8.yaml")

    run("avsf-make-mini-dataset", "--num-train", "1", "--num-val", "1", "--workers", "1")
    run("avsf-train", "--config-file", find_config("mini/avsf_mini.yaml"), *FEW_STEPS)
    inference = next(folder.glob("output/**/inference"))
    results = json.loads((inference / "ava_results.json").read_text())
    mini = folder / "datasets/ava_mini/annotations"
    files = ["-l", mini / "ava_mini_action_list.pbtxt", "-g", mini / "ava_mini_val.csv"]
    files += ["-x", mini / "ava_mini_val_excluded_timestamps.csv"]
    files += ["-d", inference / "ava_predictions.csv", "--json"]
    scored = json.loads(run("avsf-evaluate", *map(str, files)))
    assert scored["per_class_by_name"] == pytest.approx(results["per_class_by_name"], nan_ok=True)
