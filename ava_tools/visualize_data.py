#!/usr/bin/env python
"""Draw what the model gets of a data set: frames after augmentation with their boxes and labels,
and the log-mel spectrogram, as a picture."""

import argparse
import sys
from pathlib import Path

import numpy as np
import torch
from detectron2.config import CfgNode, get_cfg
from detectron2.data import MetadataCatalog
from detectron2.utils.env import seed_all_rng

from avsf_det import add_avsf_config
from avsf_det.data import (
    AnnotationError,
    KeyframeMapper,
    VideoDecodeError,
    build_clip_test_loader,
    build_clip_train_loader,
)
from avsf_det.data.build import keyframes_to_test
from avsf_det.data.checks import has_keyframes
from avsf_det.utils.contact_sheet import Item, draw_boxes, draw_sheet
from avsf_det.utils.visualizer import draw_logmel

EXAMPLE = """example:
  python ava_tools/visualize_data.py --config-file configs/mini/avsf_mini.yaml --output data.png
  python ava_tools/visualize_data.py --config-file configs/mini/avsf_kinetics_mini.yaml \\
      --split test --num 4 --seed 7 --output test.png"""
PICTURES, MIN_WIDTH, STRIP = 4, 240, 72  # frames of a clip; pixels


def model_inputs(cfg: CfgNode, split: str, num: int, seed: int) -> list[dict]:
    """Some model inputs (contract 2), read by the loader of training or testing itself.

    Args:
        cfg: is changed: one process reads one batch.
        split: "train" or "test".
    """
    cfg.DATALOADER.NUM_WORKERS, cfg.SOLVER.IMS_PER_BATCH = 0, num
    seed_all_rng(seed)
    if split == "train":
        return next(iter(build_clip_train_loader(cfg)))
    name, rng = cfg.DATASETS.TEST[0], np.random.default_rng(seed)
    if has_keyframes(cfg, name):  # the loader goes through whole movies
        clips, mapper = keyframes_to_test(cfg, name), KeyframeMapper(cfg, is_train=False)
        return [mapper(clips[i]) for i in sorted(rng.permutation(len(clips))[:num])]
    clips = build_clip_test_loader(cfg, name).dataset
    return [clips[i] for i in sorted(rng.permutation(len(clips))[:num].tolist())]


def draw_input(clip: dict, dataset_name: str) -> Item:
    """A model input with its labels in words."""
    metadata = MetadataCatalog.get(dataset_name)
    persons = clip.get("instances", clip.get("proposals"))
    boxes, lines = np.zeros((0, 4)), []
    if "instances" in clip:
        boxes = persons.gt_boxes.tensor
        lines = [
            (i, _names(row, metadata.action_classes)) for i, row in enumerate(persons.gt_actions)
        ]
    elif persons is not None:
        boxes = persons.proposal_boxes.tensor
        lines = [(i, f"person {score:.2f}") for i, score in enumerate(persons.objectness_logits)]
    for task, label in clip.get("labels", {}).items():
        lines.append((None, f"{task}: {_names(label, metadata.task_classes[task])}"))
    if "audio_negative" in clip:
        lines.append((None, "the lower spectrogram is audio_negative: out of sync"))
    title = clip.get("image_id", clip.get("clip_id"))
    if "view" in clip:
        title += f", view {clip['view'] + 1} of {clip['num_views']}"
    sounds = [name for name in ("audio", "audio_negative") if name in clip]
    silent = [name for name in sounds if not clip[f"has_{name}"]]
    pictures = []
    if "frames" in clip:
        frames = clip["frames"].permute(1, 2, 3, 0).numpy()
        times = np.linspace(0, len(frames) - 1, PICTURES).round().astype(int)
        pictures = [draw_boxes(np.ascontiguousarray(frames[t]), boxes, MIN_WIDTH) for t in times]
    strips = [draw_logmel(clip[name][0], PICTURES * MIN_WIDTH, STRIP) for name in sounds]
    note = "".join(f", {name}: silence" for name in silent)
    return Item(f"{title}{note}", pictures, [lines], strips)


def _names(label: torch.Tensor, names: list[str]) -> str:
    """Of an index, or of (K,) of 0 and 1."""
    classes = label.nonzero()[:, 0].tolist() if label.ndim else [int(label)]
    return ", ".join(names[i] for i in classes) or "none"


def run(args: argparse.Namespace) -> None:
    cfg = get_cfg()
    add_avsf_config(cfg)
    cfg.merge_from_file(args.config_file)
    cfg.merge_from_list(args.opts)
    clips = model_inputs(cfg, args.split, args.num, args.seed)
    name = (cfg.DATASETS.TRAIN if args.split == "train" else cfg.DATASETS.TEST)[0]
    sheet = draw_sheet([draw_input(clip, name) for clip in clips])
    Path(args.output).parent.mkdir(parents=True, exist_ok=True)
    sheet.save(args.output)
    print(f"{args.output}: {len(clips)} clips of {name}, {sheet.width} x {sheet.height} pixels")


def main(argv: list[str] | None = None) -> int:
    """Returns 1 after a line on stderr if input is bad."""
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLE, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--config-file", required=True, metavar="FILE")
    parser.add_argument("--output", default="data.png", metavar="FILE", help="picture (data.png)")
    parser.add_argument("--split", choices=("train", "test"), default="train")
    parser.add_argument("--num", type=int, default=6, metavar="N", help="clips to draw (6)")
    parser.add_argument("--seed", type=int, default=0, help="others are drawn with another (0)")
    parser.add_argument("opts", nargs=argparse.REMAINDER, help="KEY VALUE ... of the configuration")
    args = parser.parse_args(argv)
    if args.num < 1:
        parser.error("--num must be at least 1")
    try:
        run(args)
    except (AnnotationError, VideoDecodeError, OSError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
