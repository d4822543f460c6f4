"""Chart of the differences between two runs by class, like Figure A.1 of the paper."""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from avsf_det.utils.atomic import atomic_path

BETTER, WORSE = "#2a9d8f", "#d1495b"


def draw_class_differences(
    class_names: Sequence[str],
    differences: Sequence[float],
    path: str,
    *,
    title: str,
    max_bars: int = 20,
) -> None:
    """Draw a bar for each class, the greatest gain on top.

    Args:
        class_names: names of the K classes.
        differences: differences of the K classes, percentage points.
        path: image to write; its suffix selects the format.
        title: title of the chart.
        max_bars: largest number of gains and of losses that are drawn.
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
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=130)
