"""Classes of whole clips."""

import torch
from detectron2.config import CfgNode, configurable
from detectron2.modeling import META_ARCH_REGISTRY
from torch import nn

from ..clip_head import ClipHead
from .clip_model import ClipModel, in_autocast


@META_ARCH_REGISTRY.register()
class ClipClassifier(ClipModel):
    """A backbone of clips and a head that classifies them, for one or several tasks."""

    @configurable
    def __init__(self, *, head: nn.Module, **kwargs):
        """
        Args:
            head: such as :class:`avsf_det.modeling.ClipHead`.
            kwargs: of :class:`ClipModel`.
        """
        super().__init__(**kwargs)
        self.head = head

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict:
        args = super().from_config(cfg)
        return {**args, "head": ClipHead(cfg, args["backbone"].output_shape())}

    @in_autocast
    def forward(self, batched_inputs: list[dict]) -> dict[str, torch.Tensor] | list[dict]:
        """
        Args:
            batched_inputs: N, as for :meth:`ClipModel.preprocess`; in training also "labels", see
                :meth:`ClipHead.losses`.

        Returns:
            In training the losses, "loss_<task>" and those of :meth:`extract`; else N of
            {"scores": {task: (K,)}}, float32 probabilities.
        """
        _, x = self.preprocess(batched_inputs)
        features, losses = self.extract(x)
        logits = self.head(features)
        if self.training:
            labels = [clip["labels"] for clip in batched_inputs]
            return {**self.head.losses(logits, labels), **losses}
        scores = self.head.scores(logits)
        return [
            {"scores": {task: rows[i] for task, rows in scores.items()}}
            for i in range(len(batched_inputs))
        ]
