"""Draw which classes one run does better or worse than another, like the paper's Figure A.1."""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

BETTER, WORSE = "#2a9d8f", "#d1495b"


def draw_class_differences(
    class_names: Sequence[str],
    differences: Sequence[float],
    path: str,
    *,
    title: str,
    max_bars: int = 20,
) -> None:
    """Write a picture with a bar for each class, the greatest gain on top.

    Args:
        class_names, differences: K names, and K percentage points in any order.
        path: file to write; its ending gives the format.
        max_bars: only so many of the greatest gains and so many of the greatest losses are drawn.
    """
    order = np.argsort(-np.asarray(differences, float), kind="stable")
    if len(order) > 2 * max_bars:
        order = np.concatenate([order[:max_bars], order[-max_bars:]])
        title += f"\nthe {max_bars} greatest gains and losses of {len(differences)} classes"
    points = [differences[i] for i in order]
    figure = Figure(figsize=(9, 1.5 + 0.24 * len(order)), layout="constrained")
    axes = figure.subplots()
    colors = [BETTER if point >= 0 else WORSE for point in points]
    bars = axes.barh(range(len(order)), points, color=colors)
    axes.bar_label(bars, fmt="%+.1f", padding=3, fontsize=8)
    axes.set_yticks(range(len(order)), [class_names[i] for i in order], parse_math=False)
    axes.set(xlabel="percentage points", title=title, ylim=(len(order) - 0.4, -0.6))
    axes.axvline(0, color="black", linewidth=0.8)
    axes.margins(x=0.12)
    axes.grid(axis="x", alpha=0.3)
    axes.set_axisbelow(True)
    figure.savefig(path, dpi=130)
