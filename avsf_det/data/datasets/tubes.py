"""Tubes of actions, annotated frame by frame: UCF101-24, JHMDB-21, MultiSports.

All three are pickles of the form that ACT introduced (Kalogeiton et al., ICCV 2017), a dict::

    labels                     class names
    train_videos, test_videos  for each split the video ids, "<folder>/<name>"
    nframes                    video id -> number of frames
    resolution                 video id -> (height, width)
    gttubes                    video id -> {class: [tube]}; a tube is an array (T, 5) of rows
                               frame (from 1), x1, y1, x2, y2 in pixels

Every frame of a video is a keyframe, those without persons too: detections on them are wrong. The
clock of a keyframe counts frames, so that annotations need no frame rate. The video id of a
keyframe is that of the pickle with "-" for "/", so that it can be written to AVA's csv files.
"""

import logging
import os
from collections.abc import Collection, Mapping
from typing import Any

import numpy as np
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.structures import BoxMode

from ...structures import AnnotationError
from ...structures.addresses import local_path
from ...structures.text_file import reading
from ...utils.array_unpickler import UNREADABLE, ArrayUnpickler, explain_unreadable
from .annotation_files import check_present, first_few, present_files, without_garbage_collection

# Frame n is on screen from (n - 1) / fps on. This offset asks for the middle of its time.
FIRST_FRAME_OFFSET = 0.5
_KEYS = ("labels", "train_videos", "test_videos", "nframes", "resolution", "gttubes")
_NAMING = "<folder>/<name>.avi, as the video ids of the pickle"

logger = logging.getLogger(__name__)


def register_tubes(
    name: str,
    pickle_file: str,
    subset: str,
    video_dir: str,
    *,
    split: int = 1,
    num_classes: int | None = None,
    unscored: Collection[str] = (),
    person_boxes: str = "",
    source: str = "",
) -> None:
    """Register a subset of a split. ``DatasetCatalog.get(name)`` reads the files.

    Metadata are those of :func:`.ava.register_ava_csv`, with ``evaluator_type`` "tubes" and
    ``truth_in_dicts``: the ground truth is that of the dataset dicts.

    Args:
        name: name in the catalogs.
        pickle_file: annotations.
        subset: "train" or "test".
        video_dir: folder of the videos, named by the ids with the ending of a video.
        split: number of the split, from 1.
        num_classes: expected number of classes; None: any.
        unscored: names of the classes that are not evaluated.
        person_boxes: detected persons; for tubes, the timestamps are numbers of frames.
        source: where to get the files; shown if one is missing.
    """
    metadata = MetadataCatalog.get(name).set(
        evaluator_type="tubes",
        truth_in_dicts=True,
        thing_classes=["person"],
        annotation_file=pickle_file,
        excluded_file="",
        label_map_file="",
        proposal_file=person_boxes,
        valid_sec=None,
    )

    def load() -> list[dict]:
        check_present(name, {"annotations": pickle_file, "videos": video_dir}, source, _NAMING)
        dicts, labels = load_tubes(pickle_file, subset, video_dir, split=split)
        if num_classes not in (None, len(labels)):
            raise AnnotationError(
                f"{pickle_file}: {len(labels)} classes, but the dataset has {num_classes}. Put the "
                "pickle of this dataset there."
            )
        scored = [i for i, label in enumerate(labels) if label not in unscored]
        metadata.set(action_classes=labels, action_csv_ids=list(range(len(labels))))
        metadata.set(scored_action_csv_ids=scored)
        return dicts

    DatasetCatalog.register(name, load)


@without_garbage_collection()
def load_tubes(
    pickle_file: str, subset: str, video_dir: str, *, split: int = 1
) -> tuple[list[dict], list[str]]:
    """Read the keyframes, with the arguments of :func:`register_tubes`, and the class names.

    Equal boxes of several tubes are one annotation. Its ``tube_ids`` say to which tube of the video
    each of its ``action_ids`` belongs.
    """
    data = _read_pickle(pickle_file)
    labels, splits = [str(label) for label in data["labels"]], data[f"{subset}_videos"]
    if not 1 <= split <= len(splits):
        raise AnnotationError(
            f"{pickle_file}: split {split} of {len(splits)}. Register another split."
        )
    videos = list(splits[split - 1])
    files = present_files(video_dir, videos)
    if missing := [video for video, file in zip(videos, files, strict=True) if file is None]:
        raise AnnotationError(
            f"{pickle_file}: {len(missing)} of the {len(videos)} {subset} videos of split {split} "
            f"are not in {video_dir}: {first_few(missing)}. Add {_NAMING}"
        )
    dicts: list[dict] = []
    for video, file in sorted(zip(videos, files, strict=True)):
        video_id = video.replace("/", "-")
        place = f"{pickle_file}: video {video}"
        try:
            num_frames, (height, width) = int(data["nframes"][video]), data["resolution"][video]
            boxes_of = _boxes_by_frame(data["gttubes"][video], num_frames, len(labels))
        except (KeyError, TypeError, ValueError) as error:
            raise AnnotationError(f"{place}: {error}. Get the official file again.") from None
        size = np.array([width, height, width, height], np.float64)
        for frame in range(1, num_frames + 1):
            annotations = [
                {
                    "bbox": (np.array(box) / size).tolist(),
                    "bbox_mode": BoxMode.XYXY_REL,
                    "category_id": 0,
                    "action_ids": [action for action, _ in tubes],
                    "tube_ids": [tube for _, tube in tubes],
                }
                for box, tubes in boxes_of.get(frame, {}).items()
            ]
            dicts.append(
                {
                    "file_name": file,
                    "video_id": video_id,
                    "image_id": f"{video_id},{frame}",
                    "timestamp": float(frame),
                    "offset": FIRST_FRAME_OFFSET,
                    "clock": "frames",
                    "source": place,
                    "annotations": annotations,
                }
            )
    if not dicts:
        raise AnnotationError(f"{pickle_file}: split {split}, {subset}, has no frame.")
    return dicts, labels


def _read_pickle(path: str) -> Mapping[str, Any]:
    """Read the dict, without running code that a pickle may contain."""
    with reading(path), open(local_path(path), "rb") as file:
        try:
            data = ArrayUnpickler(file, os.fstat(file.fileno()).st_size).load()
        except UNREADABLE as error:
            reason = explain_unreadable(error, "no complete pickle")
            raise AnnotationError(f"{path}: {reason}. Get the official file again.") from None
    missing = [key for key in _KEYS if not isinstance(data, Mapping) or key not in data]
    if missing:
        raise AnnotationError(
            f"{path}: has no {', '.join(missing)}; expected is a dict with {', '.join(_KEYS)}."
        )
    return data


def _boxes_by_frame(
    tubes_of: Mapping[int, list], num_frames: int, num_classes: int
) -> dict[int, dict[tuple, list[tuple[int, int]]]]:
    """Return frame -> box in pixels -> (class, number of the tube in the video) of its tubes.

    Raises:
        ValueError: a tube has another form.
    """
    boxes_of: dict[int, dict[tuple, list[tuple[int, int]]]] = {}
    number = 0
    for action, tubes in sorted(tubes_of.items()):
        if not 0 <= action < num_classes:
            raise ValueError(f"class {action} of {num_classes}")
        for tube in tubes:
            rows = np.asarray(tube, np.float64)
            if rows.ndim != 2 or rows.shape[1] != 5 or not np.isfinite(rows).all():
                raise ValueError(f"tube {number} is no array (T, 5) of finite numbers")
            frames = rows[:, 0]
            if len(rows) and not (1 <= frames.min() and frames.max() <= num_frames):
                raise ValueError(f"tube {number} leaves the frames 1..{num_frames}")
            for frame, *box in rows.tolist():
                boxes = boxes_of.setdefault(int(frame), {})
                boxes.setdefault(tuple(box), []).append((int(action), number))
            number += 1
    return boxes_of
