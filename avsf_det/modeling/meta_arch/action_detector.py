"""Actions of persons whose boxes are given."""

import torch
from detectron2.config import CfgNode, configurable
from detectron2.modeling import META_ARCH_REGISTRY, build_roi_heads
from detectron2.structures import Boxes, Instances
from torch import nn

from .clip_model import ClipModel, in_autocast


@META_ARCH_REGISTRY.register()
class ActionDetector(ClipModel):
    """A backbone of clips and ROI heads that score the actions of person boxes."""

    @configurable
    def __init__(self, *, roi_heads: nn.Module, **kwargs):
        """
        Args:
            roi_heads: such as :class:`avsf_det.modeling.ActionROIHeads`.
            kwargs: of :class:`ClipModel`.
        """
        super().__init__(**kwargs)
        self.roi_heads = roi_heads

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict:
        args = super().from_config(cfg)
        return {**args, "roi_heads": build_roi_heads(cfg, args["backbone"].output_shape())}

    @in_autocast
    def forward(self, batched_inputs: list[dict]) -> dict[str, torch.Tensor] | list[dict]:
        """
        Args:
            batched_inputs: N, as for :meth:`ClipModel.preprocess`, and: in training "instances"
                with "gt_boxes", "gt_classes", "gt_actions" and, all or none of them, "proposals";
                else "proposals" with "proposal_boxes" and "objectness_logits" (person score), and
                optionally "height" and "width" of the source. Boxes are in pixels of the frames.

        Returns:
            In training the losses, "loss_action" and those of :meth:`extract`; else N of
            {"instances"} in pixels of the source, with the fields of
            :meth:`ActionROIHeads.inference`, one for each proposal.

        Raises:
            ValueError: if, not in training, a clip comes without proposals.
        """
        clips, x = self.preprocess(batched_inputs)
        proposals = targets = None
        if "proposals" in batched_inputs[0]:
            proposals = [x["proposals"].to(self.device) for x in batched_inputs]
        if self.training:
            targets = [x["instances"].to(self.device) for x in batched_inputs]
        elif proposals is None:
            raise ValueError("person boxes are missing: every clip needs 'proposals'")
        features, sync_losses = self.extract(x)
        results, losses = self.roi_heads(clips, features, proposals, targets)
        if self.training:
            return {**losses, **sync_losses}
        return [
            {"instances": _rescale(result, x.get("height"), x.get("width"))}
            for result, x in zip(results, batched_inputs, strict=True)
        ]


def _rescale(result: Instances, height: int | None, width: int | None) -> Instances:
    """Detectron2's ``detector_postprocess``, but boxes are neither clipped nor dropped."""
    old_height, old_width = result.image_size
    height, width = height or old_height, width or old_width
    x_scale, y_scale = width / old_width, height / old_height
    boxes = result.pred_boxes.tensor
    boxes = boxes * boxes.new_tensor([x_scale, y_scale, x_scale, y_scale])
    return Instances((height, width), **{**result.get_fields(), "pred_boxes": Boxes(boxes)})
