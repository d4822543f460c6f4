"""Self-supervised training (paper, section 6 and appendix A.8; docs/paper.md).

Shorthands: N clips; D dimensions of an embedding. Rotation k turns all frames of a clip by k * 90
degrees, counter-clockwise.
"""

from collections.abc import Mapping
from typing import Any, TypeVar

import torch
from detectron2.config import CfgNode, configurable
from detectron2.modeling import META_ARCH_REGISTRY

from ..clip_head import ClipHead
from .clip_model import ClipModel, in_autocast

NUM_ROTATIONS = 4
AUDIO_INPUTS = ("audio", "audio_negative")

Value = TypeVar("Value")


@META_ARCH_REGISTRY.register()
class AVPretrainer(ClipModel):
    """Self-supervised model with two heads: audiovisual synchronisation and rotation prediction.

    They are configured by MODEL.AVSYNC and MODEL.ROTATION. The rotation head uses visual features
    only.

    Args:
        rotation_head: head with one task, "rotation", of NUM_ROTATIONS classes.
        rotation_weight: weight of its loss.
        **kwargs: arguments of :class:`ClipModel`.

    Raises:
        ValueError: there is no head.
    """

    @configurable
    def __init__(
        self, *, rotation_head: ClipHead | None, rotation_weight: float, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        if rotation_head is None and self.avsync_head is None:
            raise ValueError(
                "AVPretrainer needs MODEL.AVSYNC.ENABLED or MODEL.ROTATION.ENABLED, or both"
            )
        self.rotation_head, self.rotation_weight = rotation_head, rotation_weight
        self._rotation_accuracy: dict[str, tuple[torch.Tensor, torch.Tensor]] = {}

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict[str, Any]:
        """Read MODEL."""
        args = super().from_config(cfg)
        rotation_head = None
        if cfg.MODEL.ROTATION.ENABLED:
            shapes = args["backbone"].output_shape()
            rotation_head = ClipHead(
                in_channels=sum(shape.channels for shape in _without_audio(shapes).values()),
                num_classes={"rotation": NUM_ROTATIONS},
                loss="softmax",
                dropout=cfg.MODEL.CLIP_HEAD.DROPOUT,
                window=cfg.MODEL.CLIP_HEAD.POOL_WINDOW,
            )
        weight = cfg.MODEL.ROTATION.WEIGHT
        return {**args, "rotation_head": rotation_head, "rotation_weight": weight}

    @in_autocast
    def forward(self, batched_inputs: list[dict]) -> dict[str, torch.Tensor] | list[dict]:
        """Compute losses, or embeddings and rotation probabilities.

        Args:
            batched_inputs: N clips, as for :meth:`ClipModel.preprocess`. In training with rotation
                prediction, frames are square.

        Returns:
            In training the losses, "loss_rotation" and those of :meth:`ClipModel.extract`; else N
            results of :meth:`inference`.

        Raises:
            ValueError: in training, frames that are to be rotated are not square.
        """
        _, x = self.preprocess(batched_inputs)
        if not self.training:
            return self.inference(x)
        if self.rotation_head is None:
            features, losses = self.extract(x)
        else:
            rotations = torch.randint(NUM_ROTATIONS, (len(batched_inputs),))
            frames = rotate(x["frames"], rotations).contiguous(memory_format=self.memory_format)
            features, losses = self.extract({**x, "frames": frames})
            losses = losses | self._rotation_loss(
                self.rotation_head, features, self._stack([*rotations.unbind()])
            )
        # DDP requires every parameter in the graph, also of pathways that no head reads.
        total = torch.stack([feature.float().mean() for feature in features.values()]).sum()
        zero = torch.where(torch.zeros_like(total, dtype=torch.bool), total, 0)
        return {name: loss + zero for name, loss in losses.items()}

    def fractions(self) -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
        """Return those of :class:`ClipModel`, and the accuracy of the rotation head."""
        return {**super().fractions(), **self._rotation_accuracy}

    def _rotation_loss(
        self, head: ClipHead, features: dict[str, torch.Tensor], rotations: torch.Tensor
    ) -> dict[str, torch.Tensor]:
        """Return "loss_rotation", and note the accuracy for :meth:`fractions`."""
        logits = head(_without_audio(features))  # {"rotation": (N, P, 4)}
        predicted = logits["rotation"].mean(dim=1).argmax(dim=1)
        correct = (predicted == rotations).float()
        self._rotation_accuracy = {
            "train/rotation_accuracy": (correct.sum(), torch.ones_like(correct).sum())
        }
        losses = head.losses(logits, [{"rotation": k} for k in rotations.unbind()])
        return {name: self.rotation_weight * loss for name, loss in losses.items()}

    def inference(self, x: Mapping[str, Any]) -> list[dict]:
        """Compute what can be scored on clips that are not trained on.

        Args:
            x: inputs of the backbone, see :meth:`ClipModel.preprocess`.

        Returns:
            N results, as far as the model has the heads and ``x`` has audio:

            * "rotation": (4, 4) probabilities; row k is of the clip rotated by k.
            * "embeddings": level to "visual", "audio" and, if given, "audio_negative" (D,). Their
              distances measure synchrony; clips may be compared with the audio of other clips, as
              "visual" contains no audio.
            * "valid": with negatives, whether the two audio tracks can be distinguished.
        """
        results: list[dict[str, Any]] = [{} for _ in range(len(x["frames"]))]
        if self.rotation_head is not None:
            scores = self._score_rotations(self.rotation_head, x["frames"])
            for result, rows in zip(results, scores, strict=True):
                result["rotation"] = rows
        if self.avsync_head is not None and x["audio"] is not None:
            # has_audio = False closes the audio-to-visual laterals, so visual features stay free of
            # audio; the Audio pathway itself still runs.
            unfused = {**x, "has_audio": torch.zeros_like(x["has_audio"])}
            _, taps = self.backbone(unfused, with_taps=True)
            embeddings = self.avsync_head.embed(taps)
            num = len(results)
            for i, result in enumerate(results):
                # Rows of the audio embeddings: N clips, then their N negatives if given.
                result["embeddings"] = {
                    level: {
                        "visual": visual[i],
                        **dict(zip(AUDIO_INPUTS, audio[i::num], strict=False)),
                    }
                    for level, (visual, audio) in embeddings.items()
                }
            if x["audio_negative"] is not None:
                for result, valid in zip(results, self.avsync_head.is_valid(x), strict=True):
                    result["valid"] = bool(valid)
        return results

    def _score_rotations(self, head: ClipHead, frames: torch.Tensor) -> torch.Tensor:
        """Return the probabilities (N, 4, 4) of the rotations, by clip and its true rotation."""
        rows = []
        for k in range(NUM_ROTATIONS):
            turned = torch.rot90(frames, k, (3, 4)).contiguous(memory_format=self.memory_format)
            features = self.backbone({"frames": turned})
            rows.append(head.scores(head(_without_audio(features)))["rotation"])  # (N, 4)
        return torch.stack(rows, dim=1)


def rotate(frames: torch.Tensor, rotations: torch.Tensor) -> torch.Tensor:
    """Rotate each clip by its own multiple of 90 degrees, counter-clockwise.

    Args:
        frames: (N, 3, T, S, S).
        rotations: (N,) int64, on the CPU.

    Raises:
        ValueError: the frames are not square.
    """
    height, width = frames.shape[3:]
    if height != width:
        raise ValueError(
            f"frames of {height} x {width} cannot be rotated in one batch: crop them to squares "
            "(INPUT.CROP)"
        )
    return torch.stack(
        [torch.rot90(clip, k, (2, 3)) for clip, k in zip(frames, rotations.tolist(), strict=True)]
    )


def _without_audio(features: Mapping[str, Value]) -> dict[str, Value]:
    return {name: value for name, value in features.items() if name != "audio_res5"}
