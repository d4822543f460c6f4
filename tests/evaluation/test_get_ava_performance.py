import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TOOL = ROOT / "ava_tools" / "get_ava_performance.py"


@pytest.fixture
def files(tmp_path: Path) -> list[str]:
    texts = {
        "-l": ("map.pbtxt", 'item {\n name: "sit"\n id: 1\n}\nitem {\n name: "talk"\n id: 3\n}\n'),
        "-g": ("gt.csv", "v,0902,.1,.1,.5,.5,1,0\nv,0903,.1,.1,.5,.5,3,0\nw,0902,0,0,1,1,3,0\n"),
        "-d": ("det.csv", "v,902,.1,.1,.5,.5,1,.9\nv,903,.1,.1,.5,.5,3,.9\nv,905,0,0,1,1,1,.95\n"),
        "-x": ("excluded.csv", "w,902\n"),
    }
    args = []
    for option, (name, text) in texts.items():
        (tmp_path / name).write_text(text)
        args += [option, str(tmp_path / name)]
    return args


def run(*args: str, cwd: Path) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, str(TOOL), *args], cwd=cwd, capture_output=True, text=True
    )


def test_table_and_json(files: list[str], tmp_path: Path) -> None:
    done = run(*files, cwd=tmp_path)
    assert done.returncode == 0 and done.stderr == ""
    # "sit" has a detection on an unknown keyframe above the right one; "talk" is right.
    assert "mAP@0.5 of 2 classes with ground truth, of 2: 0.750000" in done.stdout
    assert "excluded keyframes: 1" in done.stdout
    line = json.loads(run(*files, "--json", cwd=tmp_path).stdout)
    assert line["per_class"] == {"1": 0.5, "3": 1} and line["mAP"] == 0.75
    assert line["per_class_by_name"] == {"sit": 0.5, "talk": 1}
    assert line["protocol"] == "default" and line["counts"]["matched_boxes"] == 2
    line = json.loads(run(*files, "--json", "--protocol", "activitynet", cwd=tmp_path).stdout)
    assert line["per_class"] == {"1": 1, "3": 0.5}


def test_errors_are_one_line(files: list[str], tmp_path: Path) -> None:
    Path(files[5]).write_text("v,902,.1,.1,.5\n")
    done = run(*files, cwd=tmp_path)
    assert done.returncode == 1 and done.stdout == ""
    assert done.stderr.count("\n") == 1 and "det.csv:1: 5 columns" in done.stderr
    assert run("-l", "x", cwd=tmp_path).returncode == 2


def test_needs_neither_torch_nor_detectron2(files: list[str], tmp_path: Path) -> None:
    code = (
        "import runpy, sys\n"
        f"sys.argv = ['tool', *{files!r}]\n"
        "try:\n"
        f"    runpy.run_path({str(TOOL)!r}, run_name='__main__')\n"
        "except SystemExit as end:\n"
        "    assert end.code == 0\n"
        "assert not {'torch', 'detectron2', 'avsf_det'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True, capture_output=True)


def test_evaluation_file_stands_alone(files: list[str], tmp_path: Path) -> None:
    shutil.copy(ROOT / "avsf_det" / "evaluation" / "ava_map.py", tmp_path)
    label_map, ground_truth, detections = files[1], files[3], files[5]
    code = (
        "import ava_map as a; print(a.evaluate_ava_files("
        f"a.read_label_map({label_map!r}), {ground_truth!r}, {detections!r}).mean_ap)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, check=True, capture_output=True, text=True
    )
    assert float(done.stdout) == 0.5  # 0.5 and 0.5: nothing is excluded here


def test_help_shows_an_example(tmp_path: Path) -> None:
    done = run("--help", cwd=tmp_path)
    assert done.returncode == 0 and "example:" in done.stdout
