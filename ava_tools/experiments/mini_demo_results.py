"""Results of the Mini-AVA demo: summary, table, chart."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from tabulate import tabulate

from ava_tools.mini.video_plan import AUDIBLE_ACTIONS, AUDIO_PAIRS

AP = Mapping[str, Mapping[str, float]]  # run -> action -> average precision


def summarize(ap: Mapping[str, float]) -> dict[str, float]:
    """Return the mean AP over all actions, over those that only audio distinguishes, and the rest.

    Args:
        ap: action -> average precision.

    Returns:
        "mAP", "AP_sound" and "AP_rest".
    """
    return {
        "mAP": float(np.mean(list(ap.values()))),
        "AP_sound": float(np.mean([ap[action] for action in sorted(AUDIBLE_ACTIONS)])),
        "AP_rest": float(np.mean([ap[action] for action in ap if action not in AUDIBLE_ACTIONS])),
    }


def format_table(ap: AP, titles: Mapping[str, str]) -> str:
    """Return a Markdown table of AP by action and run."""
    rows = [
        [
            f"{action} (audio only)" if action in AUDIBLE_ACTIONS else action,
            *(ap[run][action] for run in ap),
        ]
        for action in ap["avsf"]
    ]
    for key in ("AP_sound", "AP_rest", "mAP"):
        rows.append([key, *(summarize(ap[run])[key] for run in ap)])
    headers = ["AP on Mini-AVA val (generated)", *(titles[run] for run in ap)]
    return tabulate(rows, headers, tablefmt="pipe", floatfmt=".3f")


def draw_chart(ap: AP, titles: Mapping[str, str], path: Path) -> None:
    """Draw AP by action and run as bars, like Figure A.1 of the paper."""
    colors = {"slowfast": "#8899aa", "avsf": "#d1495b", "avsf_mute": "#edae49"}
    actions = list(ap["avsf"])
    figure = Figure(figsize=(10, 4.5), layout="constrained")
    axes = figure.subplots()
    for i, (run, color) in enumerate(colors.items()):
        x = np.arange(len(actions)) + 0.27 * (i - 1)
        axes.bar(x, [ap[run][action] for action in actions], 0.26, label=titles[run], color=color)
    pairs = [" / ".join(pair) for pair in AUDIO_PAIRS]
    axes.set(ylim=(0, 1), ylabel="AP at IoU 0.5")
    axes.set_xticks(range(len(actions)), actions)
    axes.set_title(f"Mini-AVA val (generated). Only audio distinguishes {', '.join(pairs)}.")
    axes.grid(axis="y", alpha=0.3)
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.07), ncols=len(colors), frameon=False)
    figure.savefig(path, dpi=130)
