"""What all models of clips share: normalisation, device, batching.

Shorthands: N clips; T frames; T_a columns and F mel bins of the log-mel spectrogram.
"""

from collections.abc import Sequence

import torch
from detectron2.config import CfgNode
from detectron2.modeling import Backbone, build_backbone
from detectron2.structures import ImageList
from torch import nn


class ClipModel(nn.Module):
    """A backbone and the mean and deviation of what goes into it.

    Args:
        backbone: takes what :meth:`preprocess` gives.
        pixel_mean, pixel_std: per channel (RGB), in 0..255.
        audio_mean, audio_std: of the log-mel values (natural log of power).
    """

    def __init__(
        self,
        *,
        backbone: Backbone,
        pixel_mean: Sequence[float],
        pixel_std: Sequence[float],
        audio_mean: float,
        audio_std: float,
    ):
        super().__init__()
        self.backbone = backbone
        self.register_buffer("pixel_mean", torch.tensor(pixel_mean).view(-1, 1, 1, 1), False)
        self.register_buffer("pixel_std", torch.tensor(pixel_std).view(-1, 1, 1, 1), False)
        self.register_buffer("audio_mean", torch.tensor(audio_mean), False)
        self.register_buffer("audio_std", torch.tensor(audio_std), False)

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict:
        return {
            "backbone": build_backbone(cfg),
            "pixel_mean": cfg.MODEL.PIXEL_MEAN,
            "pixel_std": cfg.MODEL.PIXEL_STD,
            "audio_mean": cfg.MODEL.AUDIO_MEAN,
            "audio_std": cfg.MODEL.AUDIO_STD,
        }

    @property
    def device(self) -> torch.device:
        return self.pixel_mean.device

    def preprocess(
        self, batched_inputs: list[dict]
    ) -> tuple[ImageList | None, dict[str, torch.Tensor | None]]:
        """
        Args:
            batched_inputs: N, with "frames" (3, T, H, W) uint8, which the Audio pathway alone does
                without; and, all or none of them, "audio" (1, T_a, F) float32 and "has_audio" bool.

        Returns:
            The clips, normalised and padded on the right and below to a common size; and the
            backbone's input: "frames" (N, 3, T, H, W), "audio" (N, 1, T_a, F), "has_audio" (N,)
            bool. What was not given is None.
        """
        clips = frames = audio = has_audio = None
        if "frames" in batched_inputs[0]:
            clips = ImageList.from_tensors(
                [
                    (x["frames"].to(self.device) - self.pixel_mean) / self.pixel_std
                    for x in batched_inputs
                ],
                self.backbone.size_divisibility,
            )
            frames = clips.tensor
        if "audio" in batched_inputs[0]:
            audio = torch.stack([x["audio"].to(self.device) for x in batched_inputs])
            audio = (audio - self.audio_mean) / self.audio_std
            has_audio = torch.tensor([x["has_audio"] for x in batched_inputs], device=self.device)
        return clips, {"frames": frames, "audio": audio, "has_audio": has_audio}
