"""Verbs, nouns and actions of EPIC-Kitchens as a Detectron2 evaluator."""

import csv
import sys

import numpy as np
from detectron2.data import MetadataCatalog
from detectron2.utils.file_io import PathManager

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
        """Read the metadata of the dataset.

        Args:
            dataset_name: see :class:`ClipEvaluator`.
            output_dir: see :class:`ClipEvaluator`.
            use_prior: whether to count the pairs of the metadata ``train_annotation_file``.
        """
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
    (26 and up), too.

    Args:
        csv_file: csv with the columns ``uid`` or ``narration_id``, ``verb_class`` and
            ``noun_class``.
        scores: scores of V verbs and N nouns as tasks "verb" and "noun".

    Returns:
        Counts, int64 (V, N).

    Raises:
        ClipEvaluationError: a task, the file or a column is missing, a class is out of range, or
            there is no pair to count.
    """
    if not {"verb", "noun"} <= scores.scores.keys():
        raise ClipEvaluationError(
            f"{scores.source}: a prior needs the tasks verb and noun; there is "
            f"{', '.join(scores.scores)}. Give the scores of the verb and of the noun model"
        )
    if not PathManager.isfile(csv_file):
        raise ClipEvaluationError(
            f"{csv_file}: no such file; the prior needs the training annotations, such as "
            "EPIC_100_train.csv"
        )
    evaluated = set(scores.clip_ids)
    counts = np.zeros([len(scores.classes[task]) for task in ("verb", "noun")], np.int64)
    with PathManager.open(csv_file, "r") as file:
        reader = csv.DictReader(file)
        columns = reader.fieldnames or []
        # EPIC-100 names the clip narration_id, EPIC-55 uid.
        id_column = "narration_id" if "narration_id" in columns else "uid"
        missing = {id_column, "verb_class", "noun_class"} - set(columns)
        if missing:
            raise ClipEvaluationError(
                f"{csv_file}:1: no column {', '.join(sorted(missing))} among "
                f"{', '.join(columns)}; give the official training csv of EPIC-Kitchens"
            )
        for row in reader:
            if row[id_column] not in evaluated:  # no leak from the evaluated clips
                pair = row["verb_class"], row["noun_class"]
                verb, noun = (int(x) if x and x.isdecimal() else sys.maxsize for x in pair)
                if verb >= counts.shape[0] or noun >= counts.shape[1]:
                    raise ClipEvaluationError(
                        f"{csv_file}:{reader.line_num}: verb_class, noun_class are {pair}, not two "
                        f"numbers below {counts.shape}; is this the csv of the dataset that was "
                        "evaluated?"
                    )
                counts[verb, noun] += 1
    if not counts.any():
        raise ClipEvaluationError(
            f"{csv_file}: each of its clips is among those evaluated; a prior must come from the "
            "training annotations"
        )
    return counts
