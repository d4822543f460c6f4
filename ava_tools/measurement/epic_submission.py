"""Result files of the test servers of EPIC-Kitchens-55 and -100 (action recognition)."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from avsf_det.evaluation import ClipEvaluationError, ClipScores
from avsf_det.utils.atomic import write_atomic

# EPIC-100 needs the supervision levels (pretraining, training labels, training data), 0..5.
SLS_KEYS = ("sls_pt", "sls_tl", "sls_td")
TOP_ACTIONS = 100  # pairs that the servers rank per clip
NUM_VERBS_55 = 125


def epic_submission(scores: ClipScores, sls: Sequence[int] | None = None) -> dict[str, Any]:
    """Return the content of a result file, ready for JSON.

    An action is a pair of verb and noun; its score is the product of their scores.

    Args:
        scores: scores of a test list, with the tasks "verb" and "noun".
        sls: supervision levels of the method, for EPIC-100 alone.

    Raises:
        ClipEvaluationError: a task is missing, or the levels do not go with the dataset.
    """
    missing = {"verb", "noun"} - scores.scores.keys()
    if missing:
        raise ClipEvaluationError(
            f"{scores.source}: no scores of {' and '.join(sorted(missing))}; give the score files "
            "of the verb and of the noun model"
        )
    is_55 = len(scores.classes["verb"]) == NUM_VERBS_55
    if is_55 == bool(sls):
        text = "has no supervision levels; leave out --sls" if is_55 else "needs --sls PT TL TD"
        raise ClipEvaluationError(
            f"{scores.source}: {len(scores.classes['verb'])} verbs are those of EPIC-Kitchens-"
            f"{'55' if is_55 else '100'}, whose result file {text}"
        )
    head: dict[str, Any] = {
        "version": "0.1" if is_55 else "0.2",
        "challenge": "action_recognition",
    }
    if sls:
        head |= dict(zip(SLS_KEYS, sls, strict=True))
    rows = zip(scores.clip_ids, scores.scores["verb"], scores.scores["noun"], strict=True)
    return {**head, "results": {clip: _clip_result(verb, noun) for clip, verb, noun in rows}}


def write_epic_submission(
    scores: ClipScores, path: str | Path, sls: Sequence[int] | None = None
) -> None:
    """Write :func:`epic_submission` as a JSON file."""
    write_atomic(path, json.dumps(epic_submission(scores, sls)))


def _clip_result(verb: np.ndarray, noun: np.ndarray) -> dict[str, dict[str, float]]:
    """Return the scores of verbs (V,), nouns (N,) and the best pairs by class id."""
    pairs = np.outer(verb.astype(np.float64), noun.astype(np.float64))  # (V, N)
    best = np.argsort(-pairs, axis=None, kind="stable")[:TOP_ACTIONS]
    actions = {f"{i // len(noun)},{i % len(noun)}": float(pairs.flat[i]) for i in best.tolist()}
    return {
        "verb": {str(i): float(x) for i, x in enumerate(verb)},
        "noun": {str(i): float(x) for i, x in enumerate(noun)},
        "action": actions,
    }
