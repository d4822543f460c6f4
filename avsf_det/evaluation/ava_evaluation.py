"""AVA frame-mAP as a Detectron2 evaluator."""

import csv
import itertools
import json
import logging
import os
from collections import OrderedDict

import numpy as np
from detectron2.data import MetadataCatalog
from detectron2.evaluation import DatasetEvaluator
from detectron2.utils import comm
from detectron2.utils.file_io import PathManager

from .ava_csv import prediction_rows
from .ava_map import PROTOCOLS, AVAEvaluationError, AVAResult, evaluate_ava_files

# video id, seconds, boxes float32 (N, 4) in 0..1, scores float32 (N, scored classes)
Prediction = tuple[str, float, np.ndarray, np.ndarray]


class AVAEvaluator(DatasetEvaluator):
    """Frame-mAP at IoU 0.5 of an AVA-style data set; see :mod:`avsf_det.evaluation.ava_map`.

    It writes to ``output_dir``:

    * ``ava_predictions.csv``, rows ``video_id,timestamp,x1,y1,x2,y2,action_id,score`` of every
      person box and scored class. This file is what is scored, so that reading it with
      ``ava_tools/get_ava_performance.py`` gives the same figures;
    * ``ava_results.json``, mAP, AP per class and counts;
    * ``per_class_ap.csv``, rows ``id,class,AP,ground_truth,detections``.

    The figures are **fractions in 0..1**. All ranks must call :meth:`evaluate`.
    """

    def __init__(
        self,
        dataset_name: str,
        output_dir: str,
        protocol: str = "default",
        *,
        box_source: str | None = None,
    ) -> None:
        """
        Args:
            dataset_name: a registered data set with the metadata ``action_classes``,
                ``action_csv_ids``, ``scored_action_csv_ids`` (None: all), ``annotation_file`` and
                ``excluded_file`` ("" when there is none).
            protocol: "default" or "activitynet".
            box_source: where the person boxes come from, for the log; by default the metadata's
                ``proposal_file``.
        """
        if protocol not in PROTOCOLS:
            raise ValueError(f"AVA protocol is {protocol!r}; choose one of {', '.join(PROTOCOLS)}")
        meta = MetadataCatalog.get(dataset_name)
        self._dataset_name = dataset_name
        self._output_dir = output_dir
        self._protocol = protocol
        self._box_source = box_source or meta.get("proposal_file", "") or "not named"
        self._annotation_file = meta.annotation_file
        self._excluded_file = meta.excluded_file
        self._num_actions = len(meta.action_csv_ids)
        scored = meta.scored_action_csv_ids
        index_of = {csv_id: index for index, csv_id in enumerate(meta.action_csv_ids)}
        self._scored_ids = list(meta.action_csv_ids if scored is None else scored)
        self._scored_index = [index_of[csv_id] for csv_id in self._scored_ids]
        self._label_map = {i: meta.action_classes[index_of[i]] for i in self._scored_ids}
        self._logger = logging.getLogger(__name__)
        self._predictions: list[Prediction] = []

    def reset(self) -> None:
        self._predictions = []

    def process(self, inputs: list[dict], outputs: list[dict]) -> None:
        """
        Args:
            inputs: model inputs, with ``image_id``, ``video_id``, ``timestamp`` (seconds in the
                csv's clock), ``height`` and ``width`` (pixels of the source).
            outputs: for each, ``{"instances": Instances}`` with ``pred_boxes`` in pixels of the
                source and ``action_scores`` (N, K), the data set's actions first.

        Raises:
            AVAEvaluationError: the model scores too few actions, or gives NaN or infinity.
        """
        for input_, output in zip(inputs, outputs, strict=True):
            instances = output["instances"].to("cpu")
            scores = instances.action_scores.float().numpy()
            if scores.shape[1] < self._num_actions:
                raise AVAEvaluationError(
                    f"the model scores {scores.shape[1]} actions, {self._dataset_name} has "
                    f"{self._num_actions}; set MODEL.ROI_ACTION_HEAD.NUM_CLASSES to that"
                )
            size = (input_["width"], input_["height"]) * 2
            boxes = instances.pred_boxes.tensor.float().numpy() / np.array(size, np.float32)
            if not (np.isfinite(scores).all() and np.isfinite(boxes).all()):
                raise AVAEvaluationError(
                    f"the model gives NaN or infinity for {input_['image_id']}; look at its "
                    "weights (a diverged training, an overflow of float16) and at this clip"
                )
            scores = scores[:, self._scored_index]
            self._predictions.append((input_["video_id"], input_["timestamp"], boxes, scores))

    def evaluate(self) -> OrderedDict | None:
        """
        Returns:
            On the main process ``{"ava": {"mAP": x, "AP-<class name>": x, ...}}``, fractions in
            0..1, nan for a class without ground truth; None on the others.

        Raises:
            AVAEvaluationError: a keyframe was predicted twice, or nothing can be scored.
        """
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
        if not any(len(boxes) for _, _, boxes, _ in predictions):
            self._logger.warning(
                "No person box in %d keyframes of %s: mAP is 0. Person boxes: %s; is "
                "DATASETS.PROPOSAL_MIN_SCORE_TEST above all their scores?",
                len(predictions),
                self._dataset_name,
                self._box_source,
            )
        PathManager.mkdirs(self._output_dir)
        csv_file = os.path.join(self._output_dir, "ava_predictions.csv")
        self._write_predictions(csv_file, predictions)
        result = evaluate_ava_files(
            self._label_map, self._annotation_file, csv_file, self._excluded_file, self._protocol
        )
        self._write_results(result)
        self._logger.info(
            "AVA frame-mAP of %s, %d keyframes run, person boxes: %s\n%s",
            self._dataset_name,
            len(predictions),
            self._box_source,
            result.table(),
        )
        metrics = {"mAP": result.mean_ap}
        metrics.update({f"AP-{c.name}": c.ap for c in result.classes})
        return OrderedDict(ava=metrics)

    def _write_predictions(self, path: str, predictions: list[Prediction]) -> None:
        with PathManager.open(path, "w") as file:
            for video_id, timestamp, boxes, scores in predictions:
                rows = prediction_rows(video_id, timestamp, boxes, self._scored_ids, scores)
                file.write(rows)

    def _write_results(self, result: AVAResult) -> None:
        with PathManager.open(os.path.join(self._output_dir, "ava_results.json"), "w") as file:
            json.dump(result.as_dict(), file, indent=1)
        with PathManager.open(os.path.join(self._output_dir, "per_class_ap.csv"), "w") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(["id", "class", "AP", "ground_truth", "detections"])
            for c in result.classes:
                ap = c.ap if c.num_ground_truth else ""
                writer.writerow([c.id, c.name, ap, c.num_ground_truth, c.num_detections])
