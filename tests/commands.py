"""Command lines run by processes that start with torch and Detectron2 already imported.

The imports take most of a short command's time. A fork server does them once per test session; each
command then runs in a fork of its own, which has imported nothing of this project yet.
"""

import multiprocessing
import os
import runpy
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
# Modules of others that the commands import, and that keep no setting of the first import.
PRELOADED = (
    "av",
    "cv2",
    "pyarrow.csv",
    "torch.optim",
    "torchvision.ops",
    "detectron2.engine",
    "detectron2.evaluation",
    "detectron2.modeling",
)


@dataclass(frozen=True)
class Done:
    """Exit code and output of a command."""

    returncode: int
    stdout: str
    stderr: str


def run_script(script: str, *arguments: str, environment: Mapping[str, str]) -> Done:
    """Run a script of the repository, as ``python script arguments`` in its root.

    Args:
        script: path of the script below the root.
        *arguments: the command line after the script.
        environment: all environment variables of the command.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(list(PRELOADED))
    with tempfile.TemporaryDirectory() as folder:
        outputs = [Path(folder) / name for name in ("stdout", "stderr")]
        process = context.Process(
            target=_run, args=(script, arguments, dict(environment), [str(x) for x in outputs])
        )
        process.start()
        process.join()
        assert process.exitcode is not None
        return Done(process.exitcode, *(path.read_text() for path in outputs))


def _run(script: str, arguments: tuple[str, ...], environment: dict, outputs: list[str]) -> None:
    """Run the script in this process, as the interpreter would."""
    for descriptor, path in enumerate(outputs, start=1):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT), descriptor)
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(ROOT)
    assert not any(name.split(".")[0] in ("avsf_det", "ava_tools") for name in sys.modules)
    path = ROOT / script
    sys.argv = [str(path), *arguments]
    sys.path[0] = str(path.parent)
    runpy.run_path(str(path), run_name="__main__")
