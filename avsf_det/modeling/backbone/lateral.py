"""The lateral connections between pathways, and the gate of the Audio pathway.

Shorthands: (N, C, T, H, W) visual maps, (N, C, T, F) audio maps; both as in the pathways' files.
What leaves the Audio pathway is a term of shape (N, C, T, 1, 1), to be summed onto every position
of a visual map.
"""

from collections.abc import Mapping

import fvcore.nn.weight_init as weight_init
import torch
import torch.nn.functional as F
from detectron2.layers import Conv2d
from detectron2.layers import get_norm as get_norm_2d
from torch import nn

from ...layers import Conv3d, Norm, get_norm, max_pool3d
from ...layers.nonlocal_block import attend, check_attention


class FastToSlow(nn.Module):
    """Fast features at Slow's frame rate, to be concatenated to Slow: one temporal convolution
    with stride alpha_F, norm, ReLU."""

    def __init__(
        self, in_channels: int, out_channels: int, *, kernel: int, stride: int, norm: Norm = "BN"
    ):
        super().__init__()
        self.conv = Conv3d(
            in_channels,
            out_channels,
            (kernel, 1, 1),
            stride=(stride, 1, 1),
            padding=(kernel // 2, 0, 0),
            bias=False,
            norm=get_norm(norm, out_channels),
            activation=F.relu_,
        )
        weight_init.c2_msra_fill(self.conv)

    def forward(self, fast: torch.Tensor) -> torch.Tensor:
        """(N, C_in, T, H, W) to (N, C_out, T / stride, H, W)."""
        return self.conv(fast)


class AudioToVisual(nn.Module):
    """Audio features at a visual pathway's frame rate: mean over frequency, then two temporal
    convolutions, the second strided, each with norm and ReLU (paper, section 3.4).

    Onto Slow with its Fast channels this is A->FS; onto Fast, before Fast-to-Slow, A->F->S.
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
    ):
        super().__init__()
        self.out_channels = out_channels
        channels = (in_channels, inner_channels, out_channels)
        self.conv1, self.conv2 = (
            Conv2d(
                channels[i],
                channels[i + 1],
                (kernel, 1),
                stride=((1, stride)[i], 1),
                padding=(kernel // 2, 0),
                bias=False,
                norm=get_norm_2d(norm, channels[i + 1]),
                activation=F.relu_,
            )
            for i in range(2)
        )
        weight_init.c2_msra_fill(self.conv1)
        weight_init.c2_msra_fill(self.conv2)

    def forward(self, audio: torch.Tensor, visual: torch.Tensor) -> torch.Tensor:
        """(N, C_in, T, F) to (N, C_out, T / stride, 1, 1). ``visual`` is not looked at."""
        x = audio.mean(dim=3, keepdim=True)
        return self.conv2(self.conv1(x)).unsqueeze(4)


class AudioVisualNonLocal(nn.Module):
    """Each moment of sound attends to all positions of the visual map, which are max-pooled; what
    it finds there is the term of that moment (paper, section 3.4; docs/paper.md).

    Args:
        audio_channels, visual_channels: of the two maps.
        inner_channels: of queries, keys and values.
        stride: audio columns per visual frame, averaged to one query.
        pool: of the visual positions, (t, h, w).
        attention: see :class:`avsf_det.layers.NonLocalBlock`.
        norm: of the term; it starts at zero.
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
    ):
        super().__init__()
        check_attention(attention)
        self.out_channels = visual_channels
        self.stride, self.pool, self.attention = stride, tuple(pool), attention
        self.theta = Conv3d(audio_channels, inner_channels, 1)
        self.phi = Conv3d(visual_channels, inner_channels, 1)
        self.g = Conv3d(visual_channels, inner_channels, 1)
        self.out = Conv3d(inner_channels, visual_channels, 1, norm=get_norm(norm, visual_channels))
        for conv in (self.theta, self.phi, self.g, self.out):
            weight_init.c2_msra_fill(conv)
        if self.out.norm is not None:
            nn.init.zeros_(self.out.norm.weight)

    def forward(self, audio: torch.Tensor, visual: torch.Tensor) -> torch.Tensor:
        """(N, C_a, T_a, F) and (N, C, T, H, W), T = T_a / stride, to (N, C, T, 1, 1)."""
        moments = F.avg_pool2d(audio.mean(dim=3, keepdim=True), (self.stride, 1)).unsqueeze(4)
        pooled = max_pool3d(visual, self.pool)
        found = attend(self.theta(moments), self.phi(pooled), self.g(pooled), self.attention)
        return self.out(found)


class DropPathway(nn.Module):
    """The gate that everything leaving the Audio pathway passes: closed for clips without sound,
    and in training, with probability ``rate``, for the whole batch (paper, section 3.4).

    A factor and not a branch: every parameter is in every step's graph, as DDP needs it, and batch
    norms see every step.

    Args:
        rate: P_d.
        scope: what a dropped step goes without: "all" is the laterals and the pooled audio (the
            paper's text), "laterals" leaves the pooled audio (the authors' code).
        means: place ("res3", ..., "pool5") to its channels: where the gate is closed, the running
            mean of what passed stands in for it; zeros stand where no place is given.

    Raises:
        ValueError: if there is no such scope.
    """

    momentum = 0.1  # of the running means, as batch norm's

    def __init__(self, rate: float, *, scope: str = "all", means: Mapping[str, int] | None = None):
        super().__init__()
        if scope not in ("all", "laterals"):
            raise ValueError(f"DropPathway's scope is '{scope}'; it can be 'all' or 'laterals'")
        self.rate, self.scope = rate, scope
        self.places = tuple(means or ())
        for place, channels in (means or {}).items():
            self.register_buffer(f"mean_{place}", torch.zeros(channels))

    def draw(self, has_audio: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """
        Args:
            has_audio: (N,) bool.

        Returns:
            two gates, of the laterals and of the pooled audio: (N,) float32 of 0 and 1.
        """
        heard = has_audio.float()
        if not self.training:
            return heard, heard
        kept = heard * (torch.rand((), device=heard.device) >= self.rate)
        return kept, kept if self.scope == "all" else heard

    def forward(self, x: torch.Tensor, gate: torch.Tensor, place: str) -> torch.Tensor:
        """(N, C, ...) and (N,) to (N, C, ...): what stands at ``place``; in the dtype of ``x``."""
        shape = (-1, *[1] * (x.dim() - 1))
        open_ = gate.to(x.dtype).view(shape)
        if place not in self.places:
            return x * open_
        mean = getattr(self, f"mean_{place}")
        if self.training:
            self._update(mean, x.detach(), gate)
        return x * open_ + mean.to(x.dtype).view(1, -1, *shape[2:]) * (1 - open_)

    def _update(self, mean: torch.Tensor, x: torch.Tensor, gate: torch.Tensor) -> None:
        """Move ``mean`` (C,) towards the mean of the clips of ``x`` whose gate is open, if any."""
        count = gate.sum()
        now = (gate @ x.flatten(2).mean(dim=2).to(gate.dtype)) / count.clamp(min=1)
        mean += self.momentum * (count > 0) * (now - mean)

    def extra_repr(self) -> str:
        return f"rate={self.rate}, scope={self.scope}, means={list(self.places)}"
