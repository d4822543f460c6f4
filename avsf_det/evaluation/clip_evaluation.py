"""Top-1 and top-5 accuracy of clips as a Detectron2 evaluator."""

import logging
import os
from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
import torch
from detectron2.data import MetadataCatalog
from detectron2.evaluation import DatasetEvaluator
from detectron2.utils import comm
from detectron2.utils.file_io import PathManager

from .clip_metrics import TaskResult, format_results, score_clips, write_class_metrics
from .clip_scores import ClipEvaluationError, ClipScores, write_scores

TaskArrays = dict[str, np.ndarray]  # by task


@dataclass
class ClipViews:
    """What came of one clip so far; ``views`` is emptied once ``merged`` is made."""

    num_views: int
    labels: TaskArrays
    views: dict[int, TaskArrays] = field(default_factory=dict)
    merged: TaskArrays | None = None


class ViewMerger:
    """Joins the scores of the views of each clip to one score per class.

    A clip is merged once all its views are there, in the order of the views and in float64: the
    result is the same, to the last bit, in whatever order and process they came.
    """

    def __init__(self, rule: str) -> None:
        """
        Args:
            rule: "sum" (divided by the number of views, so that runs with more views do not weigh
                more when fused; it ranks like the sum) or "max".
        """
        self._reduce = {"sum": np.mean, "max": np.max}[rule]
        self.clips: dict[str, ClipViews] = {}

    def add(
        self, clip_id: str, view: int, num_views: int, scores: TaskArrays, labels: TaskArrays
    ) -> None:
        """
        Args:
            view: 0..num_views-1.
            scores: task -> float (K,).
            labels: task -> () or (K,), of the whole clip.
        """
        self._join(clip_id, ClipViews(num_views, labels, {view: scores}))

    def update(self, clips: dict[str, ClipViews]) -> None:
        """Take over the ``clips`` of another process."""
        for clip_id, views in clips.items():
            self._join(clip_id, views)

    def _join(self, clip_id: str, new: ClipViews) -> None:
        clip = self.clips.setdefault(clip_id, ClipViews(new.num_views, new.labels))
        if new.num_views != clip.num_views or not set(new.views) <= set(range(clip.num_views)):
            raise ClipEvaluationError(
                f"clip {clip_id}: views {sorted(new.views)} of {new.num_views} and views of "
                f"{clip.num_views} came; is clip_id unique in the data set?"
            )
        twice = sorted(clip.views.keys() & new.views.keys())
        if clip.merged is not None or twice or (clip.views and new.merged is not None):
            raise ClipEvaluationError(
                f"clip {clip_id}: {f'views {twice}' if twice else 'a view'} of {clip.num_views} "
                "came twice; clip_id must be unique in the data set, and the test loader must "
                "give each view once (Detectron2's InferenceSampler does)"
            )
        clip.views.update(new.views)
        clip.merged = new.merged
        if len(clip.views) == clip.num_views:
            views = [clip.views[view] for view in range(clip.num_views)]
            clip.merged = {task: self._merge([v[task] for v in views]) for task in views[0]}
            clip.views = {}

    def _merge(self, views: list[np.ndarray]) -> np.ndarray:
        return self._reduce(np.stack(views).astype(np.float64), axis=0).astype(np.float32)

    def finish(self) -> list[tuple[str, ClipViews]]:
        """The clips by id, all merged.

        Raises:
            ClipEvaluationError: a clip lacks a view, or there is no clip.
        """
        if not self.clips:
            raise ClipEvaluationError("no clip was evaluated; is the test set empty?")
        partial = {clip_id: c for clip_id, c in self.clips.items() if c.merged is None}
        if partial:
            clip_id = min(partial)
            clip = partial[clip_id]
            raise ClipEvaluationError(
                f"{len(partial)} of {len(self.clips)} clips lack views, such as clip {clip_id}: "
                f"views {sorted(set(range(clip.num_views)) - clip.views.keys())} of "
                f"{clip.num_views} did not come; the test loader must give each view once"
            )
        return sorted(self.clips.items())


class ClipEvaluator(DatasetEvaluator):
    """Top-1 and top-5 accuracy of each task over the summed scores of a clip's views.

    It writes to ``output_dir``:

    * ``scores.npz``, the scores of every clip, see :mod:`avsf_det.evaluation.clip_scores`;
      ``ava_tools/evaluate_scores.py`` gives the same figures from it, and fuses and compares runs;
    * ``per_class_<task>.csv``, rows ``index,class,clips,top1,top5``.

    The figures are **percent**. All ranks must call :meth:`evaluate`.
    """

    view_rule = "sum"

    def __init__(self, dataset_name: str, output_dir: str) -> None:
        """
        Args:
            dataset_name: a registered data set with the metadata ``task_classes`` (task -> class
                names) and ``multi_label``.
        """
        meta = MetadataCatalog.get(dataset_name)
        self._dataset_name = dataset_name
        self._output_dir = output_dir
        self._classes: dict[str, list[str]] = meta.task_classes
        self._multi_label: bool = meta.multi_label
        self._logger = logging.getLogger(__name__)
        self.reset()

    def reset(self) -> None:
        self._views = ViewMerger(self.view_rule)
        self._warned: set[str] = set()  # tasks

    def process(self, inputs: list[dict], outputs: list[dict]) -> None:
        """
        Args:
            inputs: model inputs, with ``clip_id``, ``view``, ``num_views`` and ``labels``: task ->
                integer tensor, or multi-hot (K,); without the task where the clip has no label.
            outputs: for each, ``{"scores": {task: (K,)}}`` in 0..1, the data set's classes first.
                A model may lack tasks of the data set.

        Raises:
            ClipEvaluationError: unknown task, too few classes, NaN, or views that do not fit.
        """
        for input_, output in zip(inputs, outputs, strict=True):
            clip_id = input_["clip_id"]
            scores = {t: self._checked(clip_id, t, s) for t, s in output["scores"].items()}
            labels = {
                task: self._label(input_, task) for task in scores if task in input_["labels"]
            }
            self._views.add(clip_id, int(input_["view"]), int(input_["num_views"]), scores, labels)

    def _checked(self, clip_id: str, task: str, scores: torch.Tensor) -> np.ndarray:
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
                "The model scores %d classes of task '%s'; the first %d, those of %s, count",
                len(scores),
                task,
                num_classes,
                self._dataset_name,
            )
        scores = scores[:num_classes].detach().float().cpu().numpy()
        if not np.isfinite(scores).all():
            raise ClipEvaluationError(
                f"the model gives NaN or infinity for clip {clip_id}; look at its weights (a "
                "diverged training, an overflow of float16) and at this clip"
            )
        return scores

    def _label(self, input_: dict, task: str) -> np.ndarray:
        label = torch.as_tensor(input_["labels"][task]).cpu().numpy()
        expected = (len(self._classes[task]),) if self._multi_label else ()
        if label.shape != expected:
            raise ClipEvaluationError(
                f"clip {input_['clip_id']}: the label of task '{task}' has the shape "
                f"{label.shape}, not {expected}; does multi_label of {self._dataset_name} fit?"
            )
        return label

    def evaluate(self) -> OrderedDict | None:
        """
        Returns:
            On the main process ``{task: {"top1": x, "top5": x}}`` in percent, ``{}`` for a test
            set without labels; None on the others.

        Raises:
            ClipEvaluationError: a view is missing or came twice.
        """
        gathered = comm.gather(self._views.clips, dst=0)
        if not comm.is_main_process():
            return None
        views = ViewMerger(self.view_rule)
        for clips in gathered:
            views.update(clips)
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
            if result.class_names:
                name = f"per_class_{task}.csv"
                write_class_metrics(result, os.path.join(self._output_dir, name))
        self._logger.info("Percent of %s\n\n%s", self._dataset_name, format_results(results))
        return OrderedDict((task, result.metrics) for task, result in results.items())

    def _score(self, scores: ClipScores) -> dict[str, TaskResult]:
        return score_clips(scores)

    def _to_scores(self, clips: list[tuple[str, ClipViews]]) -> ClipScores:
        tasks = [task for task in self._classes if task in clips[0][1].merged]
        return ClipScores(
            source=self._dataset_name,
            clip_ids=[clip_id for clip_id, _ in clips],
            scores={t: np.stack([c.merged[t] for _, c in clips]) for t in tasks},
            labels={t: self._stack_labels(t, (c.labels.get(t) for _, c in clips)) for t in tasks},
            classes={task: list(self._classes[task]) for task in tasks},
        )

    def _stack_labels(self, task: str, labels: Iterable[np.ndarray | None]) -> np.ndarray:
        if self._multi_label:
            none = np.zeros(len(self._classes[task]), bool)
            return np.stack([none if label is None else label > 0 for label in labels])
        return np.array([-1 if label is None else int(label) for label in labels], np.int64)
