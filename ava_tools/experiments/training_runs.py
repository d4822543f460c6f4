"""Start train_net.py from another program, each run in its own folder, and read its metrics."""

import json
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from avsf_det.structures import AVSFError
from avsf_det.utils.atomic import write_atomic


class TrainingRunError(AVSFError):
    """A run that failed, or a folder that contains another run."""


def train(script: Path, folder: Path, arguments: Sequence[str]) -> None:
    """Run train_net.py to its end; resume an interrupted run, skip a finished one.

    Progress is printed. The output of the run is appended to ``<folder>.log``.

    Args:
        script: path of train_net.py.
        folder: OUTPUT_DIR of the run.
        arguments: command-line arguments without OUTPUT_DIR.

    Raises:
        TrainingRunError: the folder contains a run with other arguments, or the run fails.
    """
    path, new = folder / "run.json", {"arguments": [*arguments], "finished": False}
    record = json.loads(path.read_text(encoding="utf-8")) if path.exists() else new
    if record["arguments"] != new["arguments"]:
        raise TrainingRunError(
            f"{path} has other arguments: give another --output or delete {folder}"
        )
    if record["finished"]:
        return
    write_atomic(path, json.dumps(new))
    command = [sys.executable, str(script), "--resume", *arguments, "OUTPUT_DIR", str(folder)]
    with open(f"{folder}.log", "a", encoding="utf-8") as log:
        process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)
    printed: dict[str, float] = {}
    while process.poll() is None:
        time.sleep(1)
        metrics = read_metrics(folder)
        if "total_loss" in metrics and metrics != printed:
            printed = metrics
            progress = f"iteration {metrics['iteration'] + 1}, loss {metrics['total_loss']:.3f}"
            eta = metrics.get("eta_seconds", 0)
            print(f"{folder.name}: {progress}, ETA {eta:.0f} s", flush=True)
    if process.returncode:
        raise TrainingRunError(f"{folder.name} failed; see {folder}.log")
    write_atomic(path, json.dumps({**new, "finished": True}))


def read_metrics(folder: Path) -> dict[str, float]:
    """Return the latest value of each metric that Detectron2 wrote; {} before the first.

    Detectron2 writes every 20 iterations. "iteration" is the iteration of the losses.
    """
    metrics: dict[str, float] = {}
    for row in _read_rows(folder):
        if "total_loss" not in row:  # rows of a test have a higher iteration
            row.pop("iteration", None)
        metrics |= row
    return metrics


def read_curve(folder: Path, metric: str) -> dict[int, float]:
    """Return iteration to value of a metric, in ascending order; {} if there is none."""
    # A resumed run may have written an iteration twice: the later counts.
    found = {row["iteration"]: row[metric] for row in _read_rows(folder) if metric in row}
    return dict(sorted(found.items()))


def _read_rows(folder: Path) -> Iterator[dict]:
    """Yield the rows of Detectron2's ``metrics.json`` that are whole."""
    path = folder / "metrics.json"
    for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else ():
        # A killed run leaves half a line, and the next one goes on in the same line.
        with suppress(ValueError):
            yield json.loads(line)
