"""The Audio pathway: a 2-D ResNet on the log-mel spectrogram, whose stages are run one at a time.

Shorthands: (N, C, T, F) is clips, channels, spectrogram columns (time), mel bins (frequency).
Kernels are time x frequency. The layers are those that the AVSlowFast authors evaluated (FACTS
section 1.1); Table 1 of the paper describes others (ARCHITECTURE section 0).
"""

from collections.abc import Sequence

import fvcore.nn.weight_init as weight_init
import torch
import torch.nn.functional as F
from detectron2.layers import Conv2d, get_norm
from detectron2.modeling.backbone.resnet import BottleneckBlock
from torch import nn

from .resnet3d import BLOCKS_PER_STAGE, RESIDUAL_STAGES, make_stage


class AudioStem(nn.Module):
    """9 x 1 and 1 x 9 convolutions of the spectrogram, summed; then norm and ReLU."""

    def __init__(self, out_channels: int, *, norm: str = "BN"):
        super().__init__()
        self.conv_t = Conv2d(1, out_channels, (9, 1), padding=(4, 0), bias=False)
        self.conv_f = Conv2d(1, out_channels, (1, 9), padding=(0, 4), bias=False)
        self.norm = get_norm(norm, out_channels)
        weight_init.c2_msra_fill(self.conv_t)
        weight_init.c2_msra_fill(self.conv_f)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(N, 1, T, F) to (N, C, T, F)."""
        x = self.conv_t(x) + self.conv_f(x)
        return F.relu_(x if self.norm is None else self.norm(x))


class TimeFrequencyBlock(nn.Module):
    """3 x 1 and 1 x 3 convolutions side by side, both with the stride, concatenated; 1 x 1; and
    the shortcut."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        bottleneck_channels: int,
        stride: int = 1,
        norm: str = "BN",
    ):
        super().__init__()
        self.shortcut = None
        if in_channels != out_channels or stride != 1:
            self.shortcut = Conv2d(
                in_channels,
                out_channels,
                1,
                stride=stride,
                bias=False,
                norm=get_norm(norm, out_channels),
            )
        self.conv_t, self.conv_f = (
            Conv2d(
                in_channels,
                bottleneck_channels,
                kernel,
                stride=stride,
                padding=(kernel[0] // 2, kernel[1] // 2),
                bias=False,
                norm=get_norm(norm, bottleneck_channels),
                activation=F.relu_,
            )
            for kernel in ((3, 1), (1, 3))
        )
        self.conv3 = Conv2d(
            2 * bottleneck_channels,
            out_channels,
            1,
            bias=False,
            norm=get_norm(norm, out_channels),
        )
        for conv in (self.shortcut, self.conv_t, self.conv_f, self.conv3):
            if conv is not None:
                weight_init.c2_msra_fill(conv)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(N, C_in, T, F) to (N, C_out, T / stride, F / stride)."""
        shortcut = x if self.shortcut is None else self.shortcut(x)
        x = self.conv3(torch.cat([self.conv_t(x), self.conv_f(x)], dim=1))
        return F.relu_(x + shortcut)


# Time and frequency are apart in the first two stages, together in the others.
BLOCK_CLASSES = (TimeFrequencyBlock, TimeFrequencyBlock, BottleneckBlock, BottleneckBlock)


def make_audio_pathway(
    *, depth: int, width: int, strides: Sequence[int], norm: str = "BN"
) -> nn.ModuleDict:
    """Build the stages of the Audio pathway.

    Args:
        depth: 50 or 101.
        width: channels of the stem; res2..res5 give 4, 8, 16 and 32 times as many.
        strides: of res2..res5, in time and in frequency.
        norm: see :func:`detectron2.layers.get_norm`.

    Returns:
        modules "stem", "res2", ..., "res5".
    """
    stages = {"stem": AudioStem(width, norm=norm)}
    channels = width
    for i, name in enumerate(RESIDUAL_STAGES):
        out_channels = width * 4 * 2**i
        blocks = make_stage(
            BLOCK_CLASSES[i],
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
