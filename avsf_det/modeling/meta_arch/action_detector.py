"""Detection of the actions of persons whose boxes are given."""

from typing import Any

import torch
from detectron2.config import CfgNode, configurable
from detectron2.modeling import META_ARCH_REGISTRY, build_roi_heads
from detectron2.structures import Boxes, Instances
from torch import nn

from .clip_model import ClipModel, in_autocast


@META_ARCH_REGISTRY.register()
class ActionDetector(ClipModel):
    """Backbone and ``roi_heads``, which score the actions of person boxes.

    They are :class:`avsf_det.modeling.ActionROIHeads` or alike; other arguments are those of
    :class:`ClipModel`.
    """

    @configurable
    def __init__(self, *, roi_heads: nn.Module, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.roi_heads = roi_heads

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict[str, Any]:
        """Read MODEL."""
        args = super().from_config(cfg)
        return {**args, "roi_heads": build_roi_heads(cfg, args["backbone"].output_shape())}

    @in_autocast
    def forward(self, batched_inputs: list[dict]) -> dict[str, torch.Tensor] | list[dict]:
        """Compute losses or action scores.

        Args:
            batched_inputs: N clips, as for :meth:`ClipModel.preprocess`, and more. In training:
                "instances" with "gt_boxes", "gt_classes", "gt_actions" and, in all or none of them,
                "proposals". Else: "proposals" with "proposal_boxes" and "objectness_logits" (person
                score), and optionally "height" and "width" of the source. Boxes are in pixels of
                the frames.

        Returns:
            In training the losses, "loss_action" and those of :meth:`extract`; else N of
            {"instances"} in pixels of the source, with the fields of
            :meth:`ActionROIHeads.inference`, one for each proposal.

        Raises:
            ValueError: not in training, and a clip has no proposals.
        """
        clips, x = self.preprocess(batched_inputs)
        proposals = targets = None
        if "proposals" in batched_inputs[0]:
            proposals = [x["proposals"] for x in batched_inputs]
        if self.training:
            targets = [x["instances"] for x in batched_inputs]
        elif proposals is None:
            raise ValueError("person boxes are missing: every clip needs 'proposals'")
        else:
            proposals = [x.to(self.device) for x in proposals]
        features, sync_losses = self.extract(x)
        # In training proposals may be None; ground-truth boxes replace them.
        results, losses = self.roi_heads(clips, features, proposals, targets)
        if self.training:
            return {**losses, **sync_losses}
        return [
            {"instances": _rescale(result, x.get("height"), x.get("width"))}
            for result, x in zip(results, batched_inputs, strict=True)
        ]


def _rescale(result: Instances, height: int | None, width: int | None) -> Instances:
    """Scale boxes to a source of this size, without clipping or dropping any.

    Detectron2's ``detector_postprocess`` would drop empty boxes.
    """
    old_height, old_width = result.image_size
    height, width = height or old_height, width or old_width
    x_scale, y_scale = width / old_width, height / old_height
    boxes = result.pred_boxes.tensor  # (R, 4)
    boxes = boxes * boxes.new_tensor([x_scale, y_scale, x_scale, y_scale])
    return Instances((height, width), **{**result.get_fields(), "pred_boxes": Boxes(boxes)})
