"""Chart of validation error and training loss along trainings, like Figure 3 of the paper."""

from collections.abc import Mapping
from typing import NamedTuple

from matplotlib.figure import Figure

from avsf_det.utils.atomic import atomic_path

from .fonts import fonts_for, literal


class Curve(NamedTuple):
    """Values of a metric, in the order of the iterations or epochs ``x`` at which they are."""

    x: list[float]
    y: list[float]


def draw_training_curves(
    errors: Mapping[str, Curve], losses: Mapping[str, Curve], path: str, *, unit: str
) -> None:
    """Draw a curve of each run in two panels: error above, loss below.

    Args:
        errors: name of a run -> validation error in percent.
        losses: name of a run -> training loss.
        path: image to write; its suffix selects the format.
        unit: what ``x`` counts, the label of that axis.
    """
    with fonts_for(*errors):
        figure = Figure(figsize=(7, 7), layout="constrained")
        above, below = figure.subplots(2, sharex=True)
        for i, (name, curve) in enumerate(errors.items()):
            # A single evaluation is a point, which no line would show.
            above.plot(*curve, marker=".", color=f"C{i}", label=literal(name))
            below.plot(*losses[name], linestyle="--", color=f"C{i}")
        legend = above.legend()
        for text in legend.get_texts():
            text.set_parse_math(False)
        above.set(ylabel="validation top-1 error (%)")
        below.set(xlabel=unit, ylabel="training loss")
        for axes in (above, below):
            axes.grid(alpha=0.3)
        with atomic_path(path) as temporary:
            figure.savefig(temporary, dpi=130)
