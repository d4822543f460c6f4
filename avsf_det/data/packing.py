"""Model inputs (contract 2 of docs/design.md) from augmented clips and annotations."""

import numpy as np
import torch
from detectron2.data import transforms as T
from detectron2.structures import Boxes, Instances


def pack_frames(clip: np.ndarray) -> torch.Tensor:
    """Pack a clip uint8 (T, H, W, 3) as (3, T, H, W)."""
    return torch.from_numpy(np.ascontiguousarray(clip.transpose(3, 0, 1, 2)))


def pack_instances(
    annotations: list[dict],
    transforms: T.Transform,
    source_size: tuple[int, int],
    image_size: tuple[int, int],
    num_classes: int,
) -> Instances:
    """Pack the annotated boxes that are left in the clip after cropping.

    Args:
        annotations: contract 1: ``bbox`` in 0..1 of the video's frame, ``action_ids``.
        transforms: transforms of the clip, from pixels of the video.
        source_size: (height, width) of the video in pixels.
        image_size: (height, width) of the clip in pixels.
        num_classes: number of actions K.

    Returns:
        ``gt_boxes``, ``gt_classes`` (0) and ``gt_actions`` (N, K) multi-hot.
    """
    boxes = np.array([a["bbox"] for a in annotations], np.float32).reshape(-1, 4)
    actions = torch.zeros(len(annotations), num_classes)
    for row, annotation in zip(actions, annotations, strict=True):
        row[annotation["action_ids"]] = 1
    instances = Instances(image_size)
    instances.gt_boxes = _move_boxes(boxes, transforms, source_size, image_size)
    instances.gt_classes = torch.zeros(len(annotations), dtype=torch.int64)
    instances.gt_actions = actions
    return instances[instances.gt_boxes.nonempty()]


def pack_proposals(
    proposals: dict,
    transforms: T.Transform,
    source_size: tuple[int, int],
    image_size: tuple[int, int],
    keep_empty: bool,
) -> Instances:
    """Pack the person boxes of a clip.

    Args:
        proposals: ``boxes`` float32 (N, 4) in 0..1 of the video's frame, ``scores`` float32 (N,).
        transforms: see :func:`pack_instances`.
        source_size: see :func:`pack_instances`.
        image_size: see :func:`pack_instances`.
        keep_empty: whether boxes outside the clip stay. At test all boxes get their scores.

    Returns:
        ``proposal_boxes`` and ``objectness_logits`` (the scores).
    """
    instances = Instances(image_size)
    instances.proposal_boxes = _move_boxes(proposals["boxes"], transforms, source_size, image_size)
    instances.objectness_logits = torch.from_numpy(proposals["scores"].astype(np.float32))
    return instances if keep_empty else instances[instances.proposal_boxes.nonempty()]


def _move_boxes(
    boxes: np.ndarray,
    transforms: T.Transform,
    source_size: tuple[int, int],
    image_size: tuple[int, int],
) -> Boxes:
    """Move boxes (N, 4) in 0..1 of the video's frame to pixels of the clip, clipped to it."""
    height, width = source_size
    scale = np.array([width, height, width, height], np.float32)
    moved = Boxes(torch.from_numpy(transforms.apply_box(boxes * scale).astype(np.float32)))
    moved.clip(image_size)
    return moved


def pack_label(label: int | list[int], num_classes: int, multi_label: bool) -> torch.Tensor:
    """Pack the class of a clip as int64 scalar, or its classes as float32 (K,) of 0 and 1."""
    if not multi_label:
        return torch.tensor(label)
    target = torch.zeros(num_classes)
    target[label] = 1
    return target
