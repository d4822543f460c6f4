"""Lateral connections between pathways, and DropPathway.

Shorthands: visual maps are (N, C, T, H, W), audio maps (N, C, T_a, F), as in the pathways' files.
Audio features for a visual map are (N, C, T, 1, 1), to be added to each of its positions.
"""

from collections.abc import Mapping
from functools import partial
from typing import NamedTuple

import fvcore.nn.weight_init as weight_init
import torch
import torch.nn.functional as F
from detectron2.layers import Conv2d
from detectron2.layers import get_norm as get_norm_2d
from torch import nn

from ...layers import Conv3d, NonLocalAttention, Norm, get_norm


class FastToSlow(nn.Module):
    """Fast features at the frame rate of Slow, to be concatenated to Slow.

    One temporal convolution with stride alpha_F; then norm and ReLU, if ``has_norm``.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        kernel: int,
        stride: int,
        norm: Norm = "BN",
        has_norm: bool = True,
    ) -> None:
        super().__init__()
        self.out_channels = out_channels
        self.conv = Conv3d(
            in_channels,
            out_channels,
            (kernel, 1, 1),
            stride=(stride, 1, 1),
            padding=(kernel // 2, 0, 0),
            bias=False,
            norm=get_norm(norm, out_channels) if has_norm else None,
            activation=F.relu_ if has_norm else None,
        )
        weight_init.c2_msra_fill(self.conv)

    def forward(self, fast: torch.Tensor) -> torch.Tensor:
        """Map (N, C_in, T, H, W) to (N, C_out, T / stride, H, W)."""
        return self.conv(fast)


class AudioToVisual(nn.Module):
    """Audio features at the frame rate of a visual pathway (paper, section 3.4).

    Mean over frequency, then two temporal convolutions, the second strided, each with norm and
    ReLU.

    Args:
        in_channels: number of channels of the Audio pathway.
        out_channels: number of channels of the visual map.
        inner_channels: number of channels between the convolutions.
        kernel: length of the kernels, in time steps.
        stride: time steps per frame of the visual map.
        norm: norm of both convolutions.
        has_gain: whether :meth:`scale` multiplies each channel by a gain that starts at 0. The gain
            stands behind the ReLU: a norm of zeros before it would have no gradient.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        inner_channels: int,
        kernel: int,
        stride: int,
        norm: Norm = "BN",
        has_gain: bool = False,
    ) -> None:
        super().__init__()
        self.out_channels = out_channels
        self.gain = nn.Parameter(torch.zeros(out_channels)) if has_gain else None
        window, padding = (kernel, 1), (kernel // 2, 0)
        conv = partial(Conv2d, kernel_size=window, padding=padding, bias=False, activation=F.relu_)
        self.conv1 = conv(in_channels, inner_channels, norm=get_norm_2d(norm, inner_channels))
        self.conv2 = conv(
            inner_channels, out_channels, stride=(stride, 1), norm=get_norm_2d(norm, out_channels)
        )
        weight_init.c2_msra_fill(self.conv1)
        weight_init.c2_msra_fill(self.conv2)

    def forward(self, audio: torch.Tensor) -> torch.Tensor:
        """Map (N, C_in, T_a, F) to (N, C_out, T_a / stride, 1, 1)."""
        x = audio.mean(dim=3, keepdim=True)  # (N, C_in, T_a, 1)
        return self.conv2(self.conv1(x)).unsqueeze(4)

    def scale(self, x: torch.Tensor) -> torch.Tensor:
        """Return the features (N, C_out, T, 1, 1) as they are added to a visual map."""
        return x if self.gain is None else x * self.gain.to(x.dtype).view(1, -1, 1, 1, 1)


class AudioVisualNonLocal(NonLocalAttention):
    """Attention of each audio time step to all positions of a visual map (paper, section 3.4).

    The visual map is max-pooled first; docs/paper.md. ``stride`` is audio time steps per visual
    frame, averaged to one query; other arguments are those of :class:`NonLocalAttention`.
    """

    def __init__(
        self,
        audio_channels: int,
        visual_channels: int,
        *,
        inner_channels: int,
        stride: int,
        pool: tuple[int, int, int] = (1, 2, 2),
        attention: str = "dot_product",
        norm: Norm = "BN",
    ) -> None:
        channels = (audio_channels, visual_channels, inner_channels)
        super().__init__(*channels, pool=pool, attention=attention, norm=norm)
        self.out_channels, self.stride = visual_channels, stride

    def forward(self, audio: torch.Tensor, visual: torch.Tensor) -> torch.Tensor:
        """Map (N, C_a, T_a, F) and (N, C, T, H, W), T = T_a / stride, to (N, C, T, 1, 1)."""
        per_frame = F.avg_pool2d(audio.mean(dim=3, keepdim=True), (self.stride, 1))
        return self.attend(per_frame.unsqueeze(4), visual)  # (N, C_a, T, 1, 1) attends


class DropMasks(NamedTuple):
    """DropPathway masks of one step, each (N,) float32: 1 where audio features pass, else 0."""

    laterals: torch.Tensor
    pooled: torch.Tensor


class DropPathway(nn.Module):
    """Mask of all features that leave the Audio pathway (paper, section 3.4).

    The mask is 0 for clips without audio and, in training with probability ``rate``, for the whole
    batch. A factor and not a branch: every parameter is in every step's graph, as DDP requires, and
    batch norms see every step.

    Args:
        rate: probability P_d, 0..1.
        scope: what a dropped step masks: "all" is the laterals and the pooled audio (the paper's
            text), "laterals" keeps the pooled audio (the authors' code).
        means: number of channels per fusion stage. If given, dropped audio features are replaced
            by their running mean, else by zeros.

    Raises:
        ValueError: ``scope`` is another name.
    """

    momentum = 0.1  # of the running means, as batch norm's

    def __init__(
        self, rate: float, *, scope: str = "all", means: Mapping[str, int] | None = None
    ) -> None:
        super().__init__()
        if scope not in ("all", "laterals"):
            raise ValueError(f"DropPathway's scope is '{scope}'; it can be 'all' or 'laterals'")
        self.rate, self.scope = rate, scope
        self.filled_stages = tuple(means or ())
        for stage, channels in (means or {}).items():
            self.register_buffer(f"mean_{stage}", torch.zeros(channels))

    def draw(self, has_audio: torch.Tensor) -> DropMasks:
        """Draw the masks of one step, from ``has_audio`` (N,) bool."""
        audible = has_audio.float()
        if not self.training:
            return DropMasks(audible, audible)
        # One draw for the whole batch of a process.
        kept = audible * (torch.rand((), device=audible.device) >= self.rate)
        return DropMasks(kept, kept if self.scope == "all" else audible)

    def forward(self, x: torch.Tensor, mask: torch.Tensor, stage: str) -> torch.Tensor:
        """Mask the features of a fusion stage.

        Args:
            x: (N, C, ...) audio features.
            mask: (N,) float32 of 0 and 1, see :meth:`draw`.
            stage: name of the fusion stage.

        Returns:
            Tensor of the shape and dtype of ``x``.
        """
        shape = (-1, *[1] * (x.dim() - 1))
        is_kept = mask.view(shape) > 0
        # Not a product: 0 * inf is NaN, and float16 overflows.
        if stage not in self.filled_stages:
            return torch.where(is_kept, x, 0)
        mean = self.get_buffer(f"mean_{stage}")
        if self.training:
            self._update(mean, x.detach(), mask)
        return torch.where(is_kept, x, mean.to(x.dtype).view(1, -1, *shape[2:]))

    def _update(self, mean: torch.Tensor, x: torch.Tensor, mask: torch.Tensor) -> None:
        """Move ``mean`` (C,) towards the mean of the clips of ``x`` with mask 1, if any."""
        count = mask.sum()
        rows = x.flatten(2).mean(dim=2).to(mask.dtype)  # (N, C)
        now = torch.where(mask.view(-1, 1) > 0, rows, 0).sum(dim=0) / count.clamp(min=1)
        # A factor instead of a branch: a step that drops everything leaves the mean as it is.
        mean += self.momentum * (count > 0) * (now - mean)

    def extra_repr(self) -> str:
        """Describe the settings, for ``repr``."""
        return f"rate={self.rate}, scope={self.scope}, means={list(self.filled_stages)}"
