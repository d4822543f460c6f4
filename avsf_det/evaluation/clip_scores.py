"""Class scores of every clip of a test set, stored in a file.

The evaluators write the file. From it, runs are scored again, fused, restricted to some classes or
compared without the model.

The file is an npz without pickled objects: ``clip_ids`` (N,) text, ``tasks`` (M,) text and, for
each task, ``scores.<task>`` float32 (N, K), ``labels.<task>`` and ``classes.<task>`` (K,) text.
"""

import zipfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from detectron2.utils.file_io import PathManager

from ..structures import AVSFError

_PARTS = ("scores", "labels", "classes")  # prefixes of the arrays of a task in the file


class ClipEvaluationError(AVSFError):
    """Scores that cannot be evaluated. The message names the file, the fault and the remedy."""


@dataclass(frozen=True)
class ClipScores:
    """Scores of N clips.

    Attributes:
        source: file or dataset, for messages.
        clip_ids: N distinct ids.
        scores: task -> float32 (N, K), higher is more likely.
        labels: task -> int64 (N,), -1 for a clip without a label; or, for a task with several
            labels per clip, bool (N, K), all False for a clip without labels.
        classes: task -> names of the K classes.

    Raises:
        ClipEvaluationError: shapes are inconsistent, a clip occurs twice, a label is out of range,
            or a score is not finite.
    """

    source: str
    clip_ids: list[str]
    scores: dict[str, np.ndarray]
    labels: dict[str, np.ndarray]
    classes: dict[str, list[str]]

    def __post_init__(self) -> None:
        if len(set(self.clip_ids)) < len(self.clip_ids):
            raise ClipEvaluationError(f"{self.source}: a clip id occurs twice; make them unique")
        for task, scores in self.scores.items():
            # The dtype of the labels says whether a clip has one label or several.
            shape = (len(self.clip_ids), len(self.classes[task]))
            labels = self.labels[task]
            expected = shape if labels.dtype == bool else shape[:1]
            if scores.shape != shape or labels.shape != expected:
                raise ClipEvaluationError(
                    f"{self.source}: {shape[0]} clips and {shape[1]} classes of task '{task}' need "
                    f"scores {shape} and labels {expected}; got {scores.shape} and {labels.shape}. "
                    "Write the file again"
                )
            if not np.isfinite(scores).all():
                row = np.flatnonzero(~np.isfinite(scores).all(axis=1))[0]
                raise ClipEvaluationError(
                    f"{self.source}: task '{task}' of clip {self.clip_ids[row]} has a score that "
                    "is NaN or infinite. Look at the model's weights and at this clip"
                )
            if labels.dtype != bool and ((labels < -1) | (labels >= shape[1])).any():
                row = np.flatnonzero((labels < -1) | (labels >= shape[1]))[0]
                raise ClipEvaluationError(
                    f"{self.source}: label {labels[row]} of task '{task}', clip "
                    f"{self.clip_ids[row]}, is not one of the {shape[1]} classes, which count "
                    "from 0. Correct the annotation or the class names"
                )

    def labelled(self, task: str) -> np.ndarray:
        """Return which clips have a label, bool (N,)."""
        labels = self.labels[task]
        return np.asarray(labels.any(axis=1) if labels.dtype == bool else labels >= 0)


def write_scores(scores: ClipScores, path: str) -> None:
    """Write a score file (npz without pickled objects)."""
    arrays: dict[str, Any] = {
        "clip_ids": np.array(scores.clip_ids, str),
        "tasks": np.array([*scores.scores], str),
    }
    for task in scores.scores:
        arrays[f"scores.{task}"] = scores.scores[task]
        arrays[f"labels.{task}"] = scores.labels[task]
        arrays[f"classes.{task}"] = np.array(scores.classes[task], str)
    with PathManager.open(path, "wb") as file:
        np.savez(file, **arrays)


def read_scores(path: str) -> ClipScores:
    """Read a score file.

    Raises:
        ClipEvaluationError: the file is missing, is not a score file, or is inconsistent.
    """
    if not PathManager.isfile(path):
        raise ClipEvaluationError(f"{path}: no such file; evaluation writes inference/scores.npz")
    with PathManager.open(path, "rb") as file:
        # np.load would take another file for a pickle and say so.
        if not zipfile.is_zipfile(file):
            raise ClipEvaluationError(f"{path}: not an npz file; give the scores.npz of a run")
        file.seek(0)
        with np.load(file, allow_pickle=False) as arrays:
            parts = dict(arrays)
    tasks = parts["tasks"].tolist() if "tasks" in parts else []
    names = ["clip_ids", "tasks", *(f"{p}.{t}" for t in tasks for p in _PARTS)]
    missing = [name for name in names if name not in parts]
    if missing:
        raise ClipEvaluationError(
            f"{path}: not a score file, it lacks {', '.join(missing)} and has "
            f"{', '.join(parts) or 'nothing'}; give the scores.npz of a run"
        )
    scores, labels, classes = ({t: parts[f"{p}.{t}"] for t in tasks} for p in _PARTS)
    return ClipScores(
        source=path,
        clip_ids=parts["clip_ids"].tolist(),
        scores=scores,
        labels=labels,
        classes={task: names.tolist() for task, names in classes.items()},
    )


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
