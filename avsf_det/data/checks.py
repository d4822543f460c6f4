"""Whether a dataset and a model fit, asked before the first clip is read."""

import logging
from collections.abc import Sized

from detectron2.config import CfgNode
from detectron2.data import MetadataCatalog

from ..structures import AVSFError

KINDS = ("", "keyframes", "clips", "frames")

logger = logging.getLogger(__name__)


def has_keyframes(cfg: CfgNode, dataset_name: str) -> bool:
    """Return whether a dataset has keyframes with person boxes; else it has clips with classes.

    Raises:
        ValueError: the model takes the other kind, ``INPUT.KIND``.
    """
    kind = cfg.INPUT.KIND
    if kind not in KINDS:
        raise ValueError(f"INPUT.KIND must be keyframes, clips, frames or '', got '{kind}'")
    # "frames" are the images of keyframes, for a person detector.
    keyframes = MetadataCatalog.get(dataset_name).evaluator_type == "ava"
    if kind and keyframes != (kind != "clips"):
        found = "keyframes with person boxes" if keyframes else "clips without person boxes"
        raise ValueError(
            f"Dataset '{dataset_name}' is of {found}, which is not for INPUT.KIND '{kind}' of "
            f"MODEL.META_ARCHITECTURE '{cfg.MODEL.META_ARCHITECTURE}'"
        )
    return keyframes


def check_not_empty(dicts: Sized, dataset_name: str, kind: str) -> None:
    """Raise an AVSFError if a dataset has none of its kind of dataset dicts."""
    if not len(dicts):
        raise AVSFError(f"Dataset '{dataset_name}' has no {kind}; check its annotation file")


def check_tasks(cfg: CfgNode, dataset_name: str) -> None:
    """Compare the model's tasks with those of a dataset, which must have been loaded.

    Raises:
        ValueError: the dataset lacks a task, has more classes than the model, or other classes than
            the first training set; or one of the two has several labels per clip.
    """
    # Models without labels, such as audiovisual synchronisation, have no tasks and take any clips.
    metadata, head = MetadataCatalog.get(dataset_name), cfg.MODEL.CLIP_HEAD
    if head.TASKS and metadata.multi_label != (head.LOSS == "sigmoid"):
        number = "several labels" if metadata.multi_label else "one label"
        raise ValueError(
            f"Dataset '{dataset_name}' has {number} per clip, which does not go with "
            f"MODEL.CLIP_HEAD.LOSS '{head.LOSS}'"
        )
    for task, given in zip(head.TASKS, head.NUM_CLASSES, strict=True):
        names = metadata.task_classes.get(task)
        if names is None:
            raise ValueError(
                f"Dataset '{dataset_name}' has no task '{task}' of MODEL.CLIP_HEAD.TASKS; it has "
                f"{', '.join(metadata.task_classes)}"
            )
        if given < len(names):
            raise ValueError(
                f"Dataset '{dataset_name}' has {len(names)} classes of '{task}', the model "
                f"{given}. Set MODEL.CLIP_HEAD.NUM_CLASSES."
            )
        # A head learns the classes of the first training set: ids mean the same in all sets.
        trained = MetadataCatalog.get(cfg.DATASETS.TRAIN[0]).get("task_classes", {}).get(task)
        if trained is not None and trained != names:
            raise ValueError(
                f"Datasets '{cfg.DATASETS.TRAIN[0]}' and '{dataset_name}' have different classes "
                f"of '{task}'. Register both with the same list of classes."
            )


def check_num_classes(cfg: CfgNode, dataset_name: str) -> None:
    """Compare the numbers of actions of the model and of a dataset.

    Raises:
        ValueError: the dataset has more actions than the model.
    """
    needed = len(MetadataCatalog.get(dataset_name).action_classes)
    given = cfg.MODEL.ROI_ACTION_HEAD.NUM_CLASSES
    if given < needed:
        raise ValueError(
            f"Dataset '{dataset_name}' has {needed} actions, the model {given}. "
            f"Set MODEL.ROI_ACTION_HEAD.NUM_CLASSES {needed}."
        )
    if given > needed:
        logger.warning(
            f"The model scores {given} actions, of which dataset '{dataset_name}' has the first "
            f"{needed}. MODEL.ROI_ACTION_HEAD.NUM_CLASSES {needed} would do."
        )
