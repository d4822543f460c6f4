"""Accuracy and mAP of clip scores, in **percent** like the figures of Detectron2."""

import csv
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from tabulate import tabulate

from ..structures.text_file import read_rows
from ..utils.atomic import open_atomic
from .clip_scores import ClipEvaluationError, ClipScores

_PAIRS_AT_ONCE = 1 << 21  # scores of (verb, noun) pairs held in memory: 16 MiB of float64


@dataclass(frozen=True)
class TaskResult:
    """Metrics of one task. The class fields are empty for a task without a per-class table."""

    num_clips: int  # with a label; only these count
    metrics: dict[str, float]  # "top1" and "top5", or "mAP" -> percent
    class_names: list[str] = field(default_factory=list)
    # Number of clips of each class, int (K,).
    class_clips: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64))
    # "top1" and "top5", or "AP" -> percent, float64 (K,); nan for a class without clips.
    class_metrics: dict[str, np.ndarray] = field(default_factory=dict)


def score_clips(
    scores: ClipScores, verb_noun_counts: np.ndarray | None = None
) -> dict[str, TaskResult]:
    """Compute top-1 and top-5 accuracy of each task, or mAP if clips have several labels.

    With the tasks "verb" and "noun" there is an "action", too: verb and noun must both be correct,
    where pairs are ranked by the product of their scores. ``verb_noun_counts`` (V, N) are those of
    the training; with them there is an "action_prior", which ranks by the product times
    P(noun | verb).

    Returns:
        Task -> result. Tasks without any label are left out.

    Raises:
        ClipEvaluationError: the counts have another shape.
    """
    results = {}
    for task in scores.scores:
        if scores.labelled(task).any():
            multi_label = scores.labels[task].dtype == bool
            results[task] = (_score_multi_label if multi_label else _score_single)(scores, task)
    if {"verb", "noun"} <= results.keys():
        results["action"] = _score_pairs(scores, None)
        if verb_noun_counts is not None:
            results["action_prior"] = _score_pairs(scores, noun_prior(verb_noun_counts))
    return results


def read_verb_noun_counts(csv_file: str, scores: ClipScores) -> np.ndarray:
    """Count the (verb, noun) pairs, int64 (V, N), of a training csv of EPIC-Kitchens-55 or -100.

    Clips of ``scores`` are not counted: the csv of EPIC-55 contains the validation participants
    (26 and up), too. Its columns are ``uid`` or ``narration_id``, ``verb_class``, ``noun_class``.

    Raises:
        ClipEvaluationError: a task or a column is missing, a class is out of range, or there is no
            pair to count.
        AnnotationError: the file cannot be read.
    """
    if not {"verb", "noun"} <= scores.scores.keys():
        raise ClipEvaluationError(
            f"{scores.source}: a prior needs the tasks verb and noun; there is "
            f"{', '.join(scores.scores)}. Give the scores of the verb and of the noun model"
        )
    evaluated = set(scores.clip_ids)
    counts = np.zeros([len(scores.classes[task]) for task in ("verb", "noun")], np.int64)
    rows = read_rows(csv_file)
    place, columns = next(rows, (f"{csv_file}:1", []))
    # EPIC-100 names the clip narration_id, EPIC-55 uid.
    names = ("narration_id" if "narration_id" in columns else "uid", "verb_class", "noun_class")
    if missing := [name for name in names if name not in columns]:
        raise ClipEvaluationError(
            f"{place}: no column {', '.join(missing)} among {', '.join(columns)}; give the "
            "official training csv of EPIC-Kitchens"
        )
    positions = [columns.index(name) for name in names]
    for place, row in rows:
        # An absent field is empty, which no class is.
        clip_id, verb, noun = ("".join(row[i : i + 1]) for i in positions)
        if clip_id not in evaluated:  # no leak from the evaluated clips
            pair = [int(x) if x.isdecimal() and len(x) < 9 else sys.maxsize for x in (verb, noun)]
            if np.greater_equal(pair, counts.shape).any():
                raise ClipEvaluationError(
                    f"{place}: verb_class, noun_class are '{verb}', '{noun}', not two numbers "
                    f"below {counts.shape}; is this the csv of the dataset that was evaluated?"
                )
            counts[pair[0], pair[1]] += 1
    if not counts.any():
        raise ClipEvaluationError(
            f"{csv_file}: each of its clips is among those evaluated; a prior must come from the "
            "training annotations"
        )
    return counts


def label_rank(scores: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Return the number of classes that rank before the correct one, int64 (N,).

    Scores are (N, K), labels int (N,) in 0..K-1. Among equal scores the lower class comes first.
    """
    own = np.take_along_axis(scores, labels[:, None], axis=1)  # (N, 1)
    before = np.arange(scores.shape[1]) < labels[:, None]
    return ((scores > own) | ((scores == own) & before)).sum(axis=1)


def pair_rank(
    verb_scores: np.ndarray,  # (B, V)
    noun_scores: np.ndarray,  # (B, N)
    verbs: np.ndarray,  # correct ones, int (B,)
    nouns: np.ndarray,
    prior: np.ndarray | None = None,  # P(noun | verb), (V, N)
) -> np.ndarray:
    """Return the number of all V * N pairs that rank before the correct one, int64 (B,).

    A pair is scored by verb x noun x prior in float64. For ties see :func:`label_rank`.
    """
    num_verbs, num_nouns = verb_scores.shape[1], noun_scores.shape[1]
    labels = verbs * num_nouns + nouns  # index in the flattened (V, N)
    ranks = np.empty(len(labels), np.int64)
    # EPIC-100 has 97 * 300 pairs per clip: all clips at once would need gigabytes.
    step = max(1, _PAIRS_AT_ONCE // (num_verbs * num_nouns))
    for start in range(0, len(labels), step):
        part = slice(start, start + step)
        # (step, V, 1) * (step, 1, N)
        pairs = verb_scores[part, :, None] * noun_scores[part, None, :].astype(np.float64)
        if prior is not None:
            pairs *= prior
        ranks[part] = label_rank(pairs.reshape(len(pairs), -1), labels[part])
    return ranks


def noun_prior(verb_noun_counts: np.ndarray) -> np.ndarray:
    """Estimate P(noun | verb), float64 (V, N), from the counts (V, N) of the pairs.

    As in the long-term feature banks, 1e-5 is added to each count: every pair stays possible, and
    a verb without clips has no preference.
    """
    smoothed = np.asarray(verb_noun_counts, np.float64) + 1e-5
    return smoothed / smoothed.sum(axis=1, keepdims=True)


def average_precision_by_class(scores: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Return the AP of each class like the official Charades script, float64 (K,) in 0..1.

    It is the mean, over the clips of the class, of the precision at their rank; nan without clips.
    Equal scores rank in the order of the clips. Scores are (N, K), labels bool (N, K).
    """
    result = np.full(scores.shape[1], np.nan)
    for k in np.flatnonzero(labels.any(axis=0)):
        order = np.argsort(-scores[:, k], kind="stable")
        ranks = np.flatnonzero(labels[order, k]) + 1  # of the clips of the class, from 1
        result[k] = (np.arange(1, len(ranks) + 1) / ranks).mean()
    return result


def _score_single(scores: ClipScores, task: str) -> TaskResult:
    rows = scores.labelled(task)
    labels, names = scores.labels[task][rows], scores.classes[task]
    ranks = label_rank(scores.scores[task][rows], labels)
    class_clips = np.bincount(labels, minlength=len(names))
    class_metrics = {}
    for k in (1, 5):
        correct = np.bincount(labels[ranks < k], minlength=len(names))
        with np.errstate(invalid="ignore"):  # 0 / 0: a class without clips
            class_metrics[f"top{k}"] = 100 * correct / class_clips
    return TaskResult(len(labels), _accuracy(ranks), names, class_clips, class_metrics)


def _score_multi_label(scores: ClipScores, task: str) -> TaskResult:
    # Clips without any label do not count in Charades (1,814 of its 1,863 test videos have one).
    rows = scores.labelled(task)
    labels = scores.labels[task][rows]
    ap = 100 * average_precision_by_class(scores.scores[task][rows], labels)
    metrics = {"mAP": float(np.nanmean(ap))}
    return TaskResult(len(labels), metrics, scores.classes[task], labels.sum(axis=0), {"AP": ap})


def _score_pairs(scores: ClipScores, prior: np.ndarray | None) -> TaskResult:
    shape = (len(scores.classes["verb"]), len(scores.classes["noun"]))
    if prior is not None and prior.shape != shape:
        raise ClipEvaluationError(
            f"{scores.source} has {shape[0]} verbs and {shape[1]} nouns, the counts {prior.shape}. "
            "Count the training annotations of the same dataset"
        )
    rows = scores.labelled("verb") & scores.labelled("noun")
    verb, noun = ((scores.scores[t][rows], scores.labels[t][rows]) for t in ("verb", "noun"))
    ranks = pair_rank(verb[0], noun[0], verb[1], noun[1], prior)
    return TaskResult(len(ranks), _accuracy(ranks))


def _accuracy(ranks: np.ndarray) -> dict[str, float]:
    return {f"top{k}": float(100 * (ranks < k).mean()) for k in (1, 5)}


def format_results(results: Mapping[str, TaskResult]) -> str:
    """Format a table of the classes for each task, then a table of the tasks.

    A class without clips has no figure and does not count in the mean.
    """
    tables = []
    for task, result in results.items():
        if result.class_names:
            classes = _class_rows(result)
            rows = [{task: name, "clips": clips, **values} for name, clips, values in classes]
            means = {name: np.nanmean(values) for name, values in result.class_metrics.items()}
            mean = f"(mean of {np.count_nonzero(result.class_clips)} classes)"
            tables.append([*rows, {task: mean, "clips": result.num_clips, **means}])
    tables.append([{"task": t, "clips": r.num_clips, **r.metrics} for t, r in results.items()])
    # A class may be named by a number, which is no figure.
    options = {"tablefmt": "pipe", "floatfmt": ".2f", "disable_numparse": [0]}
    return "\n\n".join(tabulate(rows, headers="keys", **options) for rows in tables)


def write_class_metrics(result: TaskResult, path: str) -> None:
    """Write a csv of ``index,class,clips`` and percentages, empty for a class without clips."""
    with open_atomic(path) as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["index", "class", "clips", *result.class_metrics])
        for index, (name, clips, values) in enumerate(_class_rows(result)):
            row = ("" if value is None else value for value in values.values())
            writer.writerow([index, name, clips, *row])


def _class_rows(result: TaskResult) -> list[tuple[str, int, dict[str, float | None]]]:
    """Return name, clips and metrics of each class; the metrics are None without clips."""
    found, metrics = zip(result.class_names, result.class_clips, strict=True), result.class_metrics
    return [
        (name, int(clips), {m: float(v[i]) if clips else None for m, v in metrics.items()})
        for i, (name, clips) in enumerate(found)
    ]
