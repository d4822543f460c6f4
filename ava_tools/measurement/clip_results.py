"""Results of clip classification: restricted to classes, averaged over splits, or compared."""

import os
from statistics import fmean

from tabulate import tabulate

from ava_tools.charts.class_differences import draw_class_differences
from ava_tools.measurement.class_differences import class_differences, write_differences
from ava_tools.measurement.run_scores import select_classes
from avsf_det.data.datasets.annotation_files import read_lines
from avsf_det.evaluation import (
    ClipEvaluationError,
    ClipScores,
    TaskResult,
    read_verb_noun_counts,
    score_clips,
)


def evaluate(
    scores: ClipScores, class_file: str | None = None, prior: str | None = None
) -> dict[str, TaskResult]:
    """Return the result of each task.

    Args:
        scores: scores of clips.
        class_file: names of classes, one per line; only clips of these classes count.
        prior: training csv of EPIC-Kitchens, whose P(noun | verb) also ranks the actions.

    Raises:
        ClipEvaluationError: no clip has a label, or the files do not fit together.
    """
    if class_file:
        names = [name for _, name in read_lines(class_file)]
        scores = select_classes(scores, names)
    results = score_clips(scores, read_verb_noun_counts(prior, scores) if prior else None)
    if not results:
        raise ClipEvaluationError(f"{scores.source}: no clip has a label, nothing can be scored")
    return results


def mean_of_splits(results: dict[str, dict[str, TaskResult]]) -> str:
    """Return a table of the results of each file, with their means in its last line.

    Args:
        results: file to task to result.

    Raises:
        ClipEvaluationError: the files have different tasks.
    """
    rows = [
        {f"{task} {m}": v for task, r in result.items() for m, v in r.metrics.items()}
        for result in results.values()
    ]
    if any(row.keys() != rows[0].keys() for row in rows):
        raise ClipEvaluationError(f"{', '.join(results)} have different tasks; there is no mean")
    rows.append({column: fmean(row[column] for row in rows) for column in rows[0]})
    index = [*results, "mean"]
    return tabulate(rows, headers="keys", tablefmt="pipe", floatfmt=".2f", showindex=index)


def compare(
    before: dict[str, TaskResult], after: dict[str, TaskResult], title: str, output: str
) -> None:
    """Write ``difference_<task>.csv`` and ``.png`` of the common tasks.

    Args:
        before: task to result of the run to compare with.
        after: task to result of the run.
        title: title of the chart, below the task and the metric.
        output: existing folder.
    """
    for task in [task for task in after if task in before and after[task].class_names]:
        path = os.path.join(output, f"difference_{task}")
        rows = class_differences(before[task], after[task])
        write_differences(rows, f"{path}.csv")
        names, points = [row.name for row in rows], [row.difference for row in rows]
        metric = next(iter(after[task].class_metrics))
        draw_class_differences(names, points, f"{path}.png", title=f"{task}, {metric}\n{title}")
        print(f"{task}: from {names[0]} {points[0]:+.1f} to {names[-1]} {points[-1]:+.1f}")
        print(f"Wrote {path}.csv and {path}.png")
