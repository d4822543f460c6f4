"""The Audio pathway: a 2-D ResNet on the log-mel spectrogram, whose stages run one at a time.

Shorthands: (N, C, T, F) is clips, channels, time steps, mel bins. Kernels are time x frequency.
res2 and res3 process time and frequency separately. The paper describes two blocks for that: the
one that its authors evaluated ("v1", docs/paper.md), and the one of its Table 1 ("v2"). Section 3.4
compares them with the usual block of 3 x 3 convolutions ("3x3").
"""

from collections.abc import Sequence
from functools import partial
from typing import Any

import fvcore.nn.weight_init as weight_init
import torch
import torch.nn.functional as F
from detectron2.layers import Conv2d, get_norm
from detectron2.modeling.backbone.resnet import BottleneckBlock
from torch import nn

from ...layers import Norm
from .resnet3d import BLOCKS_PER_STAGE, RESIDUAL_STAGES, make_stage


class AudioStem(nn.Module):
    """Sum of a 9 x 1 and a 1 x 9 convolution of the spectrogram, then norm and ReLU."""

    def __init__(self, out_channels: int, *, norm: Norm = "BN") -> None:
        super().__init__()
        self.conv_t = Conv2d(1, out_channels, (9, 1), padding=(4, 0), bias=False)
        self.conv_f = Conv2d(1, out_channels, (1, 9), padding=(0, 4), bias=False)
        self.norm = get_norm(norm, out_channels)
        weight_init.c2_msra_fill(self.conv_t)
        weight_init.c2_msra_fill(self.conv_f)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map (N, 1, T, F) to (N, C, T, F)."""
        x = self.conv_t(x) + self.conv_f(x)
        return F.relu_(x if self.norm is None else self.norm(x))


def _conv(
    in_channels: int,
    out_channels: int,
    kernel: tuple[int, int],
    *,
    norm: Norm,
    stride: int = 1,
    relu: bool = True,
) -> Conv2d:
    conv = Conv2d(
        in_channels,
        out_channels,
        kernel,
        stride=stride,
        padding=(kernel[0] // 2, kernel[1] // 2),
        bias=False,
        norm=get_norm(norm, out_channels),
        activation=F.relu_ if relu else None,
    )
    weight_init.c2_msra_fill(conv)
    return conv


class TimeFrequencyBlock(nn.Module):
    """Residual block with a 3 x 1 and a 1 x 3 convolution in parallel, both strided, then 1 x 1.

    Block "v1" concatenates the two. Block "v2" (``reduce``) reduces the channels by a 1 x 1
    convolution before them, and sums them.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        bottleneck_channels: int,
        stride: int = 1,
        reduce: bool = False,
        norm: Norm = "BN",
    ) -> None:
        super().__init__()
        conv = partial(_conv, norm=norm)
        width = bottleneck_channels
        self.shortcut = self.conv1 = None
        if in_channels != out_channels or stride != 1:
            self.shortcut = conv(in_channels, out_channels, (1, 1), stride=stride, relu=False)
        if reduce:
            self.conv1 = conv(in_channels, width, (1, 1))
            in_channels = width  # both branches follow the reduction
        self.conv_t = conv(in_channels, width, (3, 1), stride=stride)
        self.conv_f = conv(in_channels, width, (1, 3), stride=stride)
        self.conv3 = conv(width if reduce else 2 * width, out_channels, (1, 1), relu=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map (N, C_in, T, F) to (N, C_out, T / stride, F / stride)."""
        shortcut = x if self.shortcut is None else self.shortcut(x)  # (N, C_out, T', F')
        if self.conv1 is None:
            x = torch.cat([self.conv_t(x), self.conv_f(x)], dim=1)  # (N, 2 C_mid, T', F')
        else:
            x = self.conv1(x)
            x = self.conv_t(x) + self.conv_f(x)  # (N, C_mid, T', F')
        return F.relu_(self.conv3(x) + shortcut)


BLOCKS = ("v1", "v2", "3x3")


def make_audio_pathway(
    *,
    depth: int,
    width: int,
    strides: Sequence[int],
    block: str = "v1",
    last_stage: str = "res5",
    norm: Norm = "BN",
) -> nn.ModuleDict:
    """Build the stages of the Audio pathway.

    Args:
        depth: 50 or 101.
        width: number of channels of the stem; res2..res5 give 4, 8, 16 and 32 times as many.
        strides: strides of res2..res5, in time and in frequency.
        block: block of res2 and res3, "v1", "v2" or "3x3".
        last_stage: "stem", "res2", ..., "res5"; later ones are not built.
        norm: norm of all layers, see :func:`detectron2.layers.get_norm`.

    Returns:
        Modules "stem", "res2", ..., up to ``last_stage``.

    Raises:
        ValueError: ``block`` is another name.
    """
    if block not in BLOCKS:
        raise ValueError(f"audio block is '{block}'; it can be {', '.join(BLOCKS)}")
    # Time and frequency are separate in the first two stages, joint in the others.
    separable = partial(TimeFrequencyBlock, reduce=block == "v2")
    first: Any = BottleneckBlock if block == "3x3" else separable
    classes = (first, first, BottleneckBlock, BottleneckBlock)
    stages: dict[str, nn.Module] = {"stem": AudioStem(width, norm=norm)}
    channels = width
    for i, name in enumerate(RESIDUAL_STAGES):
        if last_stage in stages:
            break
        out_channels = width * 4 * 2**i
        blocks = make_stage(
            classes[i],
            BLOCKS_PER_STAGE[depth][i],
            stride=strides[i],
            in_channels=channels,
            out_channels=out_channels,
            bottleneck_channels=out_channels // 4,
            norm=norm,
        )
        stages[name] = nn.Sequential(*blocks)
        channels = out_channels
    return nn.ModuleDict(stages)
