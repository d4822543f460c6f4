"""Log of the predictions of one video: one line of JSON per keyframe, which a run resumes from.

    {"video": "a.mp4", "second": 3.0, "run": "0f3a...", "persons": [
        {"box": [x1, y1, x2, y2], "score": 0.99, "actions": {"stand": 0.93, ...}}, ...]}

A person may have a "track", an id that the same person has at other keyframes; drawings then move
the box along. Boxes are in 0..1 of the frame, seconds are those of the file, and "actions" has the
scores of all actions of the model. Numbers have nine significant digits, so that float32 values are
read back bit-equal.
"""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import torch
from detectron2.structures import Boxes, Instances

from ava_tools.support.json_lines import JsonLinesLog
from avsf_det.engine.predictor import PredictorError
from avsf_det.structures.ava_csv import write_detections
from avsf_det.utils.atomic import open_atomic


class PredictionLog:
    """Log file of one video and one run; a context manager that closes it.

    Args:
        path: file to continue, or to create.
        video: name of the video.
        run: digest of everything that the predictions depend on; see ``ClipPredictor.digest``.
        class_names: names of the K actions.

    Attributes:
        path: the file.
        last: second of the last keyframe in it; -inf if there is none.

    Raises:
        PredictorError: the file is of another run, or not such a log; or two actions have the same
            name.
    """

    def __init__(self, path: str | Path, video: str, run: str, class_names: Sequence[str]) -> None:
        if len(set(class_names)) < len(class_names):
            raise PredictorError("two actions of the label map have the same name; rename one")
        self.path = Path(path)
        self.last = -np.inf
        self._log = JsonLinesLog(path)
        self._identity = {"video": video, "run": run}
        self._class_names = list(class_names)
        for number, record in enumerate(self._records(), 1):
            self.last = self._check(record, f"{self.path}:{number}")
        self._log.resume()

    def append(self, second: float, instances: Instances) -> None:
        """Write one keyframe.

        Args:
            second: time of the keyframe in the file, in seconds.
            instances: predictions as :class:`ClipPredictor` returns them.
        """
        height, width = instances.image_size
        size = np.array((width, height) * 2, np.float32)
        boxes = instances.pred_boxes.tensor.numpy() / size
        scores, actions = instances.scores.tolist(), instances.action_scores.tolist()
        tracks = instances.track_ids if instances.has("track_ids") else [None] * len(scores)
        persons = [
            {
                "box": _shorten(box),
                "score": _shorten([score])[0],
                **({} if track is None else {"track": track}),
                "actions": dict(zip(self._class_names, _shorten(values), strict=True)),
            }
            for box, score, track, values in zip(
                boxes.tolist(), scores, tracks, actions, strict=True
            )
        ]
        self._log.append({**self._identity, "second": second, "persons": persons})
        self.last = second

    def read(self, size: tuple[int, int] = (1, 1)) -> Iterator[tuple[float, Instances]]:
        """Yield the second and the predictions of each keyframe, in the order of the file.

        Args:
            size: (height, width) of the frames, in whose pixels the boxes are returned.
        """
        for number, record in enumerate(self._records(), 1):
            try:
                instances = self._to_instances(record["persons"], size)
            except (KeyError, TypeError, ValueError, RuntimeError):
                raise PredictorError(
                    f"{self.path}:{number}: not a line of predictions. Delete the file, or choose "
                    "another --output"
                ) from None
            yield record["second"], instances

    def _to_instances(self, persons: list[dict], size: tuple[int, int]) -> Instances:
        height, width = size
        boxes = torch.tensor([p["box"] for p in persons]).reshape(-1, 4)
        actions = [[p["actions"][name] for name in self._class_names] for p in persons]
        tracks = [p.get("track") for p in persons]
        return Instances(
            size,
            track_ids=tracks,
            pred_boxes=Boxes(boxes * torch.tensor((width, height) * 2)),
            scores=torch.tensor([p["score"] for p in persons]),
            action_scores=torch.tensor(actions).reshape(-1, len(self._class_names)),
        )

    def count_persons(self) -> int:
        """Return the number of persons at all keyframes together."""
        return sum(len(instances) for _, instances in self.read())

    def write_ava_csv(
        self, path: str | Path, video_id: str, class_ids: Iterable[int], offset: float = 0.0
    ) -> None:
        """Write ``video_id,second,x1,y1,x2,y2,action_id,score``, as the evaluation does.

        Args:
            path: csv file.
            video_id: first column.
            class_ids: ids of the K actions.
            offset: second of the csv's clock at which the file starts.
        """
        class_ids = list(class_ids)
        with open_atomic(path) as file:
            for second, found in self.read():
                boxes, scores = found.pred_boxes.tensor.numpy(), found.action_scores.numpy()
                write_detections(file, (video_id, second + offset), boxes, class_ids, scores)

    def close(self) -> None:
        """Close the file."""
        self._log.close()

    def __enter__(self) -> "PredictionLog":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def _records(self) -> Iterator[Any]:
        try:
            yield from self._log
        except ValueError as error:  # a line that is not JSON
            raise PredictorError(str(error)) from None

    def _check(self, record: Any, place: str) -> float:
        """Return the second of a record of this run."""
        try:
            identity = {key: record[key] for key in self._identity}
            second = float(record["second"])
        except (KeyError, TypeError, ValueError):
            raise PredictorError(
                f"{place}: not a line of predictions. Delete the file, or choose another --output"
            ) from None
        if identity != self._identity:
            raise PredictorError(
                f"{place}: of a run with another video, other weights, boxes or settings. Delete "
                "the file, or choose another --output"
            )
        return second


def _shorten(values: list[float]) -> list[float]:
    return [float(f"{value:.9g}") for value in values]
