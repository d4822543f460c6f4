"""AVA frame-mAP as a Detectron2 evaluator."""

import csv
import itertools
import json
import logging
import os
from collections import OrderedDict
from contextlib import AbstractContextManager
from functools import cached_property
from typing import TextIO

import numpy as np
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.evaluation import DatasetEvaluator
from detectron2.utils import comm

from ..structures import ActionBoxes
from ..structures.ava_boxes import take_every
from ..structures.ava_csv import (
    DETECTION_DIGITS,
    read_excluded_keyframes,
    read_ground_truth,
    write_detections,
)
from ..utils.atomic import open_atomic
from .ava_map import PROTOCOLS, AVAEvaluationError, AVAResult, evaluate_ava

# video id, seconds, boxes float32 (N, 4) in 0..1, scores float32 (N, scored classes)
Prediction = tuple[str, float, np.ndarray, np.ndarray]


class AVAEvaluator(DatasetEvaluator):
    """Frame-mAP at IoU 0.5 of an AVA-style dataset; see :mod:`avsf_det.evaluation.ava_map`.

    It writes to ``output_dir``:

    * ``ava_predictions.csv``, rows ``video_id,timestamp,x1,y1,x2,y2,action_id,score`` of every
      person box and scored class. Scored are the arrays, rounded as in this file, so that
      ``ava_tools/get_ava_performance.py`` gives the same figures for it;
    * ``ava_results.json``, mAP, AP per class and counts;
    * ``per_class_ap.csv``, rows ``id,class,AP,ground_truth,detections``.

    The figures are **fractions in 0..1**. A keyframe that comes twice, too few actions and NaN are
    an AVAEvaluationError.
    """

    def __init__(
        self,
        dataset_name: str,
        output_dir: str,
        protocol: str = "default",
        *,
        box_source: str = "",
        keyframe_stride: int = 1,
    ) -> None:
        """Take everything from the metadata of the dataset; files are read by :meth:`evaluate`.

        These are ``action_classes``, ``action_csv_ids``, ``scored_action_csv_ids`` (None: all),
        ``annotation_file`` and ``excluded_file`` ("" when there is none). With ``truth_in_dicts``
        the ground truth is that of the dataset dicts instead of the file's: each
        ``keyframe_stride``-th keyframe of a video. The protocol is "default" or "activitynet".
        ``box_source`` names the source of the person boxes in the log, by default the metadata's
        ``proposal_file``.
        """
        if protocol not in PROTOCOLS:
            raise AVAEvaluationError(
                f"AVA protocol is {protocol!r}; choose one of {', '.join(PROTOCOLS)}"
            )
        meta = MetadataCatalog.get(dataset_name)
        self._dataset_name, self._output_dir = dataset_name, output_dir
        self._protocol = protocol
        self._box_source = box_source or meta.get("proposal_file", "") or "not named"
        self._annotation_file, self._excluded_file = meta.annotation_file, meta.excluded_file
        self._truth_in_dicts, self._stride = meta.get("truth_in_dicts", False), keyframe_stride
        self._action_ids, self._num_actions = meta.action_csv_ids, len(meta.action_csv_ids)
        scored = meta.scored_action_csv_ids
        # Columns of action_scores that count: a column is the rank of its id in the label map.
        index_of = {csv_id: index for index, csv_id in enumerate(meta.action_csv_ids)}
        self._scored_ids = list(meta.action_csv_ids if scored is None else scored)
        self._scored_index = [index_of[csv_id] for csv_id in self._scored_ids]
        self._label_map = {i: meta.action_classes[index_of[i]] for i in self._scored_ids}
        self._logger = logging.getLogger(__name__)
        self._predictions: list[Prediction] = []

    def reset(self) -> None:
        """Forget the predictions."""
        self._predictions = []

    def process(self, inputs: list[dict], outputs: list[dict]) -> None:
        """Keep the predictions of some keyframes: model inputs and outputs (contracts 2 and 3).

        The dataset's actions are the first columns of ``action_scores`` (N, K).
        """
        for input_, output in zip(inputs, outputs, strict=True):
            instances = output["instances"].to("cpu")
            scores = instances.action_scores.float().numpy()
            if scores.shape[1] < self._num_actions:
                raise AVAEvaluationError(
                    f"the model scores {scores.shape[1]} actions, {self._dataset_name} has "
                    f"{self._num_actions}; set MODEL.ROI_ACTION_HEAD.NUM_CLASSES to that"
                )
            size = (input_["width"], input_["height"]) * 2  # of x1, y1, x2, y2
            boxes = instances.pred_boxes.tensor.float().numpy() / np.array(size, np.float32)
            if not (np.isfinite(scores).all() and np.isfinite(boxes).all()):
                raise AVAEvaluationError(
                    f"the model gives NaN or infinity for {input_['image_id']}; look at its "
                    "weights (a diverged training, an overflow of float16) and at this clip"
                )
            scores = scores[:, self._scored_index]
            self._predictions.append((input_["video_id"], input_["timestamp"], boxes, scores))

    def evaluate(self) -> OrderedDict | None:
        """Score all predictions, and write the files. All ranks must call it.

        Returns:
            On the main process ``{"ava": {"mAP": x, "AP-<class name>": x, ...}}``, fractions in
            0..1, nan for a class without ground truth; None on the others.
        """
        predictions = self.gather()
        if predictions is None:
            return None
        if not any(len(boxes) for _, _, boxes, _ in predictions):
            self._logger.warning(
                f"No person box in {len(predictions)} keyframes of {self._dataset_name}: mAP is 0. "
                f"Person boxes: {self._box_source}; is DATASETS.PROPOSAL_MIN_SCORE_TEST above all "
                "their scores?"
            )
        with self._open("ava_predictions.csv") as file:
            for video_id, timestamp, boxes, scores in predictions:
                write_detections(file, (video_id, timestamp), boxes, self._scored_ids, scores)
        result = evaluate_ava(
            self._as_rows(predictions),
            self._annotated_rows()
            if self._truth_in_dicts
            else read_ground_truth(self._annotation_file),
            self._label_map,
            read_excluded_keyframes(self._excluded_file) if self._excluded_file else frozenset(),
            self._protocol,
        )
        self._write_results(result)
        self._logger.info(
            f"AVA frame-mAP of {self._dataset_name}, {len(predictions)} keyframes run, person "
            f"boxes: {self._box_source}\n{result.table()}"
        )
        per_class = {f"AP-{c.name}": c.ap for c in result.classes}
        return OrderedDict(ava={"mAP": result.mean_ap, **per_class})

    def gather(self) -> list[Prediction] | None:
        """Return the predictions of all ranks on the main process, None on the others."""
        gathered = comm.gather(self._predictions, dst=0)
        if not comm.is_main_process():
            return None
        # In this order the file, and with it the rank of equal scores, is the same for any
        # number of processes.
        predictions = sorted(itertools.chain(*gathered), key=lambda p: p[:2])
        for (video_id, timestamp, *_), following in itertools.pairwise(predictions):
            if following[:2] == (video_id, timestamp):
                raise AVAEvaluationError(
                    f"keyframe {video_id},{timestamp:g} was predicted twice; the test loader must "
                    "give each keyframe once (Detectron2's InferenceSampler does)"
                )
        return predictions

    @cached_property
    def dataset_dicts(self) -> list[dict]:
        """Keyframes that are scored, each with its annotations."""
        return take_every(DatasetCatalog.get(self._dataset_name), self._stride)

    def _annotated_rows(self) -> ActionBoxes:
        """Return the annotations of the dataset dicts, each box with each of its actions."""
        rows = [
            (i, a["bbox"], self._action_ids[action])
            for i, d in enumerate(self.dataset_dicts)
            for a in d["annotations"]
            for action in a["action_ids"]
        ]
        keyframe, boxes, actions = zip(*rows, strict=True) if rows else [()] * 3
        return ActionBoxes(
            keyframes=[(d["video_id"], d["timestamp"]) for d in self.dataset_dicts],
            keyframe=np.array(keyframe, np.int32),
            boxes=np.array(boxes, np.float64).reshape(-1, 4),
            actions=np.array(actions, np.int32),
            scores=np.ones(len(rows)),
        )

    def _open(self, name: str) -> AbstractContextManager[TextIO]:
        return open_atomic(os.path.join(self._output_dir, name))

    def _as_rows(self, predictions: list[Prediction]) -> ActionBoxes:
        """Return the rows of the csv, each box with all scored classes."""
        predictions = [p for p in predictions if len(p[2])]  # the csv names no others
        num_classes = len(self._scored_ids)
        num_boxes = [len(boxes) for _, _, boxes, _ in predictions]
        boxes = np.concatenate([np.zeros((0, 4)), *(p[2] for p in predictions)])
        # Products of float32 values and 10**5 are exact in float64, so that this rounds as the csv.
        boxes = np.rint(boxes * 10.0**DETECTION_DIGITS) / 10.0**DETECTION_DIGITS
        keyframe = np.repeat(np.arange(len(predictions), dtype=np.int32), num_boxes)
        return ActionBoxes(
            keyframes=[(video_id, float(timestamp)) for video_id, timestamp, _, _ in predictions],
            keyframe=keyframe.repeat(num_classes),
            boxes=boxes.repeat(num_classes, axis=0),
            actions=np.tile(np.array(self._scored_ids, np.int32), len(boxes)),
            scores=np.concatenate([np.zeros(0), *(p[3].reshape(-1) for p in predictions)]),
        )

    def _write_results(self, result: AVAResult) -> None:
        with self._open("ava_results.json") as file:
            json.dump(result.as_dict(), file, indent=1)
        with self._open("per_class_ap.csv") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(["id", "class", "AP", "ground_truth", "detections"])
            for c in result.classes:
                ap = c.ap if c.num_ground_truth else ""
                writer.writerow([c.id, c.name, ap, c.num_ground_truth, c.num_detections])
