"""What was found in a video, a line of JSON for each keyframe.

A line is written as soon as it is known, so that a run that was killed goes on where it stopped.

    {"video": "a.mp4", "second": 3.0, "run": "0f3a...", "persons": [
        {"box": [x1, y1, x2, y2], "score": 0.99, "actions": {"stand": 0.93, ...}}, ...]}

Boxes are in 0..1 of the frame, seconds those of the file, actions are all that the model scores.
Numbers have nine digits, which tell any two float32 apart.
"""

import json
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from detectron2.structures import Boxes, Instances

from avsf_det.engine.predictor import PredictorError
from avsf_det.evaluation.ava_csv import prediction_rows


class PredictionLog:
    """The file of one video and one run.

    Attributes:
        path: of the file.
        last: second of the last keyframe in it; -inf if there is none.
    """

    def __init__(self, path: str | Path, video: str, run: str, class_names: Sequence[str]):
        """Open it, or go on with it; a line that was broken off is cut away.

        Args:
            video: name of the video.
            run: stands for all that the results depend on; see ``ClipPredictor.digest``.
            class_names: of the K actions.

        Raises:
            PredictorError: it is of another run, or not such a file at all; or two actions
                have the same name.
        """
        if len(set(class_names)) < len(class_names):
            raise PredictorError("two actions of the label map have the same name; rename one")
        self.path = Path(path)
        self._about = {"video": video, "run": run}
        self._class_names = list(class_names)
        self.last = -np.inf
        self.path.touch()
        whole = 0
        with open(self.path, "rb") as file:
            for number, line in enumerate(file, 1):
                if not line.endswith(b"\n"):
                    break
                self.last = self._check(line, f"{self.path}:{number}")
                whole += len(line)
        os.truncate(self.path, whole)

    def _check(self, line: bytes, place: str) -> float:
        try:
            record = json.loads(line)
            about, second = {key: record[key] for key in self._about}, record["second"]
        except (ValueError, KeyError, TypeError):
            raise PredictorError(
                f"{place}: not a line of results. Delete the file, or choose another --output"
            ) from None
        if about != self._about:
            raise PredictorError(
                f"{place}: of a run with another video, other weights, boxes or settings. Delete "
                "the file, or choose another --output"
            )
        return second

    def append(self, second: float, instances: Instances) -> None:
        """Write one keyframe; ``instances`` as :class:`ClipPredictor` gives them."""
        height, width = instances.image_size
        size = np.array((width, height) * 2, np.float32)
        boxes = instances.pred_boxes.tensor.numpy() / size
        scores, actions = instances.scores.tolist(), instances.action_scores.tolist()
        persons = [
            {
                "box": _short(box),
                "score": _short([score])[0],
                "actions": dict(zip(self._class_names, _short(values), strict=True)),
            }
            for box, score, values in zip(boxes.tolist(), scores, actions, strict=True)
        ]
        line = json.dumps({**self._about, "second": second, "persons": persons})
        with open(self.path, "a") as file:
            file.write(line + "\n")
        self.last = second

    def read(self, size: tuple[int, int] = (1, 1)) -> Iterator[tuple[float, Instances]]:
        """What was appended, one keyframe after the other; boxes in pixels of (height, width)."""
        height, width = size
        with open(self.path) as file:
            for record in map(json.loads, file):
                persons = record["persons"]
                boxes = torch.tensor([p["box"] for p in persons]).reshape(-1, 4)
                actions = [[p["actions"][name] for name in self._class_names] for p in persons]
                yield (
                    record["second"],
                    Instances(
                        size,
                        pred_boxes=Boxes(boxes * torch.tensor((width, height) * 2)),
                        scores=torch.tensor([p["score"] for p in persons]),
                        action_scores=torch.tensor(actions).reshape(-1, len(self._class_names)),
                    ),
                )

    def count_persons(self) -> int:
        return sum(len(found) for _, found in self.read())

    def write_ava_csv(
        self, path: str | Path, video_id: str, class_ids: Iterable[int], offset: float = 0.0
    ) -> None:
        """Write it as the evaluation does: ``video_id,second,x1,y1,x2,y2,action_id,score``.

        Args:
            class_ids: of the K actions.
            offset: second of the csv's clock at which the file starts.
        """
        class_ids = list(class_ids)
        with open(path, "w") as file:
            for second, found in self.read():
                boxes, scores = found.pred_boxes.tensor.numpy(), found.action_scores.numpy()
                file.write(prediction_rows(video_id, second + offset, boxes, class_ids, scores))


def _short(values: list[float]) -> list[float]:
    return [float(f"{value:.9g}") for value in values]
