"""Configurations and inputs of tiny models."""

import torch
from detectron2.config import CfgNode, get_cfg
from detectron2.structures import Boxes, Instances
from torch import nn

from avsf_det import add_avsf_config

NUM_FRAMES, NUM_TIME_STEPS, NUM_MELS = 8, 32, 8
SIZE = (48, 64)  # height and width of the frames


def make_cfg(*, audio: bool = False, **slowfast) -> CfgNode:
    """A narrow AVA model on the CPU, with these keys of MODEL.SLOWFAST."""
    cfg = get_cfg()
    add_avsf_config(cfg)
    cfg.MODEL.DEVICE = "cpu"
    cfg.MODEL.META_ARCHITECTURE = "ActionDetector"
    cfg.MODEL.PIXEL_MEAN, cfg.MODEL.PIXEL_STD = [114.75] * 3, [57.375] * 3
    cfg.MODEL.BACKBONE.NAME = f"build_{'avslowfast' if audio else 'slowfast'}_backbone"
    cfg.MODEL.BACKBONE.FREEZE_AT = 0
    cfg.MODEL.ROI_HEADS.NAME = "ActionROIHeads"
    cfg.MODEL.ROI_HEADS.IOU_THRESHOLDS, cfg.MODEL.ROI_HEADS.IOU_LABELS = [0.9], [0, 1]
    cfg.MODEL.ROI_ACTION_HEAD.NUM_CLASSES = 5
    cfg.MODEL.AUDIO.ALPHA, cfg.MODEL.AUDIO.FUSION_WIDTH = 16, 4
    defaults = {
        "WIDTH": 8,
        "ALPHA": 4,
        "SPATIAL_STRIDES": [1, 2, 2, 1],
        "SPATIAL_DILATIONS": [1, 1, 1, 2],
    }
    if audio:
        defaults["FUSION_STAGES"] = ["res3", "res4"]
    for key, value in {**defaults, **slowfast}.items():
        cfg.MODEL.SLOWFAST[key] = value
    return cfg


def randomize(model: nn.Module) -> nn.Module:
    """Give norms random values; those that start at zero would hide half of the network."""
    generator = torch.Generator().manual_seed(0)

    def fill(x: torch.Tensor, low: float, high: float) -> None:
        # Drawn on the CPU: equal for models on any device.
        x.detach().copy_(torch.empty(x.shape).uniform_(low, high, generator=generator))

    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            fill(module.weight, 0.3, 0.7)
            fill(module.bias, -0.1, 0.1)
            fill(module.running_mean, -0.1, 0.1)
            fill(module.running_var, 0.5, 1.5)
    return model


def make_features(num_clips: int = 2, seed: int = 0) -> dict[str, torch.Tensor]:
    """Inputs of a backbone, all clips with audio."""
    generator = torch.Generator().manual_seed(seed)
    return {
        "frames": torch.randn(num_clips, 3, NUM_FRAMES, *SIZE, generator=generator),
        "audio": torch.randn(num_clips, 1, NUM_TIME_STEPS, NUM_MELS, generator=generator),
        "has_audio": torch.ones(num_clips, dtype=torch.bool),
    }


def add_negatives(x: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Add hard negatives to the inputs of a backbone."""
    generator = torch.Generator().manual_seed(9)
    negative = torch.randn(x["audio"].shape, generator=generator)
    has_audio = torch.ones(len(negative), dtype=torch.bool)
    return {**x, "audio_negative": negative, "has_audio_negative": has_audio}


def make_inputs(num_clips: int = 2, num_boxes: int = 2, num_actions: int = 5) -> list[dict]:
    """Inputs of a model, for training and inference."""
    generator = torch.Generator().manual_seed(1)
    boxes = torch.tensor([[4.0, 6, 40, 44], [10, 3, 60, 30], [30, 20, 50, 45]])[:num_boxes]
    actions = torch.rand(num_clips, num_boxes, num_actions, generator=generator).round()
    return [
        {
            "frames": torch.randint(256, (3, NUM_FRAMES, *SIZE), generator=generator).byte(),
            "audio": 4 * torch.randn(1, NUM_TIME_STEPS, NUM_MELS, generator=generator) - 7,
            "has_audio": True,
            "audio_negative": 4 * torch.randn(1, NUM_TIME_STEPS, NUM_MELS, generator=generator) - 7,
            "has_audio_negative": True,
            "proposals": Instances(
                SIZE,
                proposal_boxes=Boxes(boxes.clone()),
                objectness_logits=torch.linspace(0.9, 1, num_boxes),
            ),
            "instances": Instances(
                SIZE,
                gt_boxes=Boxes(boxes.clone()),
                gt_classes=torch.zeros(num_boxes, dtype=torch.int64),
                gt_actions=actions[i],
            ),
            "height": 96,
            "width": 192,
        }
        for i in range(num_clips)
    ]
