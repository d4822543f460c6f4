"""A visual pathway, Slow or Fast: a 3-D ResNet whose stages run one at a time.

Shorthands: (N, C, T, H, W) is clips, channels, frames, height, width. Kernels are time x height x
width. The layers are those of SlowFast (Feichtenhofer et al. 2019, Table 1).
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import fvcore.nn.weight_init as weight_init
import torch
import torch.nn.functional as F
from detectron2.modeling.backbone import ResNet
from torch import nn

from ...layers import BatchNormBase, Conv3d, NonLocalBlock, Norm, get_norm, max_pool3d

BLOCKS_PER_STAGE = {50: (3, 4, 6, 3), 101: (3, 4, 23, 3)}  # of res2..res5, by depth
RESIDUAL_STAGES = ("res2", "res3", "res4", "res5")


def _conv(
    in_channels: int,
    out_channels: int,
    kernel: tuple[int, int, int],
    *,
    norm: Norm,
    stride: int = 1,
    dilation: int = 1,
    relu: bool = True,
) -> Conv3d:
    """Create a convolution that is strided and dilated in space only, then norm and ReLU."""
    return Conv3d(
        in_channels,
        out_channels,
        kernel,
        stride=(1, stride, stride),
        padding=(kernel[0] // 2, dilation * (kernel[1] // 2), dilation * (kernel[2] // 2)),
        dilation=(1, dilation, dilation),
        bias=False,
        norm=get_norm(norm, out_channels),
        activation=F.relu_ if relu else None,
    )


class VisualStem(nn.Module):
    """Convolution (kt x 7 x 7) and max pooling (1 x 3 x 3), each with spatial stride 2."""

    def __init__(
        self, in_channels: int, out_channels: int, *, temporal_kernel: int, norm: Norm = "BN"
    ) -> None:
        super().__init__()
        self.conv1 = _conv(in_channels, out_channels, (temporal_kernel, 7, 7), norm=norm, stride=2)
        weight_init.c2_msra_fill(self.conv1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map (N, 3, T, H, W) to (N, C, T, H / 4, W / 4)."""
        x = self.conv1(x)  # (N, C, T, H / 2, W / 2)
        return max_pool3d(x, (1, 3, 3), stride=(1, 2, 2), padding=(0, 1, 1))


class BottleneckBlock3d(nn.Module):
    """Residual block of kernels kt x 1 x 1, 1 x 3 x 3 (strided, dilated) and 1 x 1 x 1."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        bottleneck_channels: int,
        temporal_kernel: int = 1,
        stride: int = 1,
        dilation: int = 1,
        norm: Norm = "BN",
    ) -> None:
        super().__init__()
        conv = partial(_conv, norm=norm)
        pointwise, width = (1, 1, 1), bottleneck_channels
        self.shortcut = None
        if in_channels != out_channels or stride != 1:
            self.shortcut = conv(in_channels, out_channels, pointwise, stride=stride, relu=False)
        self.conv1 = conv(in_channels, width, (temporal_kernel, 1, 1))
        self.conv2 = conv(width, width, (1, 3, 3), stride=stride, dilation=dilation)
        self.conv3 = conv(width, out_channels, pointwise, relu=False)
        for layer in (self.shortcut, self.conv1, self.conv2, self.conv3):
            if layer is not None:
                weight_init.c2_msra_fill(layer)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map (N, C_in, T, H, W) to (N, C_out, T, H / stride, W / stride)."""
        shortcut = x if self.shortcut is None else self.shortcut(x)  # (N, C_out, T, H', W')
        return F.relu_(self.conv3(self.conv2(self.conv1(x))).add_(shortcut))


def make_stage(
    block_class: Callable[..., nn.Module], num_blocks: int, *, stride: int, **kwargs: Any
) -> list[Any]:
    """Make the blocks of a stage with Detectron2's ``ResNet.make_stage``.

    The first block has the stride. Residual branches start at zero (Goyal et al. 2017).

    Args:
        block_class: class of the blocks, whose last convolution is called ``conv3``.
        num_blocks: number of blocks.
        stride: stride of the stage.
        **kwargs: arguments of the block; ``xx_per_block`` is a list with one value per block.
    """
    strides = [stride] + [1] * (num_blocks - 1)
    blocks = ResNet.make_stage(block_class, num_blocks, stride_per_block=strides, **kwargs)
    for block in blocks:
        # Frozen norms keep their weights.
        if isinstance(block.conv3.norm, BatchNormBase):
            nn.init.zeros_(block.conv3.norm.weight)
    return blocks


def make_visual_pathway(
    *,
    depth: int,
    in_channels: int,
    width: int,
    temporal_kernels: Sequence[int],
    num_temporal_blocks: Sequence[int],
    strides: Sequence[int],
    dilations: Sequence[int],
    lateral_channels: Sequence[int] = (0, 0, 0, 0),
    nonlocal_after: Mapping[str, Sequence[int]] = {},
    nonlocal_block: Callable[[int], nn.Module] = NonLocalBlock,
    norm: Norm = "BN",
) -> nn.ModuleDict:
    """Build the stages of a visual pathway.

    Args:
        depth: 50 or 101.
        in_channels: number of channels of the frames.
        width: number of channels of the stem; res2..res5 give 4, 8, 16 and 32 times as many.
        temporal_kernels: kt of the stem and of res2..res5.
        num_temporal_blocks: number of blocks of res2..res5, counted from the first one, that have
            this kernel; the others have kt = 1.
        strides: spatial strides of res2..res5.
        dilations: spatial dilations of res2..res5.
        lateral_channels: number of channels concatenated to the inputs of res2..res5.
        nonlocal_after: stage to the indices (from 0) of the blocks that a non-local block follows.
        nonlocal_block: function of the number of channels that creates a non-local block.
        norm: norm of all layers, see :func:`avsf_det.layers.get_norm`.

    Returns:
        Modules "stem", "res2", ..., "res5". The non-local block after block i of a stage is called
        "nonlocal{i}" in it.

    Raises:
        ValueError: the depth is unknown or a non-local block would follow a missing block.
    """
    if depth not in BLOCKS_PER_STAGE:
        raise ValueError(f"depth is {depth}; it can be one of {list(BLOCKS_PER_STAGE)}")
    stages: dict[str, nn.Module] = {
        "stem": VisualStem(in_channels, width, temporal_kernel=temporal_kernels[0], norm=norm)
    }
    channels = width  # of the pathway itself, without lateral channels
    for i, name in enumerate(RESIDUAL_STAGES):
        num_blocks = BLOCKS_PER_STAGE[depth][i]
        out_channels = width * 4 * 2**i
        blocks = make_stage(
            BottleneckBlock3d,
            num_blocks,
            stride=strides[i],
            in_channels=channels + lateral_channels[i],
            out_channels=out_channels,
            bottleneck_channels=out_channels // 4,
            temporal_kernel_per_block=[
                temporal_kernels[i + 1] if j < num_temporal_blocks[i] else 1
                for j in range(num_blocks)
            ],
            dilation=dilations[i],
            norm=norm,
        )
        after = nonlocal_after.get(name, ())
        if not set(after) <= set(range(num_blocks)):
            raise ValueError(f"non-local after blocks {after} of {name}: it has {num_blocks}")
        stages[name] = stage = nn.Sequential()
        for j, block in enumerate(blocks):
            stage.add_module(str(j), block)
            if j in after:
                stage.add_module(f"nonlocal{j}", nonlocal_block(out_channels))
        channels = out_channels
    return nn.ModuleDict(stages)
