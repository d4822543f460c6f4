"""Whether a dataset and a model fit, asked before the first clip is read; else a ConfigError."""

import difflib
import logging
from collections.abc import Sequence, Sized

from detectron2.config import CfgNode
from detectron2.data import DatasetCatalog, MetadataCatalog

from ..structures import AVSFError, ConfigError

KINDS = ("", "keyframes", "clips", "frames")
# Evaluator types of the datasets that have keyframes with person boxes.
KEYFRAME_TYPES = ("ava", "tubes", "active_speaker")
NAMES_SHOWN = 4

logger = logging.getLogger(__name__)


def check_datasets(names: Sequence[str], key: str, *, needed: bool = False) -> None:
    """Check that the datasets that ``key`` gives are registered; with ``needed``, one or more."""
    known = DatasetCatalog.list()
    unknown = [name for name in names if name not in known]
    if not unknown and (names or not needed):
        return
    wanted = unknown[0] if unknown else ""

    def similarity(name: str) -> float:
        return difflib.SequenceMatcher(None, wanted.lower(), name.lower()).ratio()

    # Without a name: ours first, which are registered after Detectron2's own.
    known = sorted(known, key=similarity, reverse=True) if wanted else known[::-1]
    said = f"{key}: no dataset is registered as '{wanted}'" if wanted else f"{key} is empty"
    raise ConfigError(
        f"{said}; registered are {', '.join(known[:NAMES_SHOWN])}, ... ({len(known)} in all). Own "
        "data: name them in DATASETS.OWN, or register them in $DETECTRON2_ENV_MODULE"
    )


def has_keyframes(cfg: CfgNode, dataset_name: str) -> bool:
    """Return whether a dataset has keyframes with person boxes; else it has clips with classes."""
    check_datasets([dataset_name], "DATASETS")
    kind = cfg.INPUT.KIND  # "frames" are the images of keyframes, for a person detector
    if kind not in KINDS:
        raise ConfigError(f"INPUT.KIND must be keyframes, clips, frames or '', got '{kind}'")
    keyframes = MetadataCatalog.get(dataset_name).evaluator_type in KEYFRAME_TYPES
    if kind and keyframes != (kind != "clips"):
        found = "keyframes with person boxes" if keyframes else "clips without person boxes"
        raise ConfigError(
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
        ConfigError: the dataset lacks a task, has more classes than the model, or other classes
            than the first training set; or one of the two has several labels per clip.
    """
    # Models without labels, such as audiovisual synchronisation, have no tasks and take any clips.
    metadata, head = MetadataCatalog.get(dataset_name), cfg.MODEL.CLIP_HEAD
    if head.TASKS and metadata.multi_label != (head.LOSS == "sigmoid"):
        number = "several labels" if metadata.multi_label else "one label"
        raise ConfigError(
            f"Dataset '{dataset_name}' has {number} per clip, which does not go with "
            f"MODEL.CLIP_HEAD.LOSS '{head.LOSS}'"
        )
    for task, given in zip(head.TASKS, head.NUM_CLASSES, strict=True):
        names = metadata.task_classes.get(task)
        if names is None:
            raise ConfigError(
                f"Dataset '{dataset_name}' has no task '{task}' of MODEL.CLIP_HEAD.TASKS; it has "
                f"{', '.join(metadata.task_classes)}"
            )
        if given < len(names):
            raise ConfigError(
                f"Dataset '{dataset_name}' has {len(names)} classes of '{task}', the model "
                f"{given}. Set MODEL.CLIP_HEAD.NUM_CLASSES."
            )
        # A head learns the classes of the first training set: ids mean the same in all sets.
        trained = MetadataCatalog.get(cfg.DATASETS.TRAIN[0]).get("task_classes", {}).get(task)
        if trained is not None and trained != names:
            raise ConfigError(
                f"Datasets '{cfg.DATASETS.TRAIN[0]}' and '{dataset_name}' have different classes "
                f"of '{task}'. Register both with the same list of classes."
            )


def check_num_classes(cfg: CfgNode, dataset_name: str) -> None:
    """Compare the numbers of actions of the model and of a dataset."""
    needed = len(MetadataCatalog.get(dataset_name).action_classes)
    given = cfg.MODEL.ROI_ACTION_HEAD.NUM_CLASSES
    if given < needed:
        raise ConfigError(
            f"Dataset '{dataset_name}' has {needed} actions, the model {given}. "
            f"Set MODEL.ROI_ACTION_HEAD.NUM_CLASSES {needed}."
        )
    if given > needed:
        logger.warning(
            f"The model scores {given} actions, of which dataset '{dataset_name}' has the first "
            f"{needed}. MODEL.ROI_ACTION_HEAD.NUM_CLASSES {needed} would do."
        )
