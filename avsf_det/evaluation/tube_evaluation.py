"""Frame-mAP and video-mAP of tubes as a Detectron2 evaluator."""

import itertools
import json
import logging
import os
from collections import OrderedDict, defaultdict

import numpy as np
from detectron2.data import MetadataCatalog

from ..utils.atomic import open_atomic
from .ava_evaluation import AVAEvaluator, Prediction
from .tube_map import MIN_SCORE, DetectedTube, Tube, link_boxes, video_ap

# Overlaps of the reported means; the last one is the mean over 0.5, 0.55, ..., 0.95.
AVERAGED = [round(0.5 + 0.05 * i, 2) for i in range(10)]
THRESHOLDS = [0.2, *AVERAGED]

logger = logging.getLogger(__name__)


class TubeEvaluator(AVAEvaluator):
    """Frame-mAP at IoU 0.5, and video-mAP at 0.2, at 0.5 and over 0.5 to 0.95.

    It writes the files of :class:`AVAEvaluator`, with numbers of frames as seconds, and
    ``video_ap.json``: AP of each class at each threshold.
    """

    def __init__(
        self,
        dataset_name: str,
        output_dir: str,
        *,
        box_source: str = "",
        keyframe_stride: int = 1,
    ) -> None:
        """See :class:`AVAEvaluator`; ids of actions are their indices."""
        options: dict = {"box_source": box_source, "keyframe_stride": keyframe_stride}
        super().__init__(dataset_name, output_dir, **options)
        metadata = MetadataCatalog.get(dataset_name)
        self._names, self._scored = metadata.action_classes, metadata.scored_action_csv_ids
        self._folder, self._frames_apart = output_dir, keyframe_stride

    def evaluate(self) -> OrderedDict | None:
        """Score all predictions, and write the files. All ranks must call it.

        Returns:
            On the main process the result of :meth:`AVAEvaluator.evaluate`, and ``{"video":
            {"mAP@0.2": x, "mAP@0.5": x, "mAP@0.5:0.95": x}}``; None on the others.
        """
        results, predictions = super().evaluate(), self.gather()
        if results is None or predictions is None:
            return None
        annotated, found = self._annotated_tubes(), self._link(predictions)
        ap = {
            self._names[action]: video_ap(found[column], annotated[action], THRESHOLDS)
            for column, action in enumerate(self._scored)
            if action in annotated
        }
        means = np.mean([*ap.values()], axis=0)
        figures = {
            "mAP@0.2": float(means[0]),
            "mAP@0.5": float(means[1]),
            "mAP@0.5:0.95": float(means[1:].mean()),
        }
        with open_atomic(os.path.join(self._folder, "video_ap.json")) as file:
            per_class = {name: dict(zip(THRESHOLDS, x, strict=True)) for name, x in ap.items()}
            json.dump({**figures, "per_class_by_name": per_class}, file, indent=1)
        logger.info(
            f"video-mAP of {len(ap)} classes: "
            + ", ".join(f"{name} {value:.6f}" for name, value in figures.items())
        )
        results["video"] = figures
        return results

    def _annotated_tubes(self) -> dict[int, dict[str, list[Tube]]]:
        """Return action -> video id -> tubes at the keyframes that are scored."""
        boxes_of: dict[tuple[int, str, int], dict[int, list[float]]] = defaultdict(dict)
        for d in self.dataset_dicts:
            for a in d["annotations"]:
                for action, number in zip(a["action_ids"], a["tube_ids"], strict=True):
                    boxes_of[action, d["video_id"], number][int(d["timestamp"])] = a["bbox"]
        tubes: dict[int, dict[str, list[Tube]]] = defaultdict(lambda: defaultdict(list))
        for (action, video_id, _), boxes in boxes_of.items():
            frames = sorted(boxes)
            tube = Tube(np.array(frames), np.array([boxes[frame] for frame in frames]))
            tubes[action][video_id].append(tube)
        return tubes

    def _link(self, predictions: list[Prediction]) -> dict[int, list[DetectedTube]]:
        """Return the tubes of each column of scores; predictions are by video and time."""
        found: dict[int, list[DetectedTube]] = defaultdict(list)
        for video_id, group in itertools.groupby(predictions, key=lambda p: p[0]):
            video = [(int(second), boxes, scores) for _, second, boxes, scores in group]
            # Most actions have no box with a score that is linked.
            best = np.array([scores.max(axis=0, initial=0) for _, _, scores in video])  # (T, K)
            for column in np.flatnonzero(best.max(axis=0) >= MIN_SCORE).tolist():
                keyframes = [
                    (frame, boxes, scores[:, column])
                    for (frame, boxes, scores), top in zip(video, best[:, column], strict=True)
                    if top >= MIN_SCORE
                ]
                for score, tube in link_boxes(keyframes, stride=self._frames_apart):
                    found[column].append(DetectedTube(video_id, score, tube))
        return found
