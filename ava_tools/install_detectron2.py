#!/usr/bin/env python
"""Install Detectron2 0.6 as a pure-Python package, or keep the one that is already there.

Detectron2 is not on the package index under its own name. The index's sdist ``pb1-detectron2==0.6``
holds the Python files of upstream v0.6, without the C++ sources. This script fetches it, verifies
it, applies two patches and installs it as a wheel named ``detectron2``:

1. ``PIL.Image.LINEAR``, which Pillow 10 removed, becomes ``Image.BILINEAR`` (the same filter).
2. ``detectron2/_C.py`` stands in for the compiled extension: importing it works, using it raises.
   So rotated boxes, deformable convolution and the C++ COCO evaluation are not available.

Example: python ava_tools/install_detectron2.py
"""

import argparse
import hashlib
import json
import os
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

REQUIREMENT = "pb1-detectron2==0.6"
SHA256 = "5d2e9e51e523ec72f6a31cca04b0a515492e9514b773a3d134cedc0677170b29"
WHEEL_NAME = "detectron2-0.6+pure-py3-none-any.whl"
DIST_INFO = "detectron2-0.6+pure.dist-info"

# (file, text that must occur exactly once, what replaces it)
PATCHES = [
    (
        "detectron2/data/transforms/transform.py",
        "output_size, interp=Image.LINEAR, fill=0",
        "output_size, interp=Image.BILINEAR, fill=0",
    ),
]
# A file that must not exist yet, and its content.
C_STUB_PATH = "detectron2/_C.py"
C_STUB = '''\
"""Stands in for Detectron2's compiled extension, which this installation does not have."""


def get_compiler_version():
    return "not compiled (pure-Python installation)"


def get_cuda_version():
    return "not compiled (pure-Python installation)"


def has_cuda():
    return False


def __getattr__(name):
    if name.startswith("__"):
        raise AttributeError(name)
    raise RuntimeError(
        f"detectron2._C.{name} needs Detectron2's compiled extension (rotated boxes, deformable "
        "convolution, C++ COCO evaluation). Build Detectron2 from source to use it: "
        "https://detectron2.readthedocs.io/en/latest/tutorials/install.html"
    )
'''

# Upstream's requirements, less the build-time and Caffe2-only ones and the upper bounds.
METADATA = """\
Metadata-Version: 2.1
Name: detectron2
Version: 0.6+pure
Summary: Detectron2 v0.6, Python files only, patched for current Pillow (see install_detectron2.py)
Home-page: https://github.com/facebookresearch/detectron2
License: Apache-2.0
Requires-Python: >=3.6
Requires-Dist: Pillow>=7.1
Requires-Dist: matplotlib
Requires-Dist: pycocotools>=2.0.2
Requires-Dist: termcolor>=1.1
Requires-Dist: yacs>=0.1.8
Requires-Dist: tabulate
Requires-Dist: cloudpickle
Requires-Dist: tqdm>4.29.0
Requires-Dist: tensorboard
Requires-Dist: fvcore>=0.1.5
Requires-Dist: iopath>=0.1.7
Requires-Dist: omegaconf>=2.1
Requires-Dist: hydra-core>=1.1
"""
WHEEL = (
    "Wheel-Version: 1.0\nGenerator: install_detectron2\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
)

# Small projects that upstream's setup.py installs below detectron2.projects.
PROJECTS = {
    "projects/PointRend/point_rend": "detectron2/projects/point_rend",
    "projects/DeepLab/deeplab": "detectron2/projects/deeplab",
    "projects/Panoptic-DeepLab/panoptic_deeplab": "detectron2/projects/panoptic_deeplab",
}


def installed_version() -> str | None:
    """The version of an importable Detectron2, or None. An installed one that fails raises."""
    found = subprocess.run(
        [sys.executable, "-c", "import detectron2; print(detectron2.__version__)"],
        capture_output=True,
        text=True,
        check=False,
    )
    if found.returncode == 0:
        return found.stdout.strip()
    if "No module named 'detectron2'" in found.stderr:
        return None
    raise SystemExit(
        f"Detectron2 is installed but does not import:\n{found.stderr}\n"
        f"Repair it, or remove it with: {sys.executable} -m pip uninstall detectron2"
    )


def fetch_sdist(folder: Path) -> Path:
    """Download the sdist into ``folder`` and verify its sha256."""
    command = [sys.executable, "-m", "unearth", REQUIREMENT, "--no-binary", "-d", str(folder)]
    if "PIP_INDEX_URL" in os.environ:
        command += ["--index-url", os.environ["PIP_INDEX_URL"]]
    found = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    if found.returncode != 0:
        raise SystemExit(f"{REQUIREMENT} could not be fetched. README.md names another way.")
    sdist = folder / json.loads(found.stdout)["local_path"]
    digest = hashlib.sha256(sdist.read_bytes()).hexdigest()
    if digest != SHA256:
        raise SystemExit(f"{sdist.name}: sha256 is {digest}, expected {SHA256}. Not installed.")
    return sdist


def read_sources(sdist: Path) -> dict[str, bytes]:
    """The files of the wheel, unpatched: path in the wheel -> content."""
    files = {}
    with tarfile.open(sdist) as archive:
        for member in archive.getmembers():
            if not member.isfile():
                continue
            path = member.name.split("/", 1)[1]
            for source, target in PROJECTS.items():
                if path.startswith(source + "/"):
                    path = target + path[len(source) :]
            if path.startswith("detectron2/"):
                files[path] = archive.extractfile(member).read()
            elif path == "LICENSE":
                files[f"{DIST_INFO}/LICENSE"] = archive.extractfile(member).read()
    return files


def apply_patches(files: dict[str, bytes]) -> None:
    """Patch ``files`` in place; a patch that does not match exactly once stops the script."""
    for path, old, new in PATCHES:
        count = files.get(path, b"").count(old.encode())
        if count != 1:
            raise SystemExit(f"Patch of {path} matches {count} times, expected 1. Not installed.")
        files[path] = files[path].replace(old.encode(), new.encode())
    if C_STUB_PATH in files:
        raise SystemExit(f"{C_STUB_PATH} exists already. Not installed.")
    files[C_STUB_PATH] = C_STUB.encode()


def build_wheel(sdist: Path, folder: Path) -> Path:
    """Repackage ``sdist`` as a wheel in ``folder``."""
    from wheel.wheelfile import WheelFile

    files = read_sources(sdist)
    apply_patches(files)
    files[f"{DIST_INFO}/METADATA"] = METADATA.encode()
    files[f"{DIST_INFO}/WHEEL"] = WHEEL.encode()
    wheel_path = folder / WHEEL_NAME
    with WheelFile(wheel_path, "w") as wheel:
        for path, content in sorted(files.items()):
            wheel.writestr(path, content)
    return wheel_path


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.parse_args()
    version = installed_version()
    if version is not None:
        print(f"Detectron2 {version} is installed: kept.")
        return
    pip = [sys.executable, "-m", "pip", "install", "--quiet"]
    subprocess.run([*pip, "unearth", "wheel"], check=True)
    with tempfile.TemporaryDirectory() as folder:
        wheel = build_wheel(fetch_sdist(Path(folder)), Path(folder))
        subprocess.run([*pip, str(wheel)], check=True)
    print(f"Installed Detectron2 {installed_version()} (pure Python).")


if __name__ == "__main__":
    main()
