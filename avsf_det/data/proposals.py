"""Person boxes of keyframes: which file they come from, and how dataset dicts get them.

Without a file, or without a single box, there is a ConfigError.
"""

import logging
from collections.abc import Mapping

import numpy as np
from detectron2.config import CfgNode
from detectron2.data import MetadataCatalog

from ..structures import ConfigError, Keyframe
from ..structures.ava_csv import read_excluded_keyframes, read_person_boxes
from .datasets.ava import add_detected_keyframes

# Boxes float32 (N, 4) in 0..1 and scores float32 (N,) of each keyframe.
PersonBoxes = Mapping[Keyframe, tuple[np.ndarray, ...]]

logger = logging.getLogger(__name__)


def person_box_file(cfg: CfgNode, dataset_name: str) -> str:
    """Return the csv file of a test set's person boxes; "" if ground-truth boxes are to be used."""
    if not cfg.MODEL.LOAD_PROPOSALS:
        return ""
    files = cfg.DATASETS.PROPOSAL_FILES_TEST
    if files and len(files) != len(cfg.DATASETS.TEST):
        raise ConfigError("DATASETS.PROPOSAL_FILES_TEST needs one file per entry of DATASETS.TEST")
    if files:
        return files[list(cfg.DATASETS.TEST).index(dataset_name)]
    file = MetadataCatalog.get(dataset_name).proposal_file
    if not file:
        raise ConfigError(
            f"Dataset '{dataset_name}' has no person boxes. Name a csv in "
            "DATASETS.PROPOSAL_FILES_TEST, or set MODEL.LOAD_PROPOSALS False to use the "
            "ground-truth boxes."
        )
    return file


def attach_test_boxes(cfg: CfgNode, dataset: list[dict], dataset_name: str) -> list[dict]:
    """Return the keyframes of a test set that have a person box, with these as ``proposals``.

    The boxes come from ``DATASETS.PROPOSAL_FILES_TEST``, else from the file that the dataset was
    registered with. Keyframes that have only detected boxes are added, as the official protocol
    demands. With ``MODEL.LOAD_PROPOSALS False`` they are the ground-truth boxes.
    """
    file, metadata = person_box_file(cfg, dataset_name), MetadataCatalog.get(dataset_name)
    if file:
        # Detected boxes may lie on keyframes without annotations, where they count as wrong.
        logger.info(f"Person boxes of '{dataset_name}': {file}")
        boxes_of = read_person_boxes(file)
        excluded_file = metadata.excluded_file
        excluded = read_excluded_keyframes(excluded_file) if excluded_file else ()
        if metadata.evaluator_type == "ava":  # other datasets have all their keyframes
            dataset = add_detected_keyframes(
                dataset, boxes_of, excluded=excluded, valid_sec=metadata.valid_sec
            )
        dataset = attach_person_boxes(dataset, boxes_of, cfg.DATASETS.PROPOSAL_MIN_SCORE_TEST)
    else:
        logger.info(f"Person boxes of '{dataset_name}' are the ground-truth boxes")
        dataset = [{**d, "proposals": _ground_truth_boxes(d["annotations"])} for d in dataset]
    # A keyframe without a box has nothing to score: reading its clip would be in vain.
    kept = [d for d in dataset if len(d["proposals"]["boxes"])]
    logger.info(f"{len(kept)} of {len(dataset)} keyframes of '{dataset_name}' have a person box")
    if not kept:
        raise ConfigError(
            f"No keyframe of '{dataset_name}' has a person box. Check the boxes' video ids and "
            "timestamps, and DATASETS.PROPOSAL_MIN_SCORE_TEST."
        )
    return kept


def attach_person_boxes(dataset: list[dict], boxes_of: PersonBoxes, min_score: float) -> list[dict]:
    """Return copies of the dicts with ``proposals``, of boxes that have at least ``min_score``."""
    nothing = np.zeros((0, 4), np.float32), np.zeros(0, np.float32)
    result, num_left_out = [], 0
    for d in dataset:
        boxes, scores = boxes_of.get((d["video_id"], d["timestamp"]), nothing)
        keep = scores >= min_score
        num_left_out += len(keep) - int(keep.sum())
        result.append({**d, "proposals": {"boxes": boxes[keep], "scores": scores[keep]}})
    if num_left_out:
        logger.info(f"{num_left_out} person boxes left out: score < {min_score:g}")
    return result


def _ground_truth_boxes(annotations: list[dict]) -> dict:
    """Return ``boxes`` float32 (N, 4) in 0..1 and ``scores`` of 1, float32 (N,)."""
    boxes = np.array([a["bbox"] for a in annotations], np.float32).reshape(-1, 4)
    return {"boxes": boxes, "scores": np.ones(len(boxes), np.float32)}
