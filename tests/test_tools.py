"""The command-line tools: help with an example, and the parts that a test can call."""

import hashlib
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest

from ava_tools import install_detectron2 as installer
from ava_tools import run_mini_demo as demo

ROOT = Path(__file__).resolve().parents[1]
TOOLS = sorted((ROOT / "ava_tools").glob("[a-z]*.py"))


@pytest.mark.parametrize("script", [*TOOLS, ROOT / "train_net.py"], ids=lambda p: p.name)
def test_help_shows_an_example(script):
    done = subprocess.run(
        [sys.executable, str(script), "--help"], capture_output=True, text=True, check=True
    )
    assert script.name in done.stdout.split("xample")[-1]


def test_every_tool_is_in_the_readme():
    listed = (ROOT / "ava_tools" / "README.md").read_text()
    assert [tool.name for tool in TOOLS if f"`{tool.name}`" not in listed] == []


def sources() -> dict[str, bytes]:
    path, old, _ = installer.PATCHES[0]
    return {path: f"def f(self, {old}): pass".encode(), "detectron2/__init__.py": b""}


def test_patches_apply_once_or_stop():
    files = sources()
    installer.apply_patches(files)
    assert b"Image.BILINEAR" in files[installer.PATCHES[0][0]]
    with pytest.raises(SystemExit, match="matches 0 times"):
        installer.apply_patches(files)
    twice = sources()
    twice[installer.PATCHES[0][0]] *= 2
    with pytest.raises(SystemExit, match="matches 2 times"):
        installer.apply_patches(twice)
    with pytest.raises(SystemExit, match="exists already"):
        installer.apply_patches({**sources(), installer.C_STUB_PATH: b""})


def test_wheel_holds_patched_files_and_their_digests(tmp_path, monkeypatch):
    monkeypatch.setattr(installer, "read_sources", lambda sdist: sources())
    wheel = installer.build_wheel(tmp_path / "sdist.tar.gz", tmp_path)
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        record = archive.read(f"{installer.DIST_INFO}/RECORD").decode()
        stub = archive.read(installer.C_STUB_PATH).decode()
    assert {"detectron2/__init__.py", f"{installer.DIST_INFO}/METADATA"} <= set(names)
    assert all(name in record for name in names)
    namespace = {}
    exec(stub, namespace)
    with pytest.raises(RuntimeError, match="nms_rotated"):
        namespace["__getattr__"]("nms_rotated")


def test_a_download_with_another_digest_is_refused(tmp_path, monkeypatch):
    (tmp_path / "x.tar.gz").write_bytes(b"something else")
    answer = subprocess.CompletedProcess([], 0, '{"local_path": "x.tar.gz"}')
    monkeypatch.setattr(installer.subprocess, "run", lambda *args, **kwargs: answer)
    with pytest.raises(SystemExit, match=hashlib.sha256(b"something else").hexdigest()):
        installer.fetch_sdist(tmp_path)


def test_summary_separates_sound_from_the_rest():
    ap = dict.fromkeys(("stand", "walk", "jump", "crouch", "wave"), 0.9)
    ap |= {"sing": 0.2, "talk": 0.4, "hit": 0.6, "push": 0.8}
    summary = demo.summarize(ap)
    assert summary == pytest.approx({"mAP": 6.5 / 9, "AP_sound": 0.5, "AP_rest": 0.9})


def test_predictions_are_grouped_by_keyframe_and_box(tmp_path):
    path = tmp_path / "p.csv"
    path.write_text("a,0002,0,0,0.5,1,1,0.25\na,0002,0,0,0.5,1,3,0.75\na,0002,0.5,0,1,1,1,0.5\n")
    (array,) = demo.read_predictions(path, 3).values()
    np.testing.assert_array_equal(array, [[0, 0, 0.5, 1, 0.25, 0, 0.75], [0.5, 0, 1, 1, 0.5, 0, 0]])
