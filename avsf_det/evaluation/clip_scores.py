"""Class scores of every clip of a test set, stored in a file.

The evaluators write the file. From it, runs are scored again, fused, restricted to some classes or
compared without the model.

The file is an npz without pickled objects: ``clip_ids`` (N,) text, ``tasks`` (M,) text and, for
each task, ``scores.<task>`` float32 (N, K), ``labels.<task>`` and ``classes.<task>`` (K,) text.
"""

import os
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..structures import AVSFError
from ..structures.addresses import local_path
from ..utils.atomic import atomic_path
from ..utils.npz import read_npz

_PARTS = ("scores", "labels", "classes")  # prefixes of the arrays of a task in the file
_KINDS = {"scores": "f", "labels": "bi"}  # kinds of their dtype; others are text


class ClipEvaluationError(AVSFError):
    """Scores that cannot be evaluated. The message names the file, the fault and the remedy."""


@dataclass(frozen=True)
class ClipScores:
    """Scores of N clips. All dicts have the tasks as keys.

    Raises:
        ClipEvaluationError: shapes are inconsistent, a clip occurs twice, a label is out of range,
            or a score is not finite.
    """

    source: str  # file or dataset, for messages
    clip_ids: list[str]  # N distinct ids
    scores: dict[str, np.ndarray]  # float32 (N, K), higher is more likely
    # int64 (N,), -1 for a clip without a label; or, for a task with several labels per clip, bool
    # (N, K), all False for a clip without labels.
    labels: dict[str, np.ndarray]
    classes: dict[str, list[str]]  # names of the K classes

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
            wrong = (labels < -1) | (labels >= shape[1])
            if labels.dtype != bool and wrong.any():
                row = np.flatnonzero(wrong)[0]
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
    tasks = [*scores.scores]
    arrays: dict[str, Any] = {"clip_ids": np.array(scores.clip_ids, str), "tasks": tasks}
    for task in tasks:
        for part in _PARTS:
            arrays[f"{part}.{task}"] = np.asarray(getattr(scores, part)[task])
    with atomic_path(path) as temporary, open(temporary, "wb") as file:
        np.savez(file, **arrays)


def read_scores(path: str) -> ClipScores:
    """Read a score file.

    Raises:
        ClipEvaluationError: the file is missing, is not a score file, or is inconsistent.
    """
    try:
        local = local_path(path)
    except OSError as error:
        raise ClipEvaluationError(f"{path}: cannot be read ({error})") from error
    if not os.path.isfile(local):
        raise ClipEvaluationError(f"{path}: no such file; evaluation writes inference/scores.npz")
    try:
        parts = read_npz(local)
    except ValueError as error:
        raise ClipEvaluationError(f"{error}; give the scores.npz of a run") from None
    tasks = list(dict.fromkeys(np.ravel(parts.get("tasks", [])).tolist()))
    names = ["clip_ids", "tasks", *(f"{p}.{t}" for t in tasks for p in _PARTS)]
    missing = [name for name in names if name not in parts]
    if missing:
        raise ClipEvaluationError(
            f"{path}: not a score file, it lacks {', '.join(missing)} and has "
            f"{', '.join(parts) or 'nothing'}; give the scores.npz of a run"
        )
    for name in names:
        array, kinds = np.asarray(parts[name]), _KINDS.get(name.partition(".")[0], "U")
        if array.dtype.kind not in kinds or (kinds == "U" and array.ndim != 1):
            raise ClipEvaluationError(
                f"{path}: {name} is {array.dtype} {array.shape}; give the scores.npz of a run"
            )
    scores, labels, classes = ({t: parts[f"{p}.{t}"] for t in tasks} for p in _PARTS)
    names_of = {task: names.tolist() for task, names in classes.items()}
    return ClipScores(path, parts["clip_ids"].tolist(), scores, labels, names_of)
