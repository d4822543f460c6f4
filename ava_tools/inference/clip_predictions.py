"""Classify windows of many videos, and write the best classes to a csv; a killed run resumes."""

import csv
import hashlib
import logging
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from detectron2.config import CfgNode
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.utils import comm
from tqdm import tqdm

from ava_tools.support.json_lines import JsonLinesLog
from ava_tools.support.ranks import all_logs, file_size, gather, own_log, take_share
from avsf_det.data import SegmentMapper, SequentialReader, VideoDecodeError
from avsf_det.data.checks import check_datasets
from avsf_det.data.datasets.clips import load_class_names
from avsf_det.data.transforms import build_clip_augmentations
from avsf_det.data.video import SequentialVideoReader
from avsf_det.engine.defaults import build_trained_model, copy_for_inference
from avsf_det.engine.feature_extractor import clip_middles, digest_config
from avsf_det.layers import fold_batch_norms
from avsf_det.structures import AnnotationError, AVSFError
from avsf_det.structures.addresses import local_path
from avsf_det.utils.atomic import open_atomic

logger = logging.getLogger(__name__)

COLUMNS = ("video", "start", "end", "class", "score", "task")
Window = tuple[str, float]  # name of the video, start in seconds


class ClipScorer:
    """Classifier of windows, whose scores are those of the evaluation for the same time.

    Attributes:
        clip_sec: length of a window in seconds.
        classes: task to the names of its classes.
        settings: everything that the scores depend on, except the videos.

    Args:
        cfg: config of a ClipClassifier; TEST.VIEWS.SPATIAL crops of each window are averaged.
        class_files: task to a file of class names, one per line; other tasks have the names of
            the first dataset of DATASETS.TEST.

    Raises:
        AVSFError: the config is not of a ClipClassifier, or there are no class names.
        CheckpointError: there are no weights, or they cannot be used.
    """

    def __init__(self, cfg: CfgNode, class_files: Mapping[str, str]) -> None:
        if cfg.MODEL.META_ARCHITECTURE != "ClipClassifier":
            raise AVSFError(
                "classes of clips need MODEL.META_ARCHITECTURE ClipClassifier, got "
                f"{cfg.MODEL.META_ARCHITECTURE}; for persons use demo.py"
            )
        cfg = copy_for_inference(cfg)
        cfg.TEST.VIEWS.TEMPORAL = 1
        self.classes = load_names(cfg, class_files)
        self._model, _ = build_trained_model(cfg)
        # As the evaluation does, for equal scores.
        fold_batch_norms(self._model, self._model.autocast_dtype)
        source = SequentialReader(build_clip_augmentations(cfg, is_train=False))
        self._mapper = SegmentMapper(cfg, is_train=False, source=source)
        self.clip_sec = self._mapper.clip_reader.clip_sec
        weights = Path(local_path(cfg.MODEL.WEIGHTS)).read_bytes()
        self.settings = {
            "weights_sha256": hashlib.sha256(weights).hexdigest(),
            "config_sha256": digest_config(cfg),
            "classes": self.classes,
        }

    @torch.no_grad()
    def __call__(self, path: str, start: float) -> dict[str, np.ndarray]:
        """Return task to scores (K,), in 0..1, of the window that starts at a second."""
        video = {"file_name": path, "source": path, "clip_id": path, "labels": {}, "view": 0}
        span = {"start_sec": start, "end_sec": start + self.clip_sec}
        outputs = self._model(self._mapper.read_crops({**video, **span}))
        return {
            task: torch.stack([output["scores"][task] for output in outputs]).mean(0).cpu().numpy()
            for task in self.classes
        }


def load_names(cfg: CfgNode, class_files: Mapping[str, str]) -> dict[str, list[str]]:
    """Return task to class names, see :class:`ClipScorer`."""
    tasks = dict(zip(cfg.MODEL.CLIP_HEAD.TASKS, cfg.MODEL.CLIP_HEAD.NUM_CLASSES, strict=True))
    if unknown := set(class_files).difference(tasks):
        raise AVSFError(f"--classes: no task '{min(unknown)}'; there are: {', '.join(tasks)}")
    names = {task: load_class_names(file) for task, file in class_files.items()}
    if missing := [task for task in tasks if task not in names]:
        hint = f"or give --classes {missing[0]}=FILE, one class name per line"
        try:
            check_datasets(cfg.DATASETS.TEST, "DATASETS.TEST", needed=True)
            DatasetCatalog.get(cfg.DATASETS.TEST[0])  # loading it sets the names
        except AVSFError as error:
            raise AVSFError(f"{error} ({hint})") from None
        known = MetadataCatalog.get(cfg.DATASETS.TEST[0]).get("task_classes", {})
        if absent := [task for task in missing if task not in known]:
            raise AVSFError(
                f"{cfg.DATASETS.TEST[0]} has no task '{absent[0]}': name another dataset, {hint}"
            )
        names |= {task: known[task] for task in missing}
    for task, count in tasks.items():
        if len(names[task]) != count:
            raise AVSFError(
                f"task '{task}': {len(names[task])} class names, but the model has {count} "
                "classes. Give those that it was trained with (--classes)"
            )
    return {task: list(names[task]) for task in tasks}


def window_starts(duration: float, window: float, stride: float) -> list[float]:
    """Return the starts of windows that cover a video; the last one ends with it.

    All values are in seconds. A video that is shorter than a window has one, from 0.
    """
    starts = [max(middle - window / 2, 0.0) for middle in clip_middles(duration, window, stride)]
    if starts[-1] + window < duration - 1e-6:
        starts.append(duration - window)
    return [round(start, 6) for start in starts]


def classify_videos(
    scorer: ClipScorer, videos: Mapping[str, str], output: str, *, stride: float | None, top: int
) -> tuple[int, list[VideoDecodeError]]:
    """Write the ``top`` classes of each window to a csv; processes share the videos.

    Until the end, and if there is a bad video, ``output`` + ".partial" holds the finished windows.
    A call with the same arguments resumes from it.

    Args:
        scorer: the classifier.
        videos: name in the csv to path.
        output: csv to write, with a header line.
        stride: seconds between windows; None: the length of a window.
        top: number of classes for each window and task.

    Returns:
        the number of windows, and the errors of bad videos.

    Raises:
        AnnotationError: ``output`` exists, or the partial file is of other settings.
    """
    partial = f"{output}.partial"
    if os.path.exists(output) and not all_logs(partial):
        raise AnnotationError(f"{output}: is there already. Delete it, or name another file")
    stride = stride or scorer.clip_sec
    done = _read_logs(partial, {**scorer.settings, "stride": stride, "top": top})
    todo: list[Window] = []
    bad: list[VideoDecodeError] = []
    ends: dict[str, float] = {}
    for name in take_share([*videos], lambda name: file_size(videos[name])):
        try:
            with SequentialVideoReader(videos[name]) as reader:
                ends[name] = reader.duration
        except VideoDecodeError as error:
            bad.append(error)
        else:
            todo += [(name, t) for t in window_starts(ends[name], scorer.clip_sec, stride)]
    rows, failed = {}, set[str]()
    with JsonLinesLog(own_log(partial)) as log:
        if next(iter(log), None) is None:
            log.append({**scorer.settings, "stride": stride, "top": top})
        for name, start in tqdm(todo, "windows", mininterval=2, unit="window"):
            if name in failed:
                continue
            if (name, start) not in done:
                try:
                    scores = scorer(videos[name], start)
                except VideoDecodeError as error:
                    bad.append(error)
                    failed.add(name)
                    continue
                done[name, start] = best_classes(scores, top)
                log.append([name, start, done[name, start]])
            end = min(start + scorer.clip_sec, ends[name])
            rows[name, start] = end, done[name, start]
    found = dict(gather([*rows.items()]))
    bad = gather(bad)
    if comm.is_main_process():
        _write_csv(output, videos, found, scorer.classes)
        for file in [] if bad else all_logs(partial):
            os.remove(file)
    return len(found), bad


def best_classes(scores: Mapping[str, np.ndarray], top: int) -> dict[str, list]:
    """Return for each task the ``top`` best [class index, score], best first."""
    best = {task: np.argsort(-x, kind="stable")[:top] for task, x in scores.items()}
    return {
        task: [[int(k), float(f"{scores[task][k]:.6g}")] for k in order]
        for task, order in best.items()
    }


def _read_logs(path: str, settings: dict) -> dict[Window, dict[str, list]]:
    """Return the finished windows of all processes of this run and of earlier ones."""
    done: dict[Window, dict[str, list]] = {}
    for file in all_logs(path):
        try:
            before, *records = [*JsonLinesLog(file)] or [None]
            windows = {(str(name), float(start)): dict(found) for name, start, found in records}
        except (TypeError, ValueError):
            raise AnnotationError(
                f"{file}: not a file of classified windows. Delete it to start again"
            ) from None
        if before is not None and before != settings:
            differs = [key for key in settings if settings[key] != dict(before).get(key)]
            raise AnnotationError(
                f"{file}: was made with another {', '.join(differs)}. Use the same settings, or "
                "delete it to start again"
            )
        done |= windows
    return done


def _write_csv(
    output: str,
    videos: Sequence[str] | Mapping[str, Any],
    found: Mapping[Window, tuple[float, dict[str, list]]],
    classes: Mapping[str, Sequence[str]],
) -> None:
    order = {name: i for i, name in enumerate(videos)}
    with open_atomic(output) as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(COLUMNS)
        for name, start in sorted(found, key=lambda window: (order[window[0]], window[1])):
            end, best = found[name, start]
            for task, pairs in best.items():
                for k, score in pairs:
                    span = f"{start:g}", f"{end:.6g}"
                    writer.writerow([name, *span, classes[task][k], f"{score:.4f}", task])
