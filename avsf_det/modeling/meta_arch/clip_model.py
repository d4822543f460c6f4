"""Base of all models of clips: normalisation, device, batching, number and memory formats.

Shorthands: N clips; T frames; T_a time steps and F mel bins of the log-mel spectrogram.
"""

import functools
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
import torch.nn.functional as F
from detectron2.config import CfgNode
from detectron2.modeling import Backbone, build_backbone
from detectron2.structures import ImageList
from torch import nn

from ...layers import Conv3d
from ...structures import AVSFError
from ..avsync_head import AVSyncHead

AUTOCAST_DTYPES = {"": None, "bfloat16": torch.bfloat16, "float16": torch.float16}
MAX_COMPILED_GRAPHS = 256


def in_autocast(forward: Callable) -> Callable:
    """Decorate a method of a :class:`ClipModel` to run in the dtype of MODEL.AUTOCAST_DTYPE."""

    @functools.wraps(forward)
    def run(self: "ClipModel", *args: Any, **kwargs: Any) -> Any:
        with self.autocast():
            return forward(self, *args, **kwargs)

    return run


class ClipModel(nn.Module):
    """Backbone with the normalisation of its inputs, and the synchronisation head for training.

    Args:
        backbone: backbone of the inputs that :meth:`preprocess` returns.
        pixel_mean: mean per channel (RGB), 0..255.
        pixel_std: std per channel (RGB), 0..255.
        audio_mean: mean of the log-mel values (natural log of power).
        audio_std: std of the log-mel values.
        avsync_head: head that adds synchronisation losses in training; every clip then needs a
            negative.
        autocast_dtype: "bfloat16" or "float16"; "" for the caller's autocast.
        channels_last: whether frames and kernels lie channels last in memory.

    Raises:
        ValueError: ``autocast_dtype`` is another name.
    """

    pixel_mean: torch.Tensor
    pixel_std: torch.Tensor
    audio_mean: torch.Tensor
    audio_std: torch.Tensor

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
    ) -> None:
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
            # Module.to on the whole backbone would fail on the 4-D kernels of the Audio pathway.
            for conv in backbone.modules():
                if isinstance(conv, Conv3d):
                    conv.to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
        self.backbone = backbone
        self.avsync_head = avsync_head
        # Not persistent: the config decides, and checkpoints of other projects lack them.
        self.register_buffer("pixel_mean", torch.tensor(pixel_mean).view(-1, 1, 1, 1), False)
        self.register_buffer("pixel_std", torch.tensor(pixel_std).view(-1, 1, 1, 1), False)
        self.register_buffer("audio_mean", torch.tensor(audio_mean), False)
        self.register_buffer("audio_std", torch.tensor(audio_std), False)

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict[str, Any]:
        """Read MODEL."""
        backbone = build_backbone(cfg)
        if cfg.MODEL.COMPILE:
            from torch._dynamo import config  # slow to import

            # In place, so that names in checkpoints stay; a graph break raises. So would the ninth
            # kind of input (size, mode, taps), by default.
            config.recompile_limit = MAX_COMPILED_GRAPHS
            backbone.compile(fullgraph=True)
        return {
            "backbone": backbone,
            "avsync_head": AVSyncHead(cfg, backbone) if cfg.MODEL.AVSYNC.ENABLED else None,
            "pixel_mean": cfg.MODEL.PIXEL_MEAN,
            "pixel_std": cfg.MODEL.PIXEL_STD,
            "audio_mean": cfg.MODEL.AUDIO_MEAN,
            "audio_std": cfg.MODEL.AUDIO_STD,
            "autocast_dtype": cfg.MODEL.AUTOCAST_DTYPE,
            # The stem lays out frames so on a CPU, where kernels that lie otherwise are copied.
            "channels_last": cfg.MODEL.CHANNELS_LAST or cfg.MODEL.DEVICE == "cpu",
        }

    def fractions(self) -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
        """Return the fractions of the last training step, see :class:`AVSyncHead`."""
        return {} if self.avsync_head is None else self.avsync_head.fractions

    @property
    def device(self) -> torch.device:
        """Device of the model, where :meth:`preprocess` moves its inputs."""
        return self.pixel_mean.device

    def autocast(self) -> AbstractContextManager:
        """Return the context that :meth:`forward` runs in, see :func:`in_autocast`."""
        if self.autocast_dtype is None:
            return nullcontext()
        # The trainer that scales gradients has turned autocast on already; precise batch norm runs
        # the model in training mode without gradients.
        is_scaled = torch.is_autocast_enabled(self.device.type) or not torch.is_grad_enabled()
        if self.training and self.autocast_dtype == torch.float16 and not is_scaled:
            raise ValueError(
                "MODEL.AUTOCAST_DTYPE float16 is for inference: small gradients would become 0. "
                "To train in float16 set SOLVER.AMP.ENABLED True, or use bfloat16."
            )
        return torch.autocast(self.device.type, self.autocast_dtype)

    def preprocess(self, batched_inputs: list[dict]) -> tuple[ImageList | None, dict[str, Any]]:
        """Normalise and batch clips.

        Args:
            batched_inputs: N clips with "frames" (3, T, H, W) uint8, which the Audio pathway alone
                does not need; and, in all or none of them, "audio" (1, T_a, F) float32 and
                "has_audio" bool. With a synchronisation head also the hard negative,
                "audio_negative" and "has_audio_negative", of the same shapes.

        Returns:
            The clips, normalised and padded on the right and below to a common size; and the
            backbone's inputs: "frames" (N, 3, T, H, W), "audio" (N, 1, T_a, F), "has_audio" (N,)
            bool, None where not given. With a head also the negatives: in training those that it
            chooses.

        Raises:
            AVSFError: there are no clips.
            ValueError: in training with a synchronisation head, negatives are missing.
        """
        if not batched_inputs:
            raise AVSFError("The batch is empty; a model needs at least one clip")
        clips = frames = None
        if "frames" in batched_inputs[0]:
            raw = [x["frames"] for x in batched_inputs]
            sizes = [tuple(x.shape[-2:]) for x in raw]
            if len(set(sizes)) == 1:
                # Bytes are the cheapest to lay out otherwise.
                frames = self._stack(raw).contiguous(memory_format=self.memory_format)
                frames = self._normalize_frames(frames)  # (N, 3, T, H, W)
            else:
                # Normalised before padding, so that padding is the mean colour.
                frames = _pad([self._normalize_frames(self._stack([x]))[0] for x in raw])
            frames = frames.contiguous(memory_format=self.memory_format)
            clips = ImageList(frames, sizes)
        x: dict[str, Any] = {"frames": frames, **self._batch_audio(batched_inputs, "audio")}
        if self.avsync_head is not None:
            x |= self._batch_audio(batched_inputs, "audio_negative")
            if self.training:
                if x["audio"] is None or x["audio_negative"] is None:
                    needs = "'audio' and 'audio_negative'"
                    raise ValueError(f"MODEL.AVSYNC.ENABLED: every training clip needs {needs}")
                x = self.avsync_head.choose_negatives(x)
        return clips, x

    def _batch_audio(self, batched_inputs: list[dict], name: str) -> dict[str, Any]:
        """Return ``name`` (N, 1, T_a, F), normalised, and has_``name`` (N,) bool, or both None."""
        if name not in batched_inputs[0]:
            return {name: None, f"has_{name}": None}
        audio = self._stack([x[name] for x in batched_inputs])
        has = self._stack([torch.as_tensor(x[f"has_{name}"]) for x in batched_inputs])
        return {name: (audio - self.audio_mean) / self.audio_std, f"has_{name}": has}

    def _normalize_frames(self, frames: torch.Tensor) -> torch.Tensor:
        return (frames - self.pixel_mean).div_(self.pixel_std)

    def _stack(self, tensors: list[torch.Tensor]) -> torch.Tensor:
        """Stack tensors of one shape, and move them to the device without waiting for it."""
        if self.device.type != "cuda" or tensors[0].is_cuda:
            return torch.stack([x.to(self.device) for x in tensors])
        shape = (len(tensors), *tensors[0].shape)
        pinned = torch.empty(shape, dtype=tensors[0].dtype, pin_memory=True)
        return torch.stack(tensors, out=pinned).to(self.device, non_blocking=True)

    def extract(self, x: dict[str, Any]) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
        """Run the backbone.

        Args:
            x: inputs of the backbone, see :meth:`preprocess`.

        Returns:
            The backbone's features; and, in training with a synchronisation head, its losses,
            "loss_avs_<level>".
        """
        # At test the head is not run, so that its models equal those without it.
        if self.avsync_head is None or not self.training:
            return self.backbone(x), {}
        features, taps = self.backbone(x, with_taps=True)
        return features, self.avsync_head(taps, x)


def _pad(clips: list[torch.Tensor]) -> torch.Tensor:
    """Pad clips (3, T, H, W) on the right and below to a common size, and stack them.

    Detectron2's ``ImageList.from_tensors`` does so too, but breaks the graph of torch.compile.
    """
    height, width = (max(x.shape[i] for x in clips) for i in (-2, -1))
    padded = [F.pad(x, (0, width - x.shape[-1], 0, height - x.shape[-2])) for x in clips]
    return torch.stack(padded)
