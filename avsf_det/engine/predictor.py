"""Predict the actions of the persons in a video: ``Instances`` for each keyframe."""

import hashlib
import logging
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from detectron2.config import CfgNode
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.structures import Boxes, Instances

from avsf_det.data import ClipReader, KeyframeMapper, SequentialReader
from avsf_det.data.transforms import augment_clip, build_clip_augmentations
from avsf_det.data.video import SequentialVideoReader
from avsf_det.layers import fold_batch_norms
from avsf_det.structures import AVSFError
from avsf_det.structures.addresses import stem_of
from avsf_det.structures.ava_csv import has_annotations, read_person_boxes
from avsf_det.structures.label_map import read_label_map

from .defaults import build_trained_model, copy_for_inference
from .person_detector import PersonDetector

logger = logging.getLogger(__name__)

# Frames uint8 (H, W, 3) RGB to boxes float32 (N, 5) of each: x1, y1, x2, y2 in 0..1, person score.
FindPersons = Callable[[Sequence[np.ndarray]], list[np.ndarray]]


class PredictorError(AVSFError):
    """Config, boxes or files that do not fit together."""


def keyframe_seconds(duration: float, rate: float = 1.0) -> list[float]:
    """Return ``rate`` keyframes per second from 0 to the end of a video (AVA's rate is 1 Hz)."""
    return [i / rate for i in range(max(1, math.ceil(duration * rate)))]


def load_action_names(cfg: CfgNode, label_map: str = "") -> tuple[list[int], list[str]]:
    """Return the ids (as in AVA's csv files) and the names of a model's actions.

    They are read from ``label_map`` or, if it is "", from that of the first dataset of
    ``DATASETS.TEST``, whose other files need not exist.

    Raises:
        AnnotationError: the label map is missing or wrong.
        PredictorError: its number of actions is not the model's.
    """
    num_classes = cfg.MODEL.ROI_ACTION_HEAD.NUM_CLASSES
    source, metadata = label_map, dict[str, Any](label_map_file=label_map)
    if not label_map:
        dataset = cfg.DATASETS.TEST[0] if cfg.DATASETS.TEST else ""
        source = f"dataset '{dataset}'"
        # MetadataCatalog.get makes an empty entry for an unknown name, so ask the other catalog.
        if dataset not in DatasetCatalog.list():
            raise PredictorError(
                f"{source} is not registered here, and its actions have no names; give a label map"
            )
        metadata = MetadataCatalog.get(dataset).as_dict()
    if "action_classes" in metadata:
        ids, names = metadata["action_csv_ids"], metadata["action_classes"]
    else:  # the dataset has not been loaded yet, and need not be
        labels = read_label_map(metadata["label_map_file"])
        ids, names = labels.ids, labels.names
    if len(names) != num_classes:
        raise PredictorError(
            f"{source}: {len(names)} actions, but MODEL.ROI_ACTION_HEAD.NUM_CLASSES is "
            f"{num_classes}. Give the label map that the model was trained with."
        )
    return list(ids), list(names)


def load_boxes(
    csv_file: str, min_score: float = 0.0, offset: float = 0.0
) -> dict[str, dict[float, np.ndarray]]:
    """Return the person boxes of a csv by video id, in the form that :class:`ClipPredictor` takes.

    Rows are ``video_id,second,x1,y1,x2,y2,[id],score``, or annotations, whose boxes have score 1.
    Boxes below ``min_score`` are left out, and counted in the log; their keyframes stay. ``offset``
    is the second of the csv's clock at which the files start. If persons of a video have ids, its
    boxes have a sixth column with them.

    Raises:
        AnnotationError: the file is missing or wrong.
    """
    if has_annotations(csv_file):
        logger.info(f"{csv_file}: annotations, whose boxes are used with score 1")
    videos: dict[str, dict[float, np.ndarray]] = {}
    given = kept = 0
    found = read_person_boxes(csv_file, take_annotations=True, take_ids=True)
    with_ids = {video_id for (video_id, _), (_, _, ids) in found.items() if (ids >= 0).any()}
    for (video_id, second), (boxes, scores, ids) in found.items():
        columns = [boxes, scores, ids] if video_id in with_ids else [boxes, scores]
        persons = np.column_stack(columns)[scores >= min_score]
        # A keyframe without boxes is still predicted, with no persons.
        videos.setdefault(video_id, {})[second - offset] = persons
        given, kept = given + len(boxes), kept + len(persons)
    if not kept:
        logger.warning(f"{csv_file}: all {given} boxes have scores below {min_score:g}: none left")
    elif kept < given:
        logger.info(f"{csv_file}: {given - kept} of {given} boxes left out: score < {min_score:g}")
    return videos


class ClipPredictor:
    """Predictor of the actions of persons in videos.

    Scores are equal to those of the evaluation for the same keyframes and person boxes: clips are
    read through the same mapper, one clip per batch. Seconds in ascending order are fastest.

        predictor = ClipPredictor(cfg)
        for second, instances in predictor("video.mp4"):
            ...

    Instances (on the CPU) have ``pred_boxes`` in pixels of the video, ``scores`` (person),
    ``pred_classes`` (0) and ``action_scores`` (N, K) in 0..1; where boxes with ids are given, also
    ``track_ids``, a list of an id or None for each person.

    Attributes:
        class_names: names of the K actions.
        class_ids: ids of the K actions, as in AVA's csv files.
        model: the model, in eval mode with folded batch norms.
        clip_reader: number and times of a clip's frames; its ``clip_sec`` is the clip's length.
    """

    def __init__(
        self, cfg: CfgNode, *, person_detector: FindPersons | None = None, label_map: str = ""
    ) -> None:
        """Build the model of a config, and load ``MODEL.WEIGHTS``.

        Args:
            cfg: config of an ActionDetector.
            person_detector: detector for keyframes without given boxes; None for the
                ``PersonDetector`` of the config, built when first needed.
            label_map: see :func:`load_action_names`.

        Raises:
            PredictorError: the config is not of an ActionDetector.
            AnnotationError: the label map is missing or wrong.
            CheckpointError: there are no weights, or they cannot be used.
            AVSFError: TEST.AUDIO_MODE is "swap".
        """
        if cfg.MODEL.META_ARCHITECTURE != "ActionDetector":
            raise PredictorError(
                "Actions of persons need MODEL.META_ARCHITECTURE 'ActionDetector', got "
                f"'{cfg.MODEL.META_ARCHITECTURE}'"
            )
        cfg = copy_for_inference(cfg)
        self.class_ids, self.class_names = load_action_names(cfg, label_map)
        self.model, _ = build_trained_model(cfg)
        # As the evaluation does, for equal scores.
        fold_batch_norms(self.model, self.model.autocast_dtype)
        self._augmentations = build_clip_augmentations(cfg, is_train=False)
        self.clip_reader = ClipReader(cfg, is_train=False)
        self._cfg = cfg
        self._person_detector = person_detector

    def __call__(
        self,
        path: str | Path,
        seconds: Sequence[float] | None = None,
        boxes: Mapping[float, np.ndarray] | None = None,
    ) -> Iterator[tuple[float, Instances]]:
        """Predict the keyframes of a video file, one after the other as they are read.

        Args:
            path: video file.
            seconds: keyframes in seconds of the file; None for those of ``boxes``, or
                :func:`keyframe_seconds`.
            boxes: second to person boxes (N, 5): x1, y1, x2, y2 in 0..1 of the frame, score; or
                (N, 6) with the person's id, -1 for none. A keyframe that is not in it has no boxes.
                None: the person detector finds them.

        Yields:
            second and predictions of each keyframe.

        Raises:
            VideoDecodeError: the file, or the part around a keyframe, cannot be read.
            PredictorError: boxes are not in 0..1.
        """
        path, mapper = str(path), self._build_mapper()
        with SequentialVideoReader(path) as reader:
            if seconds is None:
                seconds = keyframe_seconds(reader.duration) if boxes is None else sorted(boxes)
            size = reader.height, reader.width
            for second in seconds:
                if boxes is None:
                    persons = self.find_persons(reader.get_frames_played_at([second])[0])
                else:
                    persons = boxes.get(second, np.zeros((0, 5), np.float32))
                # Times are seconds of this file, so it starts at 0 on their clock.
                keyframe = {"file_name": path, "timestamp": second, "offset": 0.0, "source": path}
                yield second, self._predict(mapper, keyframe, persons, size)

    def predict_frames(
        self, frames: np.ndarray, persons: np.ndarray, samples: torch.Tensor | None = None
    ) -> Instances:
        """Predict a clip that is read already, such as a camera's.

        Args:
            frames: uint8 (T, H, W, 3) RGB, those of :meth:`frame_times`.
            persons: boxes float32 (N, 5) of the keyframe, which is frame T // 2.
            samples: float32 (S,) in -1..1, those of :meth:`audio_span` at the sample rate of
                ``clip_reader.log_mel``; None: a clip without audio.
        """
        mapper = self._build_mapper()

        def pack(keyframe: dict) -> dict:
            # (T, H, W, 3) -> (3, T, H', W'); the transforms move the boxes along.
            clip, transforms = augment_clip(frames, self._augmentations)
            audio, has_audio = self.clip_reader.spectrogram(
                None if self.clip_reader.mute else samples
            )
            sound = {"audio": audio, "has_audio": has_audio}
            return mapper.pack(keyframe, clip, sound, transforms, frames.shape[1:3])

        return self._predict(pack, {"timestamp": 0.0}, persons, frames.shape[1:3])

    def frame_times(self, second: float) -> list[float]:
        """Return the times of the T frames of the clip around a keyframe, in seconds."""
        return self.clip_reader.frame_times(second - self.clip_reader.clip_sec / 2)

    def audio_span(self, second: float) -> tuple[float, float]:
        """Return start and end of the audio of the clip around a keyframe, in seconds."""
        half, middle = self.clip_reader.clip_sec / 2, second + self.clip_reader.audio_offset
        return middle - half, middle + half

    def _build_mapper(self) -> KeyframeMapper:
        # A new source for each video, because it keeps the last one open.
        source = SequentialReader(self._augmentations)
        return KeyframeMapper(self._cfg, is_train=False, source=source)

    def find_persons(self, frame: np.ndarray) -> np.ndarray:
        """Return the boxes float32 (N, 5) of the persons in a frame uint8 (H, W, 3) RGB."""
        if self._person_detector is None:  # not needed where boxes are given
            self._person_detector = PersonDetector(self._cfg)
        return self._person_detector([frame])[0]

    def digest(self) -> str:
        """Return 16 hexadecimal digits of all that the scores depend on, except video and boxes."""
        sha = hashlib.sha256(self._cfg.dump().encode())
        for name, tensor in self.model.state_dict().items():
            sha.update(name.encode())
            # As bytes, because NumPy has no bfloat16.
            sha.update(tensor.cpu().flatten().view(torch.uint8).numpy().tobytes())
        return sha.hexdigest()[:16]

    def _predict(
        self, mapper: Callable, keyframe: dict, persons: np.ndarray, size: tuple[int, int]
    ) -> Instances:
        """Predict one keyframe of a video of ``size`` (height, width)."""
        persons, ids = np.asarray(persons), None
        if persons.shape[1:] == (6,):
            persons, ids = persons[:, :5], [int(i) if i >= 0 else None for i in persons[:, 5]]
        persons = persons.astype(np.float32).reshape(-1, 5)
        if not ((persons[:, :4] >= 0) & (persons[:, :4] <= 1)).all():
            raise PredictorError(
                f"{keyframe.get('file_name', 'frames')}: person boxes at "
                f"{keyframe['timestamp']:g} s are not in 0..1; divide pixels by width and height"
            )
        if len(persons):
            video_id = stem_of(keyframe.get("file_name", ""))
            names = {"video_id": video_id, "image_id": f"{video_id},{keyframe['timestamp']:.15g}"}
            proposals = {"boxes": persons[:, :4], "scores": persons[:, 4]}
            clip = mapper({**keyframe, **names, "annotations": [], "proposals": proposals})
            with torch.no_grad():
                found = self.model([clip])[0]["instances"].to("cpu")
        else:  # saves reading the clip
            found = Instances(
                tuple(size),
                pred_boxes=Boxes(torch.zeros(0, 4)),
                scores=torch.zeros(0),
                pred_classes=torch.zeros(0, dtype=torch.int64),
                action_scores=torch.zeros(0, len(self.class_names)),
            )
        if ids is not None:
            found.track_ids = ids
        return found
