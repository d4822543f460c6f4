"""Classification of whole clips (paper, sections 3.1 and 4: "pool5" and the classifier).

Shorthands: N clips; K classes of a task; C channels of all pathways together; P positions at which
the classifier is applied, 1 in training.
"""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from detectron2.config import CfgNode, configurable
from detectron2.layers import ShapeSpec
from torch import nn

from ..layers import AudioVisualLinear
from ..utils.transfer import to_device

LOSSES = ("softmax", "sigmoid")


class ClipHead(nn.Module):
    """Classifier with one linear layer per task on the pooled features of all pathways.

    Each pathway is pooled over time and space; then come concatenation and dropout. At test on
    frames larger than in training the head is fully convolutional: the pooling window keeps its
    training size and slides, the pooled audio is repeated, and the scores of all positions are
    averaged.

    Args:
        in_channels: number of channels of all pathways, C.
        audio_channels: number of channels of the Audio pathway among them, the last ones.
        num_classes: task to its number of classes, K.
        loss: "softmax" (one class per clip) or "sigmoid" (any number of classes).
        dropout: probability of dropout before the linear layers.
        window: height and width of the visual maps of a training crop.

    Raises:
        ValueError: ``loss`` is another name.
    """

    @configurable
    def __init__(
        self,
        *,
        in_channels: int,
        audio_channels: int = 0,
        num_classes: Mapping[str, int],
        loss: str,
        dropout: float,
        window: int,
    ) -> None:
        super().__init__()
        if loss not in LOSSES:
            raise ValueError(f"MODEL.CLIP_HEAD.LOSS is '{loss}'; it can be {' or '.join(LOSSES)}")
        self.multi_label = loss == "sigmoid"
        self.window = window
        self.dropout = nn.Dropout(dropout)
        linear = partial(AudioVisualLinear, in_channels, audio_features=audio_channels)
        predictors = {task: linear(k) for task, k in num_classes.items()}
        for predictor in predictors.values():
            nn.init.normal_(predictor.weight, std=0.01)
            nn.init.zeros_(predictor.bias)
        self.predictors = nn.ModuleDict(predictors)

    @classmethod
    def from_config(cls, cfg: CfgNode, input_shape: dict[str, ShapeSpec]) -> dict[str, Any]:
        """Read MODEL.CLIP_HEAD."""
        head = cfg.MODEL.CLIP_HEAD
        if len(head.TASKS) != len(head.NUM_CLASSES):
            raise ValueError(
                f"MODEL.CLIP_HEAD.TASKS {head.TASKS} and NUM_CLASSES {head.NUM_CLASSES} are not of "
                "the same length"
            )
        return {
            "in_channels": sum(shape.channels for shape in input_shape.values()),
            "audio_channels": input_shape["audio_res5"].channels
            if "audio_res5" in input_shape
            else 0,
            "num_classes": dict(zip(head.TASKS, head.NUM_CLASSES, strict=True)),
            "loss": head.LOSS,
            "dropout": head.DROPOUT,
            "window": head.POOL_WINDOW,
        }

    def forward(self, features: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """Compute logits.

        Args:
            features: features of :class:`avsf_det.modeling.SlowFast`.

        Returns:
            Task to (N, P, K) float32 logits.
        """
        x = self.dropout(self.pool(features))
        return {task: predictor(x).float() for task, predictor in self.predictors.items()}

    def pool(self, features: dict[str, torch.Tensor]) -> torch.Tensor:
        """Return the pooled features (N, P, C): channels of Slow, Fast, Audio."""
        pooled = [self._pool_windows(x) for name, x in features.items() if name != "audio_res5"]
        if "audio_res5" in features:
            audio = features["audio_res5"].mean(dim=(2, 3)).unsqueeze(1)  # (N, 1, C_a)
            # Audio has no position in the frame: each window gets the same features.
            num_positions = pooled[0].shape[1] if pooled else 1
            pooled.append(audio.expand(-1, num_positions, -1))
        return torch.cat(pooled, dim=2)

    def _pool_windows(self, x: torch.Tensor) -> torch.Tensor:
        """Map (N, C, T, H, W) to (N, P, C), the means over all frames and over each window."""
        # Maps smaller than the window are pooled whole.
        size = [min(self.window, side) for side in x.shape[3:]]
        return F.avg_pool2d(x.mean(dim=2), size, stride=1).flatten(2).transpose(1, 2)

    def losses(
        self, logits: Mapping[str, torch.Tensor], labels: Sequence[Mapping[str, torch.Tensor]]
    ) -> dict[str, torch.Tensor]:
        """Compute the mean cross-entropy over clips, or binary one over clips and classes.

        Args:
            logits: task to (N, 1, K) logits.
            labels: for each of N clips, task to a class (int64 scalar) or (K,) float32 of 0 and 1.

        Returns:
            "loss_<task>" of each task.
        """
        criterion = F.binary_cross_entropy_with_logits if self.multi_label else F.cross_entropy
        losses = {}
        for task, x in logits.items():
            target = to_device(torch.stack([clip[task] for clip in labels]), x.device)
            losses[f"loss_{task}"] = criterion(x.mean(dim=1), target)  # P = 1 in training
        return losses

    def scores(self, logits: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """Map logits (N, P, K) to probabilities (N, K) of each task, their mean over positions."""
        return {
            task: (x.sigmoid() if self.multi_label else x.softmax(dim=2)).mean(dim=1)
            for task, x in logits.items()
        }
