"""What the benchmark scripts share: the hardware in a line, interleaved timing, tables, plots."""

import os
import platform
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import torch
from matplotlib.figure import Figure
from tabulate import tabulate


def hardware(*packages: str) -> str:
    """Processor, cores, load, and versions of Python and the packages, in a line."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    parts = [
        names[0] if names else platform.machine(),
        f"{os.cpu_count()} cores",
        f"load {os.getloadavg()[0]:.1f}",
        f"Python {platform.python_version()}",
        *(f"{package} {version(package)}" for package in packages),
    ]
    return ", ".join(parts)


def interleaved(
    ways: Mapping[str, Callable[[], object]], repeats: int, warmup: int = 1
) -> dict[str, float]:
    """Median seconds of a call of each way; a round calls each once, so that a drift of the
    machine's speed meets all of them.

    Args:
        ways: names to functions; work left on a CUDA device is waited for.
        warmup: rounds before, which do not count.
    """
    seconds = {name: [] for name in ways}
    for round_ in range(-warmup, repeats):
        for name, way in ways.items():
            _wait()
            start = time.perf_counter()
            way()
            _wait()
            if round_ >= 0:
                seconds[name].append(time.perf_counter() - start)
    return {name: statistics.median(values) for name, values in seconds.items()}


def _wait() -> None:
    if torch.cuda.is_initialized():
        torch.cuda.synchronize()


def markdown_table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Floats with two decimals; all columns but the first on the right."""
    cells = [[f"{x:.2f}" if isinstance(x, float) else x for x in row] for row in rows]
    align = ["left"] + ["right"] * (len(header) - 1)
    return tabulate(cells, header, tablefmt="pipe", colalign=align, disable_numparse=True)


@dataclass
class Panel:
    """Curves over one quantity. ``curves``: name to the y of each x."""

    x_label: str
    y_label: str
    x: Sequence[float]
    curves: Mapping[str, Sequence[float]]


def plot_growth(panels: Sequence[Panel], path: str | os.PathLike, title: str = "") -> None:
    """Panels in a row, each axis from 0; the file's ending gives the format (.svg, .png)."""
    figure = Figure(figsize=(4 * len(panels), 3), layout="constrained")
    for axes, panel in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels, strict=True):
        for name, y in panel.curves.items():
            axes.plot(panel.x, y, marker="o", label=name)
        axes.set(xlabel=panel.x_label, ylabel=panel.y_label, xlim=(0, None), ylim=(0, None))
        axes.grid(alpha=0.3)
        if len(panel.curves) > 1:
            axes.legend()
    figure.suptitle(title)
    figure.savefig(path)
