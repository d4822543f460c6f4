"""Runs of train_net.py, each in a folder of its own, that another program starts and reads."""

import json
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path


def train(script: Path, folder: Path, arguments: Sequence[str]) -> None:
    """Run train_net.py into ``folder``, unless that is done; a broken-off run goes on. Progress is
    printed; what the run prints goes to ``folder``.log.

    Args:
        script: train_net.py.
        arguments: of it, without OUTPUT_DIR.

    Raises:
        SystemExit: if ``folder`` has a run of other arguments, or if the run fails.
    """
    path, new = folder / "run.json", {"arguments": [*arguments], "finished": False}
    record = json.loads(path.read_text()) if path.exists() else new
    if record["arguments"] != new["arguments"]:
        raise SystemExit(f"{path} has other arguments: give another --output or delete {folder}")
    if record["finished"]:
        return
    folder.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(new))
    command = [sys.executable, script, "--resume", *arguments, "OUTPUT_DIR", folder]
    with open(f"{folder}.log", "a") as log:
        process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)
    said: dict = {}
    while process.poll() is None:
        time.sleep(1)
        row = read_metrics(folder)
        if "total_loss" in row and row != said:
            said = row
            progress = f"iteration {row['iteration'] + 1}, loss {row['total_loss']:.3f}"
            print(f"{folder.name}: {progress}, ETA {row.get('eta_seconds', 0):.0f} s", flush=True)
    if process.returncode:
        raise SystemExit(f"{folder.name} failed; see {folder}.log")
    path.write_text(json.dumps({**new, "finished": True}))


def read_metrics(folder: Path) -> dict[str, float]:
    """What Detectron2 wrote last of each metric, {} before; it does every 20 iterations.
    "iteration" is that of the losses."""
    path, metrics = folder / "metrics.json", {}
    for line in path.read_text().splitlines() if path.exists() else ():
        if line.endswith("}"):  # the last line may be half written
            row = json.loads(line)
            if "total_loss" not in row:  # of a test, which says one more
                row.pop("iteration", None)
            metrics |= row
    return metrics
