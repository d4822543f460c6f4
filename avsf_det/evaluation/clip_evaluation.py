"""Accuracy and mAP of clips as Detectron2 evaluators."""

import itertools
import logging
import os
from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import numpy as np
import torch
from detectron2.data import MetadataCatalog
from detectron2.evaluation import DatasetEvaluator
from detectron2.utils import comm
from detectron2.utils.file_io import PathManager

from .clip_metrics import (
    TaskResult,
    format_results,
    read_verb_noun_counts,
    score_clips,
    write_class_metrics,
)
from .clip_scores import ClipEvaluationError, ClipScores, write_scores

TaskArrays = dict[str, np.ndarray]  # task -> array

_REDUCTIONS: dict[str, Callable[..., np.ndarray]] = {"sum": np.mean, "max": np.max}


@dataclass
class ClipViews:
    """One clip with the views that were evaluated so far."""

    clip_id: str  # unique in the dataset
    num_views: int
    labels: TaskArrays  # () or (K,), of the whole clip
    # View to scores (K,); emptied once they are merged, to save memory.
    views: dict[int, TaskArrays] = field(default_factory=dict)
    scores: TaskArrays = field(default_factory=dict)  # merged; empty until all views are there


class ViewMerger:
    """Merge the scores of all views of a clip into one score per class, by "sum" or "max".

    A clip is merged once all its views are there, in the order of the views and in float64. So the
    result is bit-equal, whatever order and processes the views come from. The sum is divided by the
    number of views, so that runs with more views do not weigh more when runs are fused.
    """

    def __init__(self, rule: str) -> None:
        self._reduce = _REDUCTIONS[rule]
        self.clips: dict[str, ClipViews] = {}

    def add(
        self, clip_id: str, view: int, num_views: int, scores: TaskArrays, labels: TaskArrays
    ) -> None:
        """Add one view (index 0..num_views-1) of a clip; for the rest see :class:`ClipViews`."""
        self.join(ClipViews(clip_id, num_views, labels, {view: scores}))

    def join(self, new: ClipViews) -> None:
        """Add views of a clip, which may come from another process."""
        empty = ClipViews(new.clip_id, new.num_views, new.labels)
        clip = self.clips.setdefault(new.clip_id, empty)
        if new.num_views != clip.num_views or not set(new.views) <= set(range(clip.num_views)):
            raise ClipEvaluationError(
                f"clip {clip.clip_id}: views {sorted(new.views)} of {new.num_views} and views of "
                f"{clip.num_views} came; is clip_id unique in the dataset?"
            )
        # A merged clip has no views left, so it is compared as a whole.
        twice = sorted(clip.views.keys() & new.views.keys())
        if clip.scores or twice or (clip.views and new.scores):
            raise ClipEvaluationError(
                f"clip {clip.clip_id}: {f'views {twice}' if twice else 'a view'} of "
                f"{clip.num_views} came twice; clip_id must be unique in the dataset, and the test "
                "loader must give each view once (Detectron2's InferenceSampler does)"
            )
        clip.views.update(new.views)
        clip.scores = dict(new.scores)
        # Merge as soon as the clip is complete: one (K,) array per clip instead of one per view.
        if len(clip.views) == clip.num_views:
            views = [clip.views[view] for view in range(clip.num_views)]
            for task in views[0]:
                stacked = np.stack([view[task] for view in views]).astype(np.float64)
                clip.scores[task] = self._reduce(stacked, axis=0).astype(np.float32)
            clip.views = {}

    def finish(self) -> list[ClipViews]:
        """Return all clips, sorted by id."""
        if not self.clips:
            raise ClipEvaluationError("no clip was evaluated; is the test set empty?")
        clips = [clip for _, clip in sorted(self.clips.items())]
        if partial := [clip for clip in clips if not clip.scores]:
            clip = partial[0]
            raise ClipEvaluationError(
                f"{len(partial)} of {len(clips)} clips lack views, such as clip {clip.clip_id}: "
                f"views {sorted(set(range(clip.num_views)) - clip.views.keys())} of "
                f"{clip.num_views} did not come; the test loader must give each view once"
            )
        return clips


class ClipEvaluator(DatasetEvaluator):
    """Top-1 and top-5 accuracy of each task over the summed scores of a clip's views.

    It writes to ``output_dir``:

    * ``scores.npz``, the scores of every clip, see :mod:`avsf_det.evaluation.clip_scores`;
      ``ava_tools/evaluate_scores.py`` computes the same figures from it, fuses and compares runs;
    * ``per_class_<task>.csv``, rows ``index,class,clips,top1,top5``.

    The figures are **percent**. All ranks must call :meth:`evaluate`. A ClipEvaluationError tells
    of views that are missing or come twice, other tasks, too few classes, and NaN.
    """

    def __init__(
        self,
        dataset_name: str,
        output_dir: str,
        *,
        view_rule: str = "sum",
        score: Callable[[ClipScores], dict[str, TaskResult]] = score_clips,
    ) -> None:
        """Read the metadata ``task_classes`` (task -> class names) and ``multi_label``.

        ``view_rule`` says how the scores of views are merged, see :class:`ViewMerger`; ``score``
        computes the result of each task from the scores of all clips.
        """
        meta = MetadataCatalog.get(dataset_name)
        self._dataset_name, self._output_dir = dataset_name, output_dir
        self._view_rule, self._score = view_rule, score
        self._classes: dict[str, list[str]] = meta.task_classes
        self._multi_label: bool = meta.multi_label
        self._logger = logging.getLogger(__name__)
        self.reset()

    def reset(self) -> None:
        """Forget all clips."""
        self._views = ViewMerger(self._view_rule)
        self._warned: set[str] = set()  # tasks

    def process(self, inputs: list[dict], outputs: list[dict]) -> None:
        """Add the views of a batch: model inputs and outputs (contracts 2 and 3).

        The dataset's classes are the first scores of a task, and the model may lack tasks.
        """
        for input_, output in zip(inputs, outputs, strict=True):
            clip_id = input_["clip_id"]
            scores = {t: self._checked(clip_id, t, s) for t, s in output["scores"].items()}
            # Tasks that the model does not score need no labels.
            labels = {t: self._label(input_, t) for t in scores if t in input_["labels"]}
            self._views.add(clip_id, int(input_["view"]), int(input_["num_views"]), scores, labels)

    def _checked(self, clip_id: str, task: str, scores: torch.Tensor) -> np.ndarray:
        """Return the scores of the dataset's classes as float32 (K,)."""
        if task not in self._classes:
            raise ClipEvaluationError(
                f"the model scores the task '{task}', {self._dataset_name} has "
                f"{', '.join(self._classes)}; set the model's tasks to these"
            )
        num_classes = len(self._classes[task])
        if len(scores) < num_classes:
            raise ClipEvaluationError(
                f"the model scores {len(scores)} classes of task '{task}', {self._dataset_name} "
                f"has {num_classes}; set the model's number of classes to that"
            )
        if len(scores) > num_classes and task not in self._warned:
            self._warned.add(task)
            self._logger.warning(
                f"The model scores {len(scores)} classes of task '{task}'; the first "
                f"{num_classes}, those of {self._dataset_name}, count"
            )
        # numpy has no bfloat16, hence float().
        array = scores[:num_classes].detach().float().cpu().numpy()
        if not np.isfinite(array).all():
            raise ClipEvaluationError(
                f"the model gives NaN or infinity for clip {clip_id}; look at its weights (a "
                "diverged training, an overflow of float16) and at this clip"
            )
        return array

    def _label(self, input_: dict, task: str) -> np.ndarray:
        label = torch.as_tensor(input_["labels"][task]).cpu().numpy()
        expected = (len(self._classes[task]),) if self._multi_label else ()
        if label.shape != expected:
            raise ClipEvaluationError(
                f"clip {input_['clip_id']}: the label of task '{task}' has the shape "
                f"{label.shape}, not {expected}; is multi_label of {self._dataset_name} correct?"
            )
        return label

    def evaluate(self) -> OrderedDict | None:
        """Gather the clips of all processes, write the files and compute the metrics.

        Returns:
            ``{task: {"top1": x, "top5": x}}`` in percent on the main process, ``{}`` for a test set
            without labels; None on other processes.
        """
        # A clip may have views on several processes: merge only after gathering.
        gathered = comm.gather(self._views.clips, dst=0)
        if not comm.is_main_process():
            return None
        views = ViewMerger(self._view_rule)
        for clip in itertools.chain.from_iterable(clips.values() for clips in gathered):
            views.join(clip)
        scores = self._to_scores(views.finish())
        PathManager.mkdirs(self._output_dir)
        path = os.path.join(self._output_dir, "scores.npz")
        write_scores(scores, path)
        self._logger.info("Wrote the scores of %d clips to %s", len(scores.clip_ids), path)
        results = self._score(scores)
        if not results:
            self._logger.info("%s has no labels: nothing is scored", self._dataset_name)
            return OrderedDict()
        for task, result in results.items():
            if result.class_names:  # EPIC's actions have no table: there are too many pairs
                path = os.path.join(self._output_dir, f"per_class_{task}.csv")
                write_class_metrics(result, path)
        self._logger.info("Percent of %s\n\n%s", self._dataset_name, format_results(results))
        return OrderedDict((task, result.metrics) for task, result in results.items())

    def _to_scores(self, clips: list[ClipViews]) -> ClipScores:
        # Every clip has the same tasks: those of the model, in the order of the dataset.
        tasks = [task for task in self._classes if task in clips[0].scores]
        return ClipScores(
            source=self._dataset_name,
            clip_ids=[clip.clip_id for clip in clips],
            scores={task: np.stack([clip.scores[task] for clip in clips]) for task in tasks},
            labels={t: self._stack_labels(t, (c.labels.get(t) for c in clips)) for t in tasks},
            classes={task: list(self._classes[task]) for task in tasks},
        )

    def _stack_labels(self, task: str, labels: Iterable[np.ndarray | None]) -> np.ndarray:
        """Return bool (N, K), all False for a clip without label; or int64 (N,), -1 for it."""
        if self._multi_label:
            none = np.zeros(len(self._classes[task]), bool)
            return np.stack([none if label is None else label > 0 for label in labels])
        return np.array([-1 if label is None else int(label) for label in labels], np.int64)


class CharadesEvaluator(ClipEvaluator):
    """mAP of clips with several labels, over the maximum of the scores of a clip's views.

    The mAP is the mean over the classes that have a clip. As in the official script, the AP of a
    class is the mean, over its clips, of the precision at their rank: no interpolation, no weights.
    Clips without any label do not count; equal scores rank in the order of the clip ids.
    :meth:`evaluate` returns ``{task: {"mAP": x}}``, and ``per_class_<task>.csv`` has rows
    ``index,class,clips,AP``; for the rest see :class:`ClipEvaluator`.
    """

    def __init__(self, dataset_name: str, output_dir: str) -> None:
        """Read the metadata of the dataset."""
        super().__init__(dataset_name, output_dir, view_rule="max")


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
