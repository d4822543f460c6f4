"""Training curves of a report: loss and mAP by iteration, as SVG paths."""

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from ava_tools.experiments.training_runs import read_curve

SIZE = 400, 120  # width and height of a curve, in SVG units


class Training(NamedTuple):
    """Curves of a training.

    Attributes:
        last: last iteration.
        loss: SVG path of the loss, and its highest value.
        mean_ap: SVG path of the mAP, and its highest value; None if it was evaluated once.
    """

    last: int
    loss: tuple[str, float]
    mean_ap: tuple[str, float] | None


def read_training(folder: str) -> Training | None:
    """Return the curves of a training's OUTPUT_DIR; None if there is no training in it."""
    loss = read_curve(Path(folder), "total_loss")
    if len(loss) < 2:
        return None
    mean_ap = read_curve(Path(folder), "ava/mAP")
    last = max(*loss, *mean_ap) if mean_ap else max(loss)
    return Training(last, _path(loss, last), _path(mean_ap, last) if len(mean_ap) > 1 else None)


def _path(curve: Mapping[int, float], last: int) -> tuple[str, float]:
    highest = max(curve.values()) or 1.0
    points = (
        f"{x / max(last, 1) * SIZE[0]:.1f} {(1 - y / highest) * SIZE[1]:.1f}"
        for x, y in curve.items()
    )
    return "M" + "L".join(points), highest
