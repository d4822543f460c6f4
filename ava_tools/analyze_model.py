#!/usr/bin/env python
"""Parameters and GFLOPs of a configuration's model, by pathway.

    python ava_tools/analyze_model.py --config-file configs/AVA/avsf_r101_8x8.yaml

The rule is the paper's: one multiply-add is one FLOP; convolutions, linear layers and the matrix
products of non-local blocks count; norms, activations, pooling and sums do not. The model runs on
tensors without data (the meta device), so that its size costs no time.
"""

import argparse
import json

import torch
from detectron2.config import CfgNode, get_cfg
from detectron2.modeling import build_model
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from avsf_det import add_avsf_config


def analyze(cfg: CfgNode, crop_size: tuple[int, int] = (256, 320)) -> dict:
    """Count the model of ``cfg`` for one clip with one person.

    Args:
        cfg: of a detector; it is not changed.
        crop_size: height and width of the frames, in pixels.

    Returns:
        "gflops" (1e9 multiply-adds), "params" (a number), and "by_pathway": the same two for
        "slow", "fast", "audio", the laterals "f2s" and "a2fs", and "head", as far as there are any.
    """
    cfg = cfg.clone()
    cfg.defrost()
    cfg.MODEL.DEVICE = "meta"
    with torch.device("meta"):
        model = build_model(cfg).eval()
        clip = {
            "frames": torch.empty(1, 3, cfg.INPUT.CLIP.NUM_FRAMES, *crop_size),
            "audio": torch.empty(1, 1, cfg.INPUT.AUDIO.NUM_FRAMES, cfg.INPUT.AUDIO.NUM_MELS),
            "has_audio": torch.empty(1, dtype=torch.bool),
        }
        person = torch.empty(1, model.roi_heads.predictor.in_features)

    backbone_macs = _count_macs(model.backbone, clip)
    by_pathway = {
        name: {
            "gflops": sum(
                macs for module, macs in backbone_macs.items() if module.rpartition(".")[0] == name
            )
            / 1e9,
            "params": _count_params(part),
        }
        for name, part in model.backbone.named_children()
        if isinstance(part, nn.ModuleDict)
    }
    by_pathway["head"] = {
        "gflops": sum(_count_macs(model.roi_heads.predictor, person).values()) / 1e9,
        "params": _count_params(model.roi_heads),
    }
    return {
        "gflops": sum(part["gflops"] for part in by_pathway.values()),
        "params": _count_params(model),
        "by_pathway": by_pathway,
    }


def _count_macs(model: nn.Module, x: object) -> dict[str, int]:
    """Multiply-adds of ``model(x)``, by name of submodule ("" is the model)."""
    with FlopCounterMode(display=False) as counter:
        model(x)
    root = type(model).__name__
    return {
        name.removeprefix(root).removeprefix("."): sum(flops.values()) // 2
        for name, flops in counter.get_flop_counts().items()
        if name != "Global"
    }


def _count_params(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def main(args: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--config-file", required=True, metavar="FILE")
    parser.add_argument(
        "--crop-size", type=int, nargs=2, default=(256, 320), metavar=("H", "W"), help="in pixels"
    )
    parser.add_argument("--json", action="store_true", help="print one line of JSON")
    parser.add_argument("opts", nargs=argparse.REMAINDER, help="KEY VALUE ... of the configuration")
    args = parser.parse_args(args)

    cfg = get_cfg()
    add_avsf_config(cfg)
    cfg.merge_from_file(args.config_file)
    cfg.merge_from_list(args.opts)
    result = analyze(cfg, tuple(args.crop_size))
    if args.json:
        print(json.dumps(result))
        return
    total = {key: result[key] for key in ("gflops", "params")}
    for name, row in {**result["by_pathway"], "total": total}.items():
        print(f"{name:6s} {row['gflops']:9.3f} GFLOPs {row['params'] / 1e6:9.3f} M parameters")


if __name__ == "__main__":
    main()
