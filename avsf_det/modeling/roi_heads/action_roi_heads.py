"""Action scores of given person boxes (paper, appendix A.7; docs/paper.md).

Shorthands: N clips; R person boxes of all clips; K actions; C channels of all pathways together.
"""

from typing import Any

import torch
import torch.nn.functional as F
from detectron2.config import CfgNode, configurable
from detectron2.layers import ShapeSpec, cat
from detectron2.modeling.poolers import ROIPooler
from detectron2.modeling.proposal_generator.proposal_utils import add_ground_truth_to_proposals
from detectron2.modeling.roi_heads import ROI_HEADS_REGISTRY, ROIHeads
from detectron2.structures import Boxes, ImageList, Instances
from torch import nn

from ...layers import AudioVisualLinear
from ...utils.transfer import to_device


@ROI_HEADS_REGISTRY.register()
class ActionROIHeads(ROIHeads):
    """ROI heads that score the actions of each person box.

    Visual maps are averaged over time, RoIAlign pools them, and the maximum over the box is taken.
    Slow, Fast and the clip's pooled Audio are concatenated; then come dropout, one linear layer and
    an independent sigmoid per action.

    The box category is "person" for all boxes; actions are attributes of a person ("gt_actions").

    Args:
        in_features: names of the visual maps, of one stride.
        in_channels: number of channels of these and of "audio_res5" if it exists, C.
        audio_channels: number of channels of "audio_res5"; 0 without.
        num_actions: number of actions, K.
        pooler: RoIAlign of the visual maps.
        dropout: probability of dropout before the linear layer.
        keep_unmatched: whether proposals that match no ground-truth box are trained on too, as
            persons without actions; else they are left out.
        **kwargs: arguments of :class:`detectron2.modeling.ROIHeads`.
    """

    @configurable
    def __init__(
        self,
        *,
        in_features: list[str],
        in_channels: int,
        audio_channels: int = 0,
        num_actions: int,
        pooler: ROIPooler,
        dropout: float,
        keep_unmatched: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.keep_unmatched = keep_unmatched
        self.in_features = in_features
        self.pooler = pooler
        self.dropout = nn.Dropout(dropout)
        self.predictor = AudioVisualLinear(in_channels, num_actions, audio_features=audio_channels)
        nn.init.normal_(self.predictor.weight, std=0.01)
        nn.init.zeros_(self.predictor.bias)

    @classmethod
    def from_config(cls, cfg: CfgNode, input_shape: dict[str, ShapeSpec]) -> dict[str, Any]:
        """Read MODEL.ROI_HEADS and MODEL.ROI_ACTION_HEAD."""
        head = cfg.MODEL.ROI_ACTION_HEAD
        visual = [name for name in input_shape if name != "audio_res5"]  # Slow, Fast
        if not visual:
            raise ValueError("person boxes need a visual pathway: the backbone has Audio alone")
        return {
            **super().from_config(cfg),
            "num_classes": 1,  # box categories: person
            "in_features": visual,
            "in_channels": sum(shape.channels for shape in input_shape.values()),
            "audio_channels": sum(input_shape[x].channels for x in input_shape if x not in visual),
            "num_actions": head.NUM_CLASSES,
            "pooler": ROIPooler(
                output_size=head.POOLER_RESOLUTION,
                scales=[1 / input_shape[visual[0]].stride],
                sampling_ratio=head.POOLER_SAMPLING_RATIO,
                pooler_type=head.POOLER_TYPE,
            ),
            "dropout": head.DROPOUT,
            "keep_unmatched": head.KEEP_UNMATCHED,
        }

    def forward(
        self,
        images: ImageList,
        features: dict[str, torch.Tensor],
        proposals: list[Instances] | None,
        targets: list[Instances] | None = None,
    ) -> tuple[list[Instances], dict[str, torch.Tensor]]:
        """Compute the loss or predictions.

        Args:
            images: the N clips (unused; Detectron2's signature).
            features: features of :class:`avsf_det.modeling.SlowFast`.
            proposals: proposals of N clips, with "proposal_boxes" and "objectness_logits" (person
                score). None in training: the ground-truth boxes are the proposals.
            targets: in training, N ground truths with "gt_boxes", "gt_classes" (zeros) and
                "gt_actions" (M, K); with the proposals on any device.

        Returns:
            In training, [] and {"loss_action"}; else the N results of :meth:`inference` and {}.
        """
        if self.training:
            assert targets is not None
            # Boxes are matched where they lie, on the CPU: sizes depend on data, for which a GPU
            # would have to wait.
            proposals = self.label_and_sample_proposals(proposals, targets)
        assert proposals is not None
        logits = self.predict(features, [x.proposal_boxes for x in proposals])
        if self.training:
            return [], {"loss_action": self.loss(logits, proposals)}
        return self.inference(logits, proposals), {}

    def label_and_sample_proposals(
        self, proposals: list[Instances] | None, targets: list[Instances]
    ) -> list[Instances]:
        """Copy the "gt_" fields of the matching ground-truth box to each proposal.

        Proposals without one are left out, or have no actions (``keep_unmatched``). Unlike in
        Detectron2, proposals may be missing.
        """
        if proposals is None:
            # Ground-truth boxes join below: by Detectron2's APPEND_GT, or here if that is off.
            proposals = [
                Instances(
                    x.image_size,
                    proposal_boxes=Boxes(x.gt_boxes.tensor[:0]),
                    objectness_logits=x.gt_boxes.tensor.new_zeros(0),
                )
                for x in targets
            ]
            if not self.proposal_append_gt:
                proposals = add_ground_truth_to_proposals(targets, proposals)
        labelled = super().label_and_sample_proposals(proposals, targets)
        for x in labelled:
            # A clip without ground truth has proposals, but no field to copy.
            actions = x.gt_actions if x.has("gt_actions") else None
            if actions is None:
                actions = torch.zeros(len(x), self.predictor.out_features)
            is_person = x.gt_classes == 0  # 1, the number of categories, is background
            x.gt_actions = actions.to(is_person.device) * is_person.unsqueeze(1)
        return labelled

    def _sample_proposals(
        self, matched_idxs: torch.Tensor, matched_labels: torch.Tensor, gt_classes: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Keep all foreground proposals, in order, and background if it is trained on.

        Returns:
            Indices of the kept proposals, and their categories: 0 person, 1 background.
        """
        is_kept = torch.ones_like(matched_labels) if self.keep_unmatched else matched_labels
        sampled = (is_kept == 1).nonzero().squeeze(1)
        return sampled, (matched_labels[sampled] != 1).long()

    def predict(self, features: dict[str, torch.Tensor], boxes: list[Boxes]) -> torch.Tensor:
        """Compute action logits.

        Args:
            features: "slow_res5" and "fast_res5" (N, C, T, H, W), "audio_res5" (N, C, T_a, F).
            boxes: boxes of each of N clips, in pixels of the input frames.

        Returns:
            (R, K) float32 logits, clip after clip.
        """
        return self.predictor(self.dropout(self.box_features(features, boxes))).float()

    def box_features(self, features: dict[str, torch.Tensor], boxes: list[Boxes]) -> torch.Tensor:
        """Return the features (R, C) float32 of boxes: channels of Slow, Fast, Audio."""
        # (R, 5); Detectron2's conversion makes a GPU wait for the numbers of boxes.
        rois = [F.pad(x.tensor, (1, 0), value=float(i)) for i, x in enumerate(boxes)]
        device = features[self.in_features[0]].device
        return self.roi_features(features, to_device(cat(rois), device))

    def roi_features(self, features: dict[str, torch.Tensor], rois: torch.Tensor) -> torch.Tensor:
        """Return the features (R, C) of ``rois`` (R, 5): index of the clip, x1, y1, x2, y2."""
        # RoIAlign casts boxes to the dtype of the map, and float16 is too coarse for pixels.
        maps = cat([features[name].mean(dim=2).float() for name in self.in_features], 1)
        # All maps have one stride, so the pooler has one level, which accepts boxes as a tensor.
        (align,) = self.pooler.level_poolers
        pooled = align(maps, rois).amax(dim=(2, 3))  # (R, C_visual)
        if "audio_res5" not in features:
            return pooled
        audio = features["audio_res5"].mean(dim=(2, 3)).float()  # (N, C_audio)
        return cat([pooled, audio[rois[:, 0].long()]], 1)

    def loss(self, logits: torch.Tensor, proposals: list[Instances]) -> torch.Tensor:
        """Compute the binary cross-entropy, mean over boxes and actions; 0 without boxes.

        Args:
            logits: (R, K) logits.
            proposals: labelled proposals of N clips, with "gt_actions".
        """
        targets = to_device(cat([x.gt_actions for x in proposals]), logits.device)
        # A sum divided by at least 1: the mean of no boxes would be NaN.
        loss = F.binary_cross_entropy_with_logits(logits, targets, reduction="sum")
        return loss / max(logits.numel(), 1)

    def inference(self, logits: torch.Tensor, proposals: list[Instances]) -> list[Instances]:
        """Turn logits (R, K) into predictions.

        Returns:
            N predictions, one row per proposal in its order, none dropped or moved: "pred_boxes",
            "scores" (person score), "pred_classes" (zeros), "action_scores" (R_i, K) in 0..1.
        """
        action_scores = logits.sigmoid().split([len(x) for x in proposals])
        return [
            Instances(
                x.image_size,
                pred_boxes=x.proposal_boxes,
                scores=x.objectness_logits,
                pred_classes=torch.zeros(len(x), dtype=torch.int64, device=scores.device),
                action_scores=scores,
            )
            for x, scores in zip(proposals, action_scores, strict=True)
        ]
