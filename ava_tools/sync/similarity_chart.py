"""Chart of the similarity of frames and audio as a function of the audio's shift in time."""

import numpy as np
from matplotlib.figure import Figure

from ava_tools.charts.fonts import fonts_for, literal

CURVE, BEST = "#2a6f97", "#d1495b"


def draw_similarity(
    shifts: np.ndarray,
    similarity: np.ndarray,
    path: str,
    *,
    title: str,
    best: float | None = None,
) -> None:
    """Draw the mean over windows, in a band of one standard deviation.

    Args:
        shifts: (S,) shifts in seconds, ascending; positive if the audio is later than the frames.
        similarity: (W, S) similarity of W windows; NaN where unknown.
        path: image to write; its suffix selects the format.
        title: title of the chart.
        best: shift to mark, seconds; None for none.
    """
    known = np.ma.masked_invalid(similarity)
    mean, std = known.mean(axis=0).filled(np.nan), known.std(axis=0).filled(np.nan)
    with fonts_for(title):
        figure = Figure(figsize=(8, 4.5), layout="constrained")
        axes = figure.subplots()
        axes.axvline(0, color="black", linewidth=0.8)
        axes.fill_between(shifts, mean - std, mean + std, color=CURVE, alpha=0.2, linewidth=0)
        axes.plot(shifts, mean, color=CURVE, linewidth=2)
        if best is not None:
            axes.axvline(best, color=BEST, linewidth=2, linestyle="--")
        axes.set_title(literal(title), parse_math=False)
        axes.set(xlim=(shifts[0], shifts[-1]), ylabel="similarity (cosine, centred)")
        axes.set_xlabel("audio is early  \N{LEFTWARDS ARROW}  seconds  \N{RIGHTWARDS ARROW}  late")
        axes.grid(alpha=0.3)
        axes.set_axisbelow(True)
        figure.savefig(path, dpi=130)
