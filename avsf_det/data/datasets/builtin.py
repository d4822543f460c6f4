"""The built-in data sets, at fixed paths under ``$DETECTRON2_DATASETS`` (default ``datasets``)::

    ava/
      annotations/             the official zip, and the published person boxes:
        ava_{train,val}_v2.{1,2}.csv
        ava_{train,val}_excluded_timestamps_v2.{1,2}.csv
        ava_action_list_v2.1_for_activitynet_2018.pbtxt
        ava_action_list_v2.2_for_activitynet_2019.pbtxt
        ava_{train,val}_predicted_boxes.csv                              (v2.1)
        person_box_67091280_iou90/                                       (v2.2)
          ava_detection_train_boxes_and_labels_include_negative_v2.2.csv
          ava_detection_val_boxes_and_labels.csv
      videos_15min/            movies cut at second 900: ava_v2.x_{train,val}
      videos/                  whole movies: ava_v2.x_{train,val}_movies
    ava_mini/                  written by ava_tools/make_mini_dataset.py
      annotations/
        ava_mini_action_list.pbtxt
        ava_mini_{train,val}.csv
        ava_mini_{train,val}_boxes.csv
        ava_mini_val_excluded_timestamps.csv
      videos/{train,val}/

Person boxes elsewhere: ``DATASETS.PROPOSAL_FILES_TRAIN`` and ``_TEST``. Registering reads no file.
"""

import os

from .ava import register_ava_csv
from .builtin_meta import AVA_CUT_SECOND, AVA_LABEL_MAP, AVA_VALID_SECONDS

_SCORED_LABEL_MAPS = {
    "v2.1": "ava_action_list_v2.1_for_activitynet_2018.pbtxt",
    "v2.2": "ava_action_list_v2.2_for_activitynet_2019.pbtxt",
}
_PERSON_BOXES = {
    ("v2.1", "train"): "ava_train_predicted_boxes.csv",
    ("v2.1", "val"): "ava_val_predicted_boxes.csv",
    ("v2.2", "train"): "person_box_67091280_iou90/"
    "ava_detection_train_boxes_and_labels_include_negative_v2.2.csv",
    ("v2.2", "val"): "person_box_67091280_iou90/ava_detection_val_boxes_and_labels.csv",
}
# Suffix of the data set's name: folder of its videos, second at which they start.
_VIDEOS = {"": ("videos_15min", AVA_CUT_SECOND), "_movies": ("videos", 0.0)}

_AVA_SOURCE = (
    "Annotations and movies: https://research.google.com/ava/download.html. Movies cut at second "
    f"{AVA_CUT_SECOND:g} go to videos_15min (ava_v2.x_train, ava_v2.x_val), whole ones to videos "
    "(ava_v2.x_train_movies, ava_v2.x_val_movies). The folder above 'ava' is "
    "$DETECTRON2_DATASETS, or 'datasets'."
)
_MINI_SOURCE = (
    "Make it: python ava_tools/make_mini_dataset.py. The folder above 'ava_mini' is "
    "$DETECTRON2_DATASETS, or 'datasets'."
)


def register_all_ava(root: str) -> None:
    """Register ``ava_v2.{1,2}_{train,val}`` and their ``_movies`` siblings."""
    annotations = os.path.join(root, "ava", "annotations")
    for (version, split), person_boxes in _PERSON_BOXES.items():
        for suffix, (folder, offset) in _VIDEOS.items():
            register_ava_csv(
                f"ava_{version}_{split}{suffix}",
                os.path.join(annotations, f"ava_{split}_{version}.csv"),
                AVA_LABEL_MAP,
                os.path.join(root, "ava", folder),
                scored_label_map=os.path.join(annotations, _SCORED_LABEL_MAPS[version]),
                excluded=os.path.join(
                    annotations, f"ava_{split}_excluded_timestamps_{version}.csv"
                ),
                person_boxes=os.path.join(annotations, person_boxes),
                offset=offset,
                valid_sec=AVA_VALID_SECONDS,
                source=_AVA_SOURCE,
            )


def register_all_ava_mini(root: str) -> None:
    """Register ``ava_mini_train`` and ``ava_mini_val``."""
    annotations = os.path.join(root, "ava_mini", "annotations")
    excluded = {"val": os.path.join(annotations, "ava_mini_val_excluded_timestamps.csv")}
    for split in ("train", "val"):
        register_ava_csv(
            f"ava_mini_{split}",
            os.path.join(annotations, f"ava_mini_{split}.csv"),
            os.path.join(annotations, "ava_mini_action_list.pbtxt"),
            os.path.join(root, "ava_mini", "videos", split),
            excluded=excluded.get(split, ""),
            person_boxes=os.path.join(annotations, f"ava_mini_{split}_boxes.csv"),
            source=_MINI_SOURCE,
        )


_root = os.path.expanduser(os.getenv("DETECTRON2_DATASETS", "datasets"))
register_all_ava(_root)
register_all_ava_mini(_root)
