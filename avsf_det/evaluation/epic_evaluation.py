"""Verbs, nouns and actions of EPIC-Kitchens as a Detectron2 evaluator."""

import sys

import numpy as np
from detectron2.data import MetadataCatalog

from ..structures.text_file import read_rows
from .clip_evaluation import ClipEvaluator
from .clip_metrics import TaskResult, score_clips
from .clip_scores import ClipEvaluationError, ClipScores


class EPICEvaluator(ClipEvaluator):
    """Top-1 and top-5 of the tasks "verb" and "noun" and, if the model has both, of "action".

    An action is correct if verb and noun are. Pairs rank by the product of their scores. With the
    prior, "action_prior" ranks them by the product times P(noun | verb) in training (Wu et al.
    2019, long-term feature banks). If two models score verbs and nouns,
    ``ava_tools/evaluate_scores.py`` joins them. For the rest see :class:`ClipEvaluator`.
    """

    def __init__(self, dataset_name: str, output_dir: str, *, use_prior: bool = False) -> None:
        """Read the metadata; with a prior, count the pairs of its ``train_annotation_file``."""
        train_csv = MetadataCatalog.get(dataset_name).train_annotation_file if use_prior else ""

        def score(scores: ClipScores) -> dict[str, TaskResult]:
            # The file is read at the end of the evaluation, and only if the model has both tasks.
            if train_csv and {"verb", "noun"} <= scores.scores.keys():
                return score_clips(scores, read_verb_noun_counts(train_csv, scores))
            return score_clips(scores)

        super().__init__(dataset_name, output_dir, score=score)


def read_verb_noun_counts(csv_file: str, scores: ClipScores) -> np.ndarray:
    """Count the (verb, noun) pairs of a training csv of EPIC-Kitchens-55 or -100.

    Clips of ``scores`` are not counted: the csv of EPIC-55 contains the validation participants
    (26 and up), too. Its columns are ``uid`` or ``narration_id``, ``verb_class``, ``noun_class``.

    Returns:
        Counts, int64 (V, N), for the V and N classes of the tasks "verb" and "noun".

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
