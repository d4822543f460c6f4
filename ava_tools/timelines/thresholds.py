"""Score thresholds per action: the file beside the weights, and the fit on a validation set."""

import json
from collections.abc import Collection, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ava_tools.measurement.person_rows import match_rows, person_rows
from ava_tools.measurement.span_map import Detected, span_f1, time_iou
from avsf_det.structures import ActionBoxes, AVSFError, Keyframe
from avsf_det.structures.addresses import is_address
from avsf_det.utils.atomic import write_atomic

from .bouts import Bout, BoutRules, Track, find_bouts

MAX_CANDIDATES = 20  # thresholds tried per action
MIN_TIME_IOU = 0.5
ANNOTATED = BoutRules(threshold=0.5, release=1.0)  # scores of annotations are 0 or 1


class Fit(NamedTuple):
    """Best threshold of an action, its F1 of bouts (0..1), and the number of annotated bouts."""

    threshold: float
    f1: float
    num_bouts: int


def thresholds_path(weights: str) -> Path:
    """Return the path beside the weights: ``model_final.thresholds.json``."""
    return Path(weights).with_suffix(".thresholds.json")


def find_rules(
    threshold: float | None,
    file: str | None,
    weights: str,
    actions: Collection[str],
    **rules: Any,
) -> tuple[BoutRules, str]:
    """Return the rules of bouts, with thresholds per action of a file, which is printed.

    Args:
        threshold: score of a bout, of the actions that the file lacks. If it is given without a
            ``file``, the file beside the weights is not read.
        file: file of thresholds; None for the one beside the weights, if there is one.
        weights: MODEL.WEIGHTS.
        actions: names of the model's actions.
        **rules: other fields of :class:`BoutRules`.

    Returns:
        rules and file, "" if there is none.
    """
    if not file and not threshold and weights and not is_address(weights):
        beside = thresholds_path(weights)
        file = str(beside) if beside.is_file() else None
    thresholds = read_thresholds(file, actions) if file else {}
    if file:
        print(f"{file}: thresholds of {len(thresholds)} of {len(actions)} actions")
    return BoutRules(threshold or 0.5, thresholds, **rules), file or ""


def read_thresholds(path: str | Path, actions: Collection[str]) -> dict[str, float]:
    """Read JSON of action to threshold.

    Args:
        path: the file.
        actions: names of the model's actions.

    Raises:
        AVSFError: the file is missing, is no such JSON, or has an action that the model lacks, or a
            threshold that is no number in 0..1.
    """
    try:
        thresholds = json.loads(Path(path).read_bytes())
    except OSError as error:
        raise AVSFError(f"{path}: {error.strerror}; fit_thresholds.py writes thresholds") from None
    except (ValueError, RecursionError) as error:
        raise AVSFError(f"{path}: not JSON ({error}); give " + '{"stand": 0.4, ...}') from None
    if not isinstance(thresholds, dict):
        raise AVSFError(f"{path}: not an object of action to threshold, as " + '{"stand": 0.4}')
    for action, value in thresholds.items():
        if action not in actions:
            some = ", ".join(sorted(actions)[:5])
            raise AVSFError(f"{path}: the model has no action '{action}'; it has {some} ...")
        is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
        if not is_number or not 0 < value <= 1:
            raise AVSFError(
                f"{path}: the threshold of '{action}' is {json.dumps(value)}; give a number above "
                "0 and up to 1"
            )
    return {action: float(value) for action, value in thresholds.items()}


def write_thresholds(path: str | Path, fits: Mapping[str, Fit]) -> None:
    """Write the thresholds for :func:`read_thresholds`, one a line."""
    thresholds = {action: fit.threshold for action, fit in fits.items()}
    write_atomic(path, json.dumps(thresholds, ensure_ascii=False, indent=1) + "\n")


def fit_thresholds(
    detections: ActionBoxes,
    ground_truth: ActionBoxes,
    label_map: Mapping[int, str],
    *,
    excluded: AbstractSet[Keyframe] = frozenset(),
    step: float = 1.0,
    source: str = "ground truth",
) -> dict[str, Fit]:
    """Return the threshold of each action with the highest F1 of bouts at a temporal IoU of 0.5.

    Scores become bouts along annotated persons: a detected box belongs to the annotated one that it
    overlaps most. A box that overlaps none is a person of its own, whose bouts are all wrong.

    Args:
        detections: boxes with the scores of all actions, of videos that were not trained on.
        ground_truth: annotations with ids of persons. Its keyframes alone count.
        label_map: action id to name.
        excluded: keyframes to leave out.
        step: seconds between annotated keyframes.
        source: file of the annotations, for messages.

    Returns:
        action -> fit, of those actions of which a bout is found.

    Raises:
        AVSFError: no ids of persons, or no keyframe in common.
    """
    truth = person_rows(ground_truth, list(label_map), excluded=excluded, source=source)
    names = list(label_map.values())
    annotated = [as_detected(bout) for bout in find_bouts(truth.tracks(), names, ANNOTATED, step)]
    found = person_rows(detections, list(label_map)).at(truth.keyframes)
    if not len(found.boxes):
        raise AVSFError(f"{source}: has no keyframe of the detections; are they of other videos?")
    owner = match_rows(found, truth)
    strangers = -1 - np.arange(len(owner))
    found = replace(found, persons=np.where(owner >= 0, truth.persons[owner], strangers))
    tracks = list(found.tracks())
    fits = {}
    for k, name in enumerate(names):
        right = found.scores[(owner >= 0) & (truth.scores[owner, k] > 0), k]
        spans = [span for span in annotated if span.action == name]
        if len(right):
            of_action = [track._replace(scores=track.scores[:, [k]]) for track in tracks]
            fits[name] = _fit(of_action, spans, right, step)
    return {name: fit for name, fit in fits.items() if fit.f1 > 0}


def _fit(
    tracks: Sequence[Track],
    annotated: Sequence[Detected[tuple[float, float]]],
    right: np.ndarray,
    step: float,
) -> Fit:
    """Return the best threshold of one action.

    Args:
        tracks: scores of this action.
        annotated: bouts of this action, at least one.
        right: scores at annotated keyframes of the action; the thresholds to try are among them.
        step: seconds between keyframes.
    """
    (name,) = {span.action for span in annotated}
    peaks = np.array([track.scores.max() for track in tracks])
    quantiles = np.quantile(right, np.linspace(0, 1, MAX_CANDIDATES), method="lower")
    # Four digits, rounded down, so that the score itself still passes.
    candidates = np.unique(np.maximum(np.floor(quantiles * 1e4), 1) / 1e4)
    f1 = []
    for threshold in candidates:
        reaching = (tracks[i] for i in np.flatnonzero(peaks >= threshold).tolist())
        bouts = find_bouts(reaching, [name], BoutRules(float(threshold)), step)
        f1.append(span_f1(map(as_detected, bouts), annotated, time_iou, MIN_TIME_IOU)[name])
    best = _middle_of_best(np.array(f1))
    return Fit(float(candidates[best]), f1[best], len(annotated))


def as_detected(bout: Bout) -> Detected[tuple[float, float]]:
    """Return a bout in the form of :func:`span_f1`; bouts match those of the same person."""
    place = (bout.video, bout.person)
    return Detected(place, bout.action, (bout.start, bout.end), bout.mean)


def _middle_of_best(values: np.ndarray) -> int:
    """Return the middle of the longest run of the highest value: there a change costs least."""
    is_best = np.concatenate([[False], values >= values.max() - 1e-12, [False]])
    edges = np.flatnonzero(np.diff(is_best))
    starts, ends = edges[::2], edges[1::2]
    longest = int(np.argmax(ends - starts))
    return int((starts[longest] + ends[longest] - 1) // 2)
