"""Figures that an evaluation has left in the folder of a run, for the model card."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from ava_tools.experiments.training_runs import read_metrics
from ava_tools.measurement.clip_results import evaluate
from avsf_det.evaluation import read_scores
from avsf_det.structures import AVSFError


class PublishError(AVSFError):
    """Run that cannot be published, or folder that cannot be written or uploaded."""


@dataclass(frozen=True)
class Figures:
    """Metrics of one evaluation.

    Attributes:
        source: file of the run that they were read from, or computed from.
        metrics: name to value.
        per_class: name of the class to AP in 0..1, or None without ground truth.
    """

    source: str
    metrics: dict[str, float]
    per_class: dict[str, float | None] = field(default_factory=dict)


def read_figures(run: Path, weights: Path) -> list[Figures]:
    """Return the figures in the folder of a run: AVA's mAP, accuracies, or synchronisation.

    Args:
        run: OUTPUT_DIR of the run.
        weights: file of the weights, which the figures must not be older than.

    Raises:
        PublishError: a file of results is damaged, or older than the weights.
    """
    found = [*_read_ava(run), *_read_clips(run)] or [*_read_pretraining(run)]
    for figures in found:
        file = run / figures.source
        if file.stat().st_mtime < weights.stat().st_mtime:
            raise PublishError(
                f"{file} is older than {weights}, whose figures it may not be; evaluate again: "
                "train_net.py --eval-only"
            )
    return found


def _read_ava(run: Path) -> Iterator[Figures]:
    for file in sorted(run.glob("inference/**/ava_results.json")):
        try:
            results = json.loads(file.read_text(encoding="utf-8"))
            name = f"frame-mAP at IoU 0.5 ({results['protocol']} protocol)"
            metrics = {name: float(results["mAP"])}
            per_class = results["per_class_by_name"]
        except (ValueError, KeyError, TypeError) as error:
            raise PublishError(f"{file}: is no result of an evaluation ({error})") from None
        yield Figures(str(file.relative_to(run)), metrics, per_class)


def _read_clips(run: Path) -> Iterator[Figures]:
    for file in sorted(run.glob("inference/**/scores.npz")):
        results = evaluate(read_scores(str(file)))
        metrics = {
            f"{task} {metric}, percent of {result.num_clips} clips": value
            for task, result in results.items()
            for metric, value in result.metrics.items()
        }
        yield Figures(str(file.relative_to(run)), metrics)


def _read_pretraining(run: Path) -> Iterator[Figures]:
    metrics = {
        name: value
        for name, value in read_metrics(run).items()
        if name.startswith(("sync/", "rotation/"))
    }
    if metrics:
        yield Figures("metrics.json", metrics)
