"""The installer patches what it knows, and installs nothing else."""

import io
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from ava_tools import install_detectron2 as installer


def make_sources() -> dict[str, bytes]:
    """Files in which each patch matches once."""
    files = {"detectron2/__init__.py": b""}
    for path, old, _ in installer.PATCHES:
        files[path] = files.get(path, b"") + f"{old}\n".encode()
    return files


def test_patches_apply_once_or_stop():
    files = make_sources()
    patched = installer.patch_sources(files)
    assert files == make_sources()
    assert b"Image.BILINEAR" in patched["detectron2/data/transforms/transform.py"]
    assert b"pkg_resources" not in patched["detectron2/model_zoo/model_zoo.py"]
    with pytest.raises(SystemExit, match="matches 0 times"):
        installer.patch_sources(patched)
    twice = make_sources()
    twice[installer.PATCHES[0][0]] *= 2
    with pytest.raises(SystemExit, match="matches 2 times"):
        installer.patch_sources(twice)
    with pytest.raises(SystemExit, match="exists already"):
        installer.patch_sources({**files, installer.C_STUB_PATH: b""})


def test_files_of_the_sdist_and_their_places(tmp_path: Path):
    sdist = tmp_path / "x.tar.gz"
    names = {
        "x-0.6/detectron2/__init__.py": "detectron2/__init__.py",
        "x-0.6/projects/DeepLab/deeplab/loss.py": "detectron2/projects/deeplab/loss.py",
        "x-0.6/LICENSE": "LICENSE",
        "x-0.6/setup.py": None,
        "x-0.6/projects/DeepLab/train_net.py": None,
    }
    with tarfile.open(sdist, "w:gz") as archive:
        for name in names:
            member = tarfile.TarInfo(name)
            member.size = len(name)
            archive.addfile(member, io.BytesIO(name.encode()))
    expected = {target: name.encode() for name, target in names.items() if target}
    assert installer.read_sources(sdist) == expected


def test_the_stub_imports_and_raises_when_used():
    namespace = {}
    exec(installer.C_STUB, namespace)
    assert not namespace["has_cuda"]()
    with pytest.raises(RuntimeError, match="nms_rotated"):
        namespace["__getattr__"]("nms_rotated")


def test_pip_downloads_the_verified_file_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    commands = []

    def run(command: list[str]) -> subprocess.CompletedProcess:
        commands.append(command)
        (tmp_path / "x.tar.gz").touch()
        return subprocess.CompletedProcess(command, 0)

    monkeypatch.setattr(installer.subprocess, "run", run)
    assert installer.download_sdist(tmp_path) == tmp_path / "x.tar.gz"
    assert commands[0][:4] == [sys.executable, "-m", "pip", "download"]
    assert "--require-hashes" in commands[0]
    assert "--hash=sha256:5d2e9e51" in (tmp_path / "requirements.txt").read_text()


def test_a_failure_of_pip_names_another_way(monkeypatch: pytest.MonkeyPatch):
    failed = subprocess.CompletedProcess([], 1)
    monkeypatch.setattr(installer.subprocess, "run", lambda command: failed)
    with pytest.raises(SystemExit, match=r"docs/install\.md"):
        installer.run_pip("download")


def test_an_installed_detectron2_is_kept(capsys: pytest.CaptureFixture):
    assert installer.main([]) == 0
    assert "is installed: kept" in capsys.readouterr().out
