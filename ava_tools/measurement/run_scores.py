"""Scores of several runs on the same clips: fused, checked, restricted to some classes."""

from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np

from avsf_det.evaluation import ClipEvaluationError, ClipScores


def fuse_scores(runs: Sequence[ClipScores], weights: Sequence[float] | None = None) -> ClipScores:
    """Late fusion: weighted mean of the scores of each clip.

    Runs with different tasks are joined (EPIC's verbs and nouns come from two models, paper
    section A.5): the scores of a task are the mean over the runs that have it.

    Args:
        runs: scores of the same clips.
        weights: one positive number per run; None: equal.

    Raises:
        ClipEvaluationError: clips, labels or classes differ, or the weights are not one positive
            number per run.
    """
    weights = [1.0] * len(runs) if weights is None else weights
    if len(weights) != len(runs) or not all(0 < w < np.inf for w in weights):
        raise ClipEvaluationError(
            f"{len(runs)} score files with the weights {list(weights)}; give one positive number "
            "for each file"
        )
    first, *others = runs
    for other in others:
        check_same_clips(first, other)
    scores: dict[str, np.ndarray] = {}
    for task in dict.fromkeys(task for run in runs for task in run.scores):
        parts = [
            (w, run.scores[task])
            for w, run in zip(weights, runs, strict=True)
            if task in run.scores
        ]
        # In float64, so that the mean of equal runs is exactly their scores.
        total = np.zeros(parts[0][1].shape)
        for weight, part in parts:
            total += weight * part.astype(np.float64)
        scores[task] = (total / sum(w for w, _ in parts)).astype(np.float32)
    return ClipScores(
        source=" + ".join(run.source for run in runs),
        clip_ids=first.clip_ids,
        scores=scores,
        labels={task: labels for run in runs for task, labels in run.labels.items()},
        classes={task: names for run in runs for task, names in run.classes.items()},
    )


def check_same_clips(a: ClipScores, b: ClipScores) -> None:
    """Check that two runs were evaluated on the same clips.

    Raises:
        ClipEvaluationError: the runs have different clips or, in a common task, different classes
            or labels.
    """
    # Evaluators write clips in the order of their ids, so equal sets are equal lists.
    if a.clip_ids != b.clip_ids:
        only_a, only_b = (sorted(set(x.clip_ids) - set(y.clip_ids)) for x, y in ((a, b), (b, a)))
        example = f" (such as {(only_a + only_b)[0]})" if only_a or only_b else ""
        raise ClipEvaluationError(
            f"{a.source} has {len(a.clip_ids)} clips, {b.source} {len(b.clip_ids)}; "
            f"{len(only_a)} are only in the first and {len(only_b)} only in the second{example}. "
            "Evaluate both runs on the same DATASETS.TEST"
        )
    for task in [task for task in a.scores if task in b.scores]:
        if a.classes[task] != b.classes[task]:
            raise ClipEvaluationError(
                f"{a.source} and {b.source} have different classes of task '{task}' "
                f"({len(a.classes[task])} and {len(b.classes[task])}). Evaluate both runs on the "
                "same DATASETS.TEST"
            )
        if not np.array_equal(a.labels[task], b.labels[task]):
            raise ClipEvaluationError(
                f"{a.source} and {b.source} have different labels of task '{task}'. Evaluate both "
                "runs with the same annotation file"
            )


def select_classes(scores: ClipScores, names: Iterable[str]) -> ClipScores:
    """Select the clips of some classes, such as Kinetics-Sounds within Kinetics.

    The scores keep all classes, so a clip is still ranked among all of them.

    Args:
        scores: scores of one task with one label per clip.
        names: class names whose clips are kept.

    Raises:
        ClipEvaluationError: there are several tasks or several labels per clip, a name is not a
            class, or no clip is left.
    """
    names = set(names)
    (task, labels), *others = scores.labels.items()  # others: further tasks
    if others or labels.dtype == bool:
        raise ClipEvaluationError(
            f"{scores.source}: clips can be selected by class only for one task with one label per "
            "clip"
        )
    unknown = sorted(names - set(scores.classes[task]))
    if unknown:
        raise ClipEvaluationError(
            f"{scores.source}: {len(unknown)} of {len(names)} names are not among its "
            f"{len(scores.classes[task])} classes, such as '{unknown[0]}'. Write each name as in "
            "the dataset's class list, one a line"
        )
    selected = [i for i, name in enumerate(scores.classes[task]) if name in names]
    rows = np.flatnonzero(np.isin(labels, selected))
    if not len(rows):
        raise ClipEvaluationError(f"{scores.source}: no clip has one of the {len(names)} classes")
    return replace(
        scores,
        clip_ids=[scores.clip_ids[row] for row in rows],
        scores={task: scores.scores[task][rows]},
        labels={task: labels[rows]},
    )
