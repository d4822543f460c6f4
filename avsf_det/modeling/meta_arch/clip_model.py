"""What all models of clips share: normalisation, device, batching, number and memory formats.

Shorthands: N clips; T frames; T_a columns and F mel bins of the log-mel spectrogram.
"""

import functools
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext

import torch
import torch.nn.functional as F
from detectron2.config import CfgNode
from detectron2.modeling import Backbone, build_backbone
from detectron2.structures import ImageList
from torch import nn

from ...layers import Conv3d
from ..avsync_head import AVSyncHead

AUTOCAST_DTYPES = {"": None, "bfloat16": torch.bfloat16, "float16": torch.float16}


def in_autocast(forward: Callable) -> Callable:
    """Let a method of a :class:`ClipModel` run in the dtype of MODEL.AUTOCAST_DTYPE."""

    @functools.wraps(forward)
    def run(self: "ClipModel", *args, **kwargs):
        with self.autocast():
            return forward(self, *args, **kwargs)

    return run


class ClipModel(nn.Module):
    """A backbone and the mean and deviation of what goes into it; and, for training, the head that
    compares sight and sound.

    Args:
        backbone: takes what :meth:`preprocess` gives.
        avsync_head: adds its losses to those of the model; then every clip needs a negative.
        pixel_mean, pixel_std: per channel (RGB), in 0..255.
        audio_mean, audio_std: of the log-mel values (natural log of power).
        autocast_dtype: "bfloat16" or "float16"; "" for what the caller's autocast says.
        channels_last: whether frames and kernels lie channels last in memory.

    Raises:
        ValueError: if there is no such dtype.
    """

    def __init__(
        self,
        *,
        backbone: Backbone,
        pixel_mean: Sequence[float],
        pixel_std: Sequence[float],
        audio_mean: float,
        audio_std: float,
        avsync_head: AVSyncHead | None = None,
        autocast_dtype: str = "",
        channels_last: bool = False,
    ):
        super().__init__()
        if autocast_dtype not in AUTOCAST_DTYPES:
            raise ValueError(
                f"MODEL.AUTOCAST_DTYPE is '{autocast_dtype}'; it can be "
                f"{', '.join(repr(name) for name in AUTOCAST_DTYPES)}"
            )
        self.autocast_dtype = AUTOCAST_DTYPES[autocast_dtype]
        self.memory_format = torch.contiguous_format
        if channels_last:
            self.memory_format = torch.channels_last_3d
            for conv in backbone.modules():
                if isinstance(conv, Conv3d):
                    conv.to(memory_format=torch.channels_last_3d)
        self.backbone = backbone
        self.avsync_head = avsync_head
        self.register_buffer("pixel_mean", torch.tensor(pixel_mean).view(-1, 1, 1, 1), False)
        self.register_buffer("pixel_std", torch.tensor(pixel_std).view(-1, 1, 1, 1), False)
        self.register_buffer("audio_mean", torch.tensor(audio_mean), False)
        self.register_buffer("audio_std", torch.tensor(audio_std), False)

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict:
        backbone = build_backbone(cfg)
        if cfg.MODEL.COMPILE:
            backbone.compile(fullgraph=True)
        return {
            "backbone": backbone,
            "avsync_head": AVSyncHead(cfg, backbone) if cfg.MODEL.AVSYNC.ENABLED else None,
            "pixel_mean": cfg.MODEL.PIXEL_MEAN,
            "pixel_std": cfg.MODEL.PIXEL_STD,
            "audio_mean": cfg.MODEL.AUDIO_MEAN,
            "audio_std": cfg.MODEL.AUDIO_STD,
            "autocast_dtype": cfg.MODEL.AUTOCAST_DTYPE,
            "channels_last": cfg.MODEL.CHANNELS_LAST,
        }

    @property
    def device(self) -> torch.device:
        return self.pixel_mean.device

    def autocast(self) -> AbstractContextManager:
        """What :meth:`forward` runs in, see :func:`in_autocast`."""
        if self.autocast_dtype is None:
            return nullcontext()
        return torch.autocast(self.device.type, self.autocast_dtype)

    def preprocess(
        self, batched_inputs: list[dict]
    ) -> tuple[ImageList | None, dict[str, torch.Tensor | None]]:
        """
        Args:
            batched_inputs: N, with "frames" (3, T, H, W) uint8, which the Audio pathway alone does
                without; and, all or none of them, "audio" (1, T_a, F) float32 and "has_audio" bool.
                If there is a head that compares sight and sound also the same of the hard
                negative, "audio_negative" and "has_audio_negative".

        Returns:
            The clips, normalised and padded on the right and below to a common size; and the
            backbone's input: "frames" (N, 3, T, H, W), "audio" (N, 1, T_a, F), "has_audio" (N,)
            bool. What was not given is None. If there is a head, also the negatives: in training
            those that it chooses.

        Raises:
            ValueError: in training, if the head is there and the negatives are not.
        """
        clips = frames = None
        if "frames" in batched_inputs[0]:
            clips = _pad(
                [
                    (x["frames"].to(self.device) - self.pixel_mean) / self.pixel_std
                    for x in batched_inputs
                ]
            )
            frames = clips.tensor.contiguous(memory_format=self.memory_format)
        x = {"frames": frames, **self._sound(batched_inputs, "audio")}
        if self.avsync_head is not None:
            x.update(self._sound(batched_inputs, "audio_negative"))
            if self.training:
                if x["audio"] is None or x["audio_negative"] is None:
                    raise ValueError(
                        "MODEL.AVSYNC.ENABLED: every training clip needs 'audio' and "
                        "'audio_negative'"
                    )
                x = self.avsync_head.choose_negatives(x)
        return clips, x

    def _sound(self, batched_inputs: list[dict], name: str) -> dict[str, torch.Tensor | None]:
        """``name`` (N, 1, T_a, F), normalised, and has_``name`` (N,) bool, or both None."""
        if name not in batched_inputs[0]:
            return {name: None, f"has_{name}": None}
        audio = torch.stack([x[name].to(self.device) for x in batched_inputs])
        return {
            name: (audio - self.audio_mean) / self.audio_std,
            f"has_{name}": torch.tensor(
                [x[f"has_{name}"] for x in batched_inputs], device=self.device
            ),
        }

    def extract(
        self, x: dict[str, torch.Tensor | None]
    ) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
        """
        Args:
            x: of :meth:`preprocess`.

        Returns:
            the backbone's features; and, in training with the head that compares sight and sound,
            its losses, "loss_avs_<level>".
        """
        if self.avsync_head is None or not self.training:
            return self.backbone(x), {}
        features = self.backbone(x, junctions=True)
        return features, self.avsync_head(features.pop("junctions"), x)


def _pad(clips: list[torch.Tensor]) -> ImageList:
    """Detectron2's ``ImageList.from_tensors``, which breaks the graph of torch.compile."""
    sizes = [tuple(clip.shape[-2:]) for clip in clips]
    height, width = (max(sides) for sides in zip(*sizes, strict=True))
    padded = [F.pad(x, (0, width - x.shape[-1], 0, height - x.shape[-2])) for x in clips]
    return ImageList(torch.stack(padded), sizes)
