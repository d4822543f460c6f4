"""Image sheet of model inputs: frames with boxes, labels, log-mel spectrograms."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from detectron2.config import CfgNode
from detectron2.data import MetadataCatalog

from ava_tools.charts.image_sheet import Item, draw_boxes
from ava_tools.support.visualizer import draw_logmel
from avsf_det.data import KeyframeMapper, build_clip_test_loader, build_clip_train_loader
from avsf_det.data.build import keyframes_to_test
from avsf_det.data.checks import check_datasets, has_keyframes

NUM_FRAMES = 4  # frames drawn per clip
MIN_WIDTH, SPECTROGRAM_HEIGHT = 240, 72  # pixels


def read_model_inputs(cfg: CfgNode, split: str, num: int, seed: int) -> list[dict]:
    """Read random model inputs through the loader of training or testing.

    Args:
        cfg: config of the dataset and the model; not changed.
        split: "train" or "test".
        num: number of clips.
        seed: seed of the choice.

    Returns:
        model inputs.
    """
    names = cfg.DATASETS[split.upper()]
    check_datasets(names, f"DATASETS.{split.upper()}", needed=True)
    cfg = cfg.clone()
    cfg.DATALOADER.NUM_WORKERS, cfg.SOLVER.IMS_PER_BATCH = 0, num
    cfg.SEED = seed
    if split == "train":
        return next(iter(build_clip_train_loader(cfg)))
    name, rng = names[0], np.random.default_rng(seed)
    if has_keyframes(cfg, name):  # the test loader reads whole videos, so read single keyframes
        clips, mapper = keyframes_to_test(cfg, name), KeyframeMapper(cfg, is_train=False)
        return [mapper(clips[i]) for i in sorted(rng.permutation(len(clips))[:num])]
    dataset: Any = build_clip_test_loader(cfg, name).dataset
    crops = cfg.TEST.VIEWS.SPATIAL  # of each item
    views = sorted(rng.permutation(len(dataset) * crops)[:num].tolist())
    return [dataset[i // crops][i % crops] for i in views]


def draw_model_input(clip: dict, dataset_name: str) -> Item:
    """Draw a model input with its labels as text.

    Args:
        clip: model input.
        dataset_name: registered dataset of the clip.
    """
    boxes, lines = _describe_labels(clip, dataset_name)
    title = clip["image_id"] if "image_id" in clip else clip["clip_id"]
    if "view" in clip:
        title += f", view {clip['view'] + 1} of {clip['num_views']}"
    audio = [name for name in ("audio", "audio_negative") if name in clip]
    silent = [name for name in audio if not clip[f"has_{name}"]]
    images = []
    if "frames" in clip:
        frames = clip["frames"].permute(1, 2, 3, 0).numpy()
        times = np.linspace(0, len(frames) - 1, NUM_FRAMES).round().astype(int)
        images = [draw_boxes(np.ascontiguousarray(frames[t]), boxes, MIN_WIDTH) for t in times]
    width = NUM_FRAMES * MIN_WIDTH
    strips = [draw_logmel(clip[name][0], width, SPECTROGRAM_HEIGHT) for name in audio]
    note = "".join(f", {name}: silence" for name in silent)
    return Item(f"{title}{note}", images, [lines], strips)


def _describe_labels(
    clip: dict, dataset_name: str
) -> tuple[np.ndarray | torch.Tensor, list[tuple[int | None, str]]]:
    """Return the boxes of a clip in pixels, and lines of text, each of a person or of the clip."""
    metadata = MetadataCatalog.get(dataset_name)
    boxes: np.ndarray | torch.Tensor = np.zeros((0, 4))
    lines: list[tuple[int | None, str]] = []
    if "instances" in clip:
        persons = clip["instances"]
        boxes = persons.gt_boxes.tensor
        for i, row in enumerate(persons.gt_actions):
            lines.append((i, _names(row, metadata.action_classes)))
    elif "proposals" in clip:
        persons = clip["proposals"]
        boxes = persons.proposal_boxes.tensor
        for i, score in enumerate(persons.objectness_logits):
            lines.append((i, f"person {score:.2f}"))
    for task, label in clip.get("labels", {}).items():
        lines.append((None, f"{task}: {_names(label, metadata.task_classes[task])}"))
    if "audio_negative" in clip:
        lines.append((None, "the lower spectrogram is audio_negative: out of sync"))
    return boxes, lines


def _names(label: torch.Tensor, names: Sequence[str]) -> str:
    """Return the names of a class index, or of a multi-hot vector (K,)."""
    classes = label.nonzero()[:, 0].tolist() if label.ndim else [int(label)]
    return ", ".join(names[i] for i in classes) or "none"
