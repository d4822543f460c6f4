"""Command lines run by processes that start with torch and Detectron2 already imported.

The imports take most of a short command's time. A server does them once per test session. Each
command then runs in a fork of the server, which has imported nothing of this project yet.
"""

import functools
import importlib
import json
import multiprocessing
import os
import runpy
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
# Modules of others that the commands import.
PRELOADED = (
    "av",
    "cv2",
    "pyarrow.csv",
    "scipy.signal",
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


def run_script(
    script: str,
    *arguments: str,
    environment: Mapping[str, str],
    folder: Path = ROOT,
    few_blocks: bool = False,
) -> Done:
    """Run a script of the repository, as ``python script arguments`` or ``python -m script ...``.

    Args:
        script: path of the script below the root, or name of a module.
        *arguments: the command line after the script.
        environment: all environment variables of the command.
        folder: working directory.
        few_blocks: give ResNets of depth 50 four residual blocks, as the fixture of that name.
    """
    server = start_server()
    with tempfile.TemporaryDirectory() as temporary:
        outputs = [f"{temporary}/stdout", f"{temporary}/stderr"]
        request = [script, arguments, dict(environment), str(folder), outputs, few_blocks]
        print(json.dumps(request), file=server.stdin, flush=True)
        returncode = int(server.stdout.readline())
        return Done(returncode, *(Path(path).read_text() for path in outputs))


@functools.cache
def start_server() -> subprocess.Popen:
    """Start the server; it ends with its standard input, so at the latest with this process."""
    command = [sys.executable, __file__]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def serve() -> None:
    """Answer each request, a line of JSON, with a line that holds the exit code."""
    for module in PRELOADED:
        importlib.import_module(module)
    while line := sys.stdin.readline():
        # Such a process ends without the interpreter's clean-up, which takes seconds with torch.
        process = multiprocessing.get_context("fork").Process(target=run, args=json.loads(line))
        process.start()
        process.join()
        print(process.exitcode, flush=True)


def run(
    script: str,
    arguments: list[str],
    environment: dict,
    folder: str,
    outputs: list[str],
    few_blocks: bool,
) -> None:
    """Run a script in this process, as the interpreter would."""
    for descriptor, path in enumerate(["/dev/null", *outputs]):
        opened = os.open(path, os.O_RDWR | os.O_CREAT)
        os.dup2(opened, descriptor)
        os.close(opened)
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder)
    sys.argv = [script, *arguments]
    is_file = script.endswith(".py")
    sys.path[0] = str((ROOT / script).parent if is_file else ROOT)
    if few_blocks:
        from avsf_det.modeling.backbone.resnet3d import BLOCKS_PER_STAGE

        BLOCKS_PER_STAGE[50] = (1, 1, 1, 1)
    if is_file:
        runpy.run_path(str(ROOT / script), run_name="__main__")
    else:
        runpy.run_module(script, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    serve()
