"""The lateral connections between pathways, and the gate of the Audio pathway.

Shorthands: (N, C, T, H, W) visual maps, (N, C, T, F) audio maps; both as in the pathways' files.
"""

import fvcore.nn.weight_init as weight_init
import torch
import torch.nn.functional as F
from detectron2.layers import Conv2d
from detectron2.layers import get_norm as get_norm_2d
from torch import nn

from ...layers import Conv3d, get_norm


class FastToSlow(nn.Module):
    """Fast features at Slow's frame rate, to be concatenated to Slow: one temporal convolution
    with stride alpha_F, norm, ReLU."""

    def __init__(
        self, in_channels: int, out_channels: int, *, kernel: int, stride: int, norm: str = "BN"
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
    """Audio features at Slow's frame rate, to be summed onto every position of Slow (A->FS):
    mean over frequency, then two temporal convolutions, the second strided, each with norm and
    ReLU."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        inner_channels: int,
        kernel: int,
        stride: int,
        norm: str = "BN",
    ):
        super().__init__()
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

    def forward(self, audio: torch.Tensor) -> torch.Tensor:
        """(N, C_in, T, F) to (N, C_out, T / stride, 1, 1)."""
        x = audio.mean(dim=3, keepdim=True)
        return self.conv2(self.conv1(x)).unsqueeze(4)


class DropPathway(nn.Module):
    """The gate that everything leaving the Audio pathway is multiplied with: 0 for clips without
    sound, and in training, with probability ``rate``, for the whole batch (paper, section 3.4).

    A factor and not a branch: every parameter is in every step's graph, as DDP needs it, and batch
    norms see every step.
    """

    def __init__(self, rate: float):
        super().__init__()
        self.rate = rate

    def forward(self, has_audio: torch.Tensor) -> torch.Tensor:
        """(N,) bool to (N,) float32 of 0 and 1."""
        gate = has_audio.float()
        if self.training:
            gate = gate * (torch.rand((), device=gate.device) >= self.rate)
        return gate

    def extra_repr(self) -> str:
        return f"rate={self.rate}"
