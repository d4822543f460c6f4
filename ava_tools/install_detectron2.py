#!/usr/bin/env python
"""Install Detectron2 0.6 as a pure-Python package, or keep the Detectron2 that is installed.

Detectron2 is not on the package index under its own name. The index's sdist ``pb1-detectron2==0.6``
holds the Python files of upstream v0.6, without the C++ sources. pip downloads it, with the index
and the certificates of its configuration, and verifies its hash. The script then patches it for
current Pillow and setuptools, replaces the compiled extension by a module that raises when it is
used, and has pip install the result as ``detectron2``. Rotated boxes, deformable convolution and
the C++ COCO evaluation are not available.

Example: python ava_tools/install_detectron2.py
For a machine without a network: python ava_tools/install_detectron2.py --wheel FOLDER
"""

import argparse
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

REQUIREMENT = (
    "pb1-detectron2==0.6 "
    "--hash=sha256:5d2e9e51e523ec72f6a31cca04b0a515492e9514b773a3d134cedc0677170b29"
)
OTHER_WAY = "docs/install.md shows how to build Detectron2 from its repository instead."

# (file, text that must occur exactly once, replacement)
PATCHES = [
    (
        # Pillow 10 removed the old name of the same filter.
        "detectron2/data/transforms/transform.py",
        "output_size, interp=Image.LINEAR, fill=0",
        "output_size, interp=Image.BILINEAR, fill=0",
    ),
    # setuptools 82 removed pkg_resources.
    ("detectron2/model_zoo/model_zoo.py", "import pkg_resources\n", ""),
    (
        "detectron2/model_zoo/model_zoo.py",
        'pkg_resources.resource_filename(\n        "detectron2.model_zoo", ',
        "os.path.join(\n        os.path.dirname(__file__), ",
    ),
]
C_STUB_PATH = "detectron2/_C.py"
C_STUB = '''\
"""Replaces Detectron2's compiled extension, which this installation does not have."""


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

# Upstream's requirements without the upper bounds and those for building and for Caffe2.
PYPROJECT = """\
[build-system]
requires = ["setuptools>=64"]
build-backend = "setuptools.build_meta"

[project]
name = "detectron2"
version = "0.6+pure"
description = "Detectron2 v0.6, Python files only, patched for current Pillow and setuptools"
dependencies = [
    "Pillow>=7.1", "matplotlib", "pycocotools>=2.0.2", "termcolor>=1.1", "yacs>=0.1.8", "tabulate",
    "cloudpickle", "tqdm>4.29.0", "tensorboard", "fvcore>=0.1.5", "iopath>=0.1.7",
    "omegaconf>=2.1", "hydra-core>=1.1",
]

[tool.setuptools.packages.find]
include = ["detectron2*"]
namespaces = false

[tool.setuptools.package-data]
detectron2 = ["model_zoo/configs/**/*"]
"""

# Files to install, and where: the package, and three projects that upstream installs inside it.
FOLDERS = {
    "detectron2/": "detectron2/",
    "projects/PointRend/point_rend/": "detectron2/projects/point_rend/",
    "projects/DeepLab/deeplab/": "detectron2/projects/deeplab/",
    "projects/Panoptic-DeepLab/panoptic_deeplab/": "detectron2/projects/panoptic_deeplab/",
    "LICENSE": "LICENSE",
}


def find_installed_version() -> str | None:
    """Return the version of the installed Detectron2, or None; exit if its import fails."""
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


def run_pip(*arguments: str) -> None:
    """Run pip in this environment; exit if it fails."""
    if subprocess.run([sys.executable, "-m", "pip", *arguments, "--quiet"]).returncode != 0:
        raise SystemExit(f"pip failed; its message is above. {OTHER_WAY}")


def download_sdist(folder: Path) -> Path:
    """Download the sdist into a folder; pip verifies its hash before it opens the file."""
    requirements = folder / "requirements.txt"
    requirements.write_text(REQUIREMENT + "\n")
    # pip also asks the sdist for its metadata, and its setup.py imports torch: no isolation.
    options = ["--no-deps", "--no-binary", ":all:", "--no-build-isolation", "--require-hashes"]
    run_pip("download", *options, "--requirement", str(requirements), "--dest", str(folder))
    return next(folder.glob("*.tar.gz"))


def read_sources(sdist: Path) -> dict[str, bytes]:
    """Return the content of the files to install, unpatched, by their path in the package."""
    files = {}
    with tarfile.open(sdist) as archive:
        for member in archive.getmembers():
            path = member.name.partition("/")[2]
            for source, target in FOLDERS.items():
                content = archive.extractfile(member)
                if content is not None and path.startswith(source):
                    files[target + path[len(source) :]] = content.read()
    return files


def patch_sources(files: dict[str, bytes]) -> dict[str, bytes]:
    """Return patched files; exit if a patch does not match exactly once."""
    patched = dict(files)
    for path, old, new in PATCHES:
        count = patched.get(path, b"").count(old.encode())
        if count != 1:
            raise SystemExit(f"Patch of {path} matches {count} times, expected 1. Not installed.")
        patched[path] = patched[path].replace(old.encode(), new.encode())
    if C_STUB_PATH in patched:
        raise SystemExit(f"{C_STUB_PATH} exists already. Not installed.")
    return {**patched, C_STUB_PATH: C_STUB.encode(), "pyproject.toml": PYPROJECT.encode()}


def main(argv: list[str] | None = None) -> int:
    """Run the tool; return its exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--wheel", metavar="FOLDER", help="build a wheel there, install nothing")
    folder = parser.parse_args(argv).wheel
    version = None if folder else find_installed_version()
    if version is not None:
        print(f"Detectron2 {version} is installed: kept.")
        return 0
    with tempfile.TemporaryDirectory() as name:
        project = Path(name) / "detectron2"
        for path, content in patch_sources(read_sources(download_sdist(Path(name)))).items():
            (project / path).parent.mkdir(parents=True, exist_ok=True)
            (project / path).write_bytes(content)
        if folder:
            run_pip("wheel", "--no-deps", "--wheel-dir", folder, str(project))
            return 0
        run_pip("install", str(project))
    print(f"Installed Detectron2 {find_installed_version()} (pure Python).")
    return 0


if __name__ == "__main__":
    sys.exit(main())
