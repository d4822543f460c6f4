"""Hardware in one line, interleaved timing, and the peak memory of a process."""

import os
import platform
import statistics
import time
from collections.abc import Callable, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import TypeVar

Name = TypeVar("Name")


def describe_hardware(*packages: str) -> str:
    """Return one line: processor, cores, load, versions of Python and of the packages."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text(encoding="utf-8").splitlines() if cpuinfo.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    parts = [
        names[0] if names else platform.machine(),
        f"{os.cpu_count()} cores",
        f"load {os.getloadavg()[0]:.1f}",
        f"Python {platform.python_version()}",
        *(f"{package} {version(package)}" for package in packages),
    ]
    return ", ".join(parts)


def time_interleaved(
    functions: Mapping[Name, Callable[[], object]], repeats: int, warmup: int = 1
) -> dict[Name, float]:
    """Return the median seconds of a call of each function.

    A round calls each function once, so that a drift of the machine's speed affects all of them.
    The measurement waits for work on a CUDA device.

    Args:
        functions: functions by name.
        repeats: number of counted rounds.
        warmup: number of rounds before, which do not count.
    """
    seconds: dict[Name, list[float]] = {name: [] for name in functions}
    for round_ in range(-warmup, repeats):
        for name, function in functions.items():
            _synchronize()
            start = time.perf_counter()
            function()
            _synchronize()
            if round_ >= 0:
                seconds[name].append(time.perf_counter() - start)
    return {name: statistics.median(values) for name, values in seconds.items()}


def _synchronize() -> None:
    import torch  # here, because scoring is measured without torch

    if torch.cuda.is_initialized():
        torch.cuda.synchronize()


def read_peak_memory() -> float:
    """Return the peak memory of this process in MiB. Linux only.

    ``getrusage`` would count the memory of the parent in a spawned process.
    """
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024
