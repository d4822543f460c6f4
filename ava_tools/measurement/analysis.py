"""Count the parameters and multiply-adds of models as the paper does.

One multiply-add is one FLOP. Convolutions, linear layers and the matrix products of non-local
blocks count; norms, activations, pooling and sums do not. Models run on tensors without data (the
meta device), so that large models take no time.
"""

from typing import Any

import torch
from detectron2.config import CfgNode
from detectron2.modeling import build_model
from torch import nn
from torch.overrides import TorchFunctionMode
from torch.utils.flop_counter import FlopCounterMode

TOTALS = ("gflops", "params")
FILLS = (torch.Tensor.normal_, torch.Tensor.uniform_, torch.Tensor.fill_, torch.Tensor.zero_)
NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


class NoFills(TorchFunctionMode):
    """Skip initial values, which tensors without data cannot hold: half of the time to build."""

    def __torch_function__(
        self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None
    ) -> Any:
        return args[0] if func in FILLS else func(*args, **(kwargs or {}))


def build_without_data(cfg: CfgNode) -> nn.Module:
    """Build the model of a config on the meta device, in eval mode."""
    cfg = cfg.clone()
    cfg.defrost()
    cfg.MODEL.DEVICE = "meta"
    with torch.device("meta"), NoFills():
        return build_model(cfg).eval()


def analyze_model(cfg: CfgNode, crop_size: tuple[int, int] | None = None) -> dict:
    """Count a model for inference of one clip with one person, without the synchronisation head.

    Args:
        cfg: config of the model.
        crop_size: (height, width) of the frames in pixels; None for squares of the test size, which
            are a quarter wider for detectors.

    Returns:
        "gflops" (1e9 multiply-adds), "params" (number of parameters), and "by_pathway": the same
        two for "slow", "fast", "audio", the laterals "f2s" and "a2fs", and "head", where they
        exist. For an audiovisual model also "added_by_audio": the two, less those of its SlowFast.
    """
    result = count_pathways(build_without_data(cfg), cfg, crop_size)
    if {"fast", "audio"} <= result["by_pathway"].keys():
        visual = cfg.clone()
        visual.defrost()
        visual.MODEL.BACKBONE.NAME = "build_slowfast_backbone"
        visual.MODEL.AVSYNC.ENABLED = False  # has no audio to compare with
        without = count_pathways(build_without_data(visual), visual, crop_size)
        result["added_by_audio"] = {key: result[key] - without[key] for key in TOTALS}
    return result


def count_pathways(
    model: Any, cfg: CfgNode, crop_size: tuple[int, int] | None = None
) -> dict[str, Any]:
    """Return what ``analyze_model`` does, without the comparison, and remove the model's AVS head.

    Args:
        model: model of the config, by ``build_without_data``.
        cfg: config of the model.
        crop_size: (height, width) of the frames in pixels, as for ``analyze_model``.
    """
    model.avsync_head = None
    size = cfg.INPUT.MIN_SIZE_TEST
    is_detector = cfg.MODEL.META_ARCHITECTURE == "ActionDetector"
    height, width = crop_size or (size, size * 5 // 4 if is_detector else size)
    with torch.device("meta"):
        clip = {
            "frames": torch.empty(1, 3, cfg.INPUT.CLIP.NUM_FRAMES, height, width),
            "audio": torch.empty(1, 1, cfg.INPUT.AUDIO.NUM_FRAMES, cfg.INPUT.AUDIO.NUM_MELS),
            "has_audio": torch.empty(1, dtype=torch.bool),
        }
    macs = count_macs(model.backbone, clip)
    parts = {
        name: {"gflops": macs.get(name, 0) / 1e9, "params": count_params(part)}
        for name, part in model.backbone.named_children()
        if isinstance(part, nn.ModuleDict) and len(part)
    }
    for part, name in ((p, n) for p in parts for n in macs if n.rpartition(".")[0] == p):
        parts[part]["gflops"] += macs[name] / 1e9
    head = [layer for layer in model.modules() if isinstance(layer, nn.Linear)]
    parts["head"] = {
        "gflops": sum(layer.weight.numel() for layer in head) / 1e9,
        "params": sum(count_params(layer) for layer in head),
    }
    return {
        "gflops": sum(part["gflops"] for part in parts.values()),
        "params": count_params(model),
        "by_pathway": parts,
    }


def count_macs(model: nn.Module, *inputs: object) -> dict[str, int]:
    """Return the multiply-adds of ``model(*inputs)`` by name of submodule ("" is the model)."""
    norms: list[Any] = [module for module in model.modules() if isinstance(module, NORMS)]
    for norm in norms:  # They do not count, but take most of the time on the meta device.
        norm.forward = lambda x: x
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        model(*inputs)
    for norm in norms:
        del norm.forward
    root = type(model).__name__
    return {
        name.removeprefix(root).removeprefix("."): sum(flops.values()) // 2
        for name, flops in counter.get_flop_counts().items()
        if name != "Global"
    }


def count_params(module: nn.Module) -> int:
    """Return the number of parameters."""
    return sum(p.numel() for p in module.parameters())
