"""Results as Markdown tables and as plots of growth."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from matplotlib.figure import Figure
from tabulate import tabulate

from avsf_det.utils.atomic import atomic_path


def format_table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Return a Markdown table; floats get two decimals, all columns but the first align right."""
    cells = [[f"{x:.2f}" if isinstance(x, float) else x for x in row] for row in rows]
    align = ["left"] + ["right"] * (len(header) - 1)
    return tabulate(cells, header, tablefmt="pipe", colalign=align, disable_numparse=True)


@dataclass
class Panel:
    """Curves over one quantity.

    Attributes:
        x_label: quantity, with its unit.
        y_label: measured value, with its unit.
        x: values of the quantity.
        curves: name of each curve to its value at each x.
    """

    x_label: str
    y_label: str
    x: Sequence[float]
    curves: Mapping[str, Sequence[float]]


def plot_growth(panels: Sequence[Panel], path: str | os.PathLike, title: str = "") -> None:
    """Draw panels in a row, each axis from 0, into a file (.svg, .png)."""
    figure = Figure(figsize=(4 * len(panels), 3), layout="constrained")
    for axes, panel in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels, strict=True):
        for name, y in panel.curves.items():
            axes.plot(panel.x, y, marker="o", label=name)
        axes.set(xlabel=panel.x_label, ylabel=panel.y_label, xlim=(0, None), ylim=(0, None))
        axes.grid(alpha=0.3)
        if len(panel.curves) > 1:
            axes.legend()
    figure.suptitle(title)
    with atomic_path(os.fspath(path)) as temporary:
        figure.savefig(temporary)
