"""Self-supervised training (paper, section 6 and appendix A.8; docs/paper.md).

Shorthands: N clips; D dimensions of an embedding. A turn k is a rotation of all frames of a clip
by k * 90 degrees, counter-clockwise.
"""

import torch
from detectron2.config import CfgNode, configurable
from detectron2.modeling import META_ARCH_REGISTRY
from detectron2.utils.events import get_event_storage

from ..clip_head import ClipHead
from .clip_model import ClipModel, in_autocast

NUM_TURNS = 4
SOUNDS = ("audio", "audio_negative")


@META_ARCH_REGISTRY.register()
class AVPretrainer(ClipModel):
    """Learns from clips without labels: whether sight and sound are in sync (MODEL.AVSYNC), and by
    how much a clip has been turned (MODEL.ROTATION). The latter is asked of sight alone."""

    @configurable
    def __init__(self, *, rotation_head: ClipHead | None, rotation_weight: float, **kwargs):
        """
        Args:
            rotation_head: with one task, "rotation", of the NUM_TURNS turns.
            rotation_weight: of its loss.
            kwargs: of :class:`ClipModel`.

        Raises:
            ValueError: if there is nothing to learn from.
        """
        super().__init__(**kwargs)
        if rotation_head is None and self.avsync_head is None:
            raise ValueError(
                "AVPretrainer needs MODEL.AVSYNC.ENABLED or MODEL.ROTATION.ENABLED, or both"
            )
        self.rotation_head, self.rotation_weight = rotation_head, rotation_weight

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict:
        args = super().from_config(cfg)
        rotation_head = None
        if cfg.MODEL.ROTATION.ENABLED:
            shapes = args["backbone"].output_shape()
            rotation_head = ClipHead(
                in_channels=sum(shape.channels for shape in _of_sight(shapes).values()),
                num_classes={"rotation": NUM_TURNS},
                loss="softmax",
                dropout=cfg.MODEL.CLIP_HEAD.DROPOUT,
                window=cfg.MODEL.CLIP_HEAD.POOL_WINDOW,
            )
        weight = cfg.MODEL.ROTATION.WEIGHT
        return {**args, "rotation_head": rotation_head, "rotation_weight": weight}

    @in_autocast
    def forward(self, batched_inputs: list[dict]) -> dict[str, torch.Tensor] | list[dict]:
        """
        Args:
            batched_inputs: N, as for :meth:`ClipModel.preprocess`; the frames are square in
                training, if they are to be turned.

        Returns:
            In training the losses, "loss_rotation" and those of :meth:`ClipModel.extract`; else N
            of what :meth:`inference` says.

        Raises:
            ValueError: in training, if frames that are to be turned are not square.
        """
        _, x = self.preprocess(batched_inputs)
        if not self.training:
            return self.inference(x)
        if self.rotation_head is None:
            features, losses = self.extract(x)
        else:
            turns = torch.randint(NUM_TURNS, (len(batched_inputs),))
            features, losses = self.extract({**x, "frames": turn(x["frames"], turns)})
            losses.update(self._rotation_loss(features, turns.to(self.device)))
        # Every pathway is in the graph of every loss, as DDP needs it, also where none looks at it.
        nothing = 0 * sum(feature.float().mean() for feature in features.values())
        return {name: loss + nothing for name, loss in losses.items()}

    def _rotation_loss(
        self, features: dict[str, torch.Tensor], turns: torch.Tensor
    ) -> dict[str, torch.Tensor]:
        """ "loss_rotation"; "train/rotation_accuracy" goes into Detectron2's event storage."""
        logits = self.rotation_head(_of_sight(features))
        found = logits["rotation"].mean(dim=1).argmax(dim=1)
        get_event_storage().put_scalar(
            "train/rotation_accuracy", (found == turns).float().mean().item()
        )
        losses = self.rotation_head.losses(logits, [{"rotation": k} for k in turns])
        return {name: self.rotation_weight * loss for name, loss in losses.items()}

    def inference(self, x: dict[str, torch.Tensor | None]) -> list[dict]:
        """What can be judged on clips that are not trained on.

        Args:
            x: of :meth:`ClipModel.preprocess`.

        Returns:
            N, with as far as the model has the heads and ``x`` has sound:

            * "rotation": (4, 4) probabilities; row k is of the clip turned by k.
            * "embeddings": level to "visual", "audio" and, if given, "audio_negative" (D,). Their
              distances say what is in sync; clips may be compared with each other's sound. No
              audio is in "visual".
            * "valid": with negatives, whether the two sounds can be told apart.
        """
        num = len(x["frames"])
        results = [{} for _ in range(num)]
        if self.rotation_head is not None:
            turned = [
                self.backbone({"frames": torch.rot90(x["frames"], k, (3, 4))})
                for k in range(NUM_TURNS)
            ]
            rows = [
                self.rotation_head.scores(self.rotation_head(_of_sight(features)))["rotation"]
                for features in turned
            ]
            for result, scores in zip(results, torch.stack(rows, dim=1), strict=True):
                result["rotation"] = scores
        if self.avsync_head is not None and x["audio"] is not None:
            # That no clip has audio shuts the laterals; the Audio pathway hears it nevertheless.
            unfused = {**x, "has_audio": torch.zeros_like(x["has_audio"])}
            junctions = self.backbone(unfused, junctions=True)["junctions"]
            embeddings = self.avsync_head.embed(junctions)
            for i, result in enumerate(results):
                result["embeddings"] = {
                    level: {"visual": visual[i], **dict(zip(SOUNDS, audio[i::num], strict=False))}
                    for level, (visual, audio) in embeddings.items()
                }
            if x["audio_negative"] is not None:
                for result, valid in zip(results, self.avsync_head.valid(x), strict=True):
                    result["valid"] = bool(valid)
        return results


def turn(frames: torch.Tensor, turns: torch.Tensor) -> torch.Tensor:
    """Turn each clip by its own multiple of 90 degrees, counter-clockwise.

    Args:
        frames: (N, 3, T, S, S).
        turns: (N,) int64, on the CPU.

    Raises:
        ValueError: if the frames are not square.
    """
    height, width = frames.shape[3:]
    if height != width:
        raise ValueError(
            f"frames of {height} x {width} cannot be turned in one batch: crop them to squares "
            "(INPUT.CROP)"
        )
    return torch.stack(
        [torch.rot90(clip, k, (2, 3)) for clip, k in zip(frames, turns.tolist(), strict=True)]
    )


def _of_sight(features: dict) -> dict:
    return {name: value for name, value in features.items() if name != "audio_res5"}
