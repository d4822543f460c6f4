"""Average precision of AVA-ActiveSpeaker, as its official script computes it.

Predictions have a score of SPEAKING_AUDIBLE for each annotated face, and no other face. A face is
identified by timestamp and entity, whose name contains the video's. AP is the area under the
precision envelope over all faces. Equal scores rank in the order of the annotations; the official
script leaves their order open.
"""

import itertools
import logging
import os
from collections import OrderedDict
from collections.abc import Iterator, Sequence

import numpy as np
from detectron2.data import DatasetCatalog
from detectron2.evaluation import DatasetEvaluator
from detectron2.utils import comm

from ..structures.active_speaker_csv import LABELS, SCORED_LABEL, Face, write_predictions
from ..structures.ava_boxes import take_every
from ..utils.atomic import open_atomic
from .ava_map import AVAEvaluationError, average_precision

BOX_TOLERANCE = 1e-9  # between annotated and predicted coordinates

logger = logging.getLogger(__name__)


def active_speaker_ap(annotated: Sequence[Face], predicted: Sequence[Face]) -> float:
    """Return the AP (0..1) of SPEAKING_AUDIBLE.

    Raises:
        AVAEvaluationError: predictions are not of the annotated faces, each once, or have another
            label; or no face speaks audibly.
    """
    if len(annotated) != len(predicted):
        raise AVAEvaluationError(
            f"{len(predicted)} predictions for {len(annotated)} annotated faces; give each a score"
        )
    prediction_of = {(face.second, face.entity): face for face in predicted}
    scores = []
    for face in annotated:
        # Taken out, so that neither side may have a face twice.
        found = prediction_of.pop((face.second, face.entity), None)
        if found is None:
            raise AVAEvaluationError(
                f"{face.place}: {face.second:g} s, entity '{face.entity}' has no prediction of its "
                "own; each face needs one, with the same timestamp and entity"
            )
        if found.label != SCORED_LABEL:
            raise AVAEvaluationError(f"{found.place}: label {found.label}, not {SCORED_LABEL}")
        if np.abs(np.subtract(face.box, found.box)).max() > BOX_TOLERANCE:
            raise AVAEvaluationError(f"{found.place}: another box than that of {face.place}")
        scores.append(found.score)
    is_speaking = np.array([face.label == SCORED_LABEL for face in annotated], bool)
    if not is_speaking.any():
        raise AVAEvaluationError(f"none of the {len(annotated)} faces is {SCORED_LABEL}")
    order = np.argsort(-np.array(scores), kind="stable")
    return average_precision(is_speaking[order], int(is_speaking.sum()))


class ActiveSpeakerEvaluator(DatasetEvaluator):
    """Average precision of a dataset of faces; the person boxes are the annotated ones.

    It writes ``active_speaker_predictions.csv`` to ``output_dir``, for the official script.
    """

    def __init__(self, dataset_name: str, output_dir: str, *, keyframe_stride: int = 1) -> None:
        """Score each ``keyframe_stride``-th annotated frame of a video."""
        self._dataset_name, self._output_dir = dataset_name, output_dir
        self._stride = keyframe_stride
        self._scores: dict[tuple[str, float], np.ndarray] = {}

    def reset(self) -> None:
        """Forget the predictions."""
        self._scores = {}

    def process(self, inputs: list[dict], outputs: list[dict]) -> None:
        """Keep the predictions of some keyframes: model inputs and outputs (contracts 2 and 3)."""
        column = LABELS.index(SCORED_LABEL)
        for input_, output in zip(inputs, outputs, strict=True):
            scores = output["instances"].action_scores[:, column].float().cpu().numpy()
            self._scores[input_["video_id"], input_["timestamp"]] = scores

    def evaluate(self) -> OrderedDict | None:
        """Score all predictions, and write the csv. All ranks must call it.

        Returns:
            On the main process ``{"active_speaker": {"mAP": x}}``, in 0..1; None on the others.
        """
        gathered = comm.gather(self._scores, dst=0)
        if not comm.is_main_process():
            return None
        scores_of = dict(itertools.chain(*(scores.items() for scores in gathered)))
        dicts = take_every(DatasetCatalog.get(self._dataset_name), self._stride)
        annotated = [face for d in dicts for face in _faces_of(d)]
        predicted: list[Face] = []
        for d in dicts:
            faces, scores = [*_faces_of(d)], scores_of.get((d["video_id"], d["timestamp"]), ())
            if len(faces) != len(scores):
                raise AVAEvaluationError(
                    f"{d['image_id']}: {len(scores)} scores for {len(faces)} annotated faces; set "
                    "MODEL.LOAD_PROPOSALS False, so that these are the boxes"
                )
            predicted += [
                face._replace(label=SCORED_LABEL, score=float(score))
                for face, score in zip(faces, scores, strict=True)
            ]
        path = os.path.join(self._output_dir, "active_speaker_predictions.csv")
        with open_atomic(path) as file:
            write_predictions(file, predicted)
        ap = active_speaker_ap(annotated, predicted)
        logger.info(f"AP of {SCORED_LABEL} over {len(annotated)} faces: {ap:.6f}")
        return OrderedDict(active_speaker={"mAP": ap})


def _faces_of(dataset_dict: dict) -> Iterator[Face]:
    video_id, second = dataset_dict["video_id"], dataset_dict["timestamp"]
    for a in dataset_dict["annotations"]:
        label = LABELS[a["action_ids"][0]]
        box = tuple(a["bbox"])
        yield Face(dataset_dict["source"], video_id, second, box, label, a["track_id"])
