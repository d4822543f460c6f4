"""Classification of whole clips."""

from typing import Any

import torch
from detectron2.config import CfgNode, configurable
from detectron2.modeling import META_ARCH_REGISTRY

from ..clip_head import ClipHead
from .clip_model import ClipModel, in_autocast


@META_ARCH_REGISTRY.register()
class ClipClassifier(ClipModel):
    """Backbone and ``head``, which classifies clips for one or several tasks.

    Other arguments are those of :class:`ClipModel`.
    """

    @configurable
    def __init__(self, *, head: ClipHead, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.head = head

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict[str, Any]:
        """Read MODEL."""
        args = super().from_config(cfg)
        return {**args, "head": ClipHead(cfg, args["backbone"].output_shape())}

    @in_autocast
    def forward(self, batched_inputs: list[dict]) -> dict[str, torch.Tensor] | list[dict]:
        """Compute losses or scores.

        Args:
            batched_inputs: N clips, as for :meth:`ClipModel.preprocess`; in training also "labels",
                see :meth:`ClipHead.losses`.

        Returns:
            In training the losses, "loss_<task>" and those of :meth:`extract`; else N of
            {"scores": {task: (K,)}}, float32 probabilities.
        """
        _, x = self.preprocess(batched_inputs)
        features, losses = self.extract(x)
        logits = self.head(features)  # task to (N, P, K)
        if self.training:
            labels = [clip["labels"] for clip in batched_inputs]
            return {**self.head.losses(logits, labels), **losses}
        scores = self.head.scores(logits)  # task to (N, K)
        num_clips = len(batched_inputs)
        return [{"scores": {task: x[i] for task, x in scores.items()}} for i in range(num_clips)]
