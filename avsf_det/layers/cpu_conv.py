"""3-D convolution and pooling in forms that are faster on a CPU, equal up to rounding.

Eager PyTorch runs many 3-D kernels slowly on a CPU; where the kernel has an axis of length 1 or few
outputs, a 2-D convolution of a reshaped tensor is faster (docs/performance.md has the times).
:class:`avsf_det.layers.Conv3d` chooses the form.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

# Output channels of a thin convolution, at most: one or two vector registers of the CPU's kernels.
_MAX_THIN_CHANNELS = 16


def is_channels_last(x: torch.Tensor) -> bool:
    """Return whether ``x`` (N, C, T, H, W) lies in memory as (N, T, H, W, C)."""
    return x.is_contiguous(memory_format=torch.channels_last_3d) and not x.is_contiguous()


def is_eager_cpu(x: torch.Tensor) -> bool:
    """Return whether operations on ``x`` run on a CPU, and no compiler is tracing them."""
    return x.device.type == "cpu" and not torch.compiler.is_compiling()


def is_spatial(conv: nn.Conv3d) -> bool:
    """Return whether :func:`conv_spatial` computes ``conv``: a kernel of 1 x k x k, k > 1."""
    taps, *window = conv.kernel_size
    return taps == 1 and window != [1, 1] and conv.padding[0] == 0 and conv.stride[0] == 1


def conv_spatial(x: torch.Tensor, conv: nn.Conv3d) -> torch.Tensor:
    """Convolve (N, C_in, T, H, W) by 1 x k x k: its frames are a batch of images."""
    frames = x.transpose(1, 2).flatten(0, 1)  # (N * T, C_in, H, W)
    maps = F.conv2d(
        frames, conv.weight[:, :, 0], conv.bias, groups=conv.groups, **_spatial_options(conv)
    )
    return maps.unflatten(0, x.shape[:1] + x.shape[2:3]).transpose(1, 2)


def is_temporal(conv: nn.Conv3d, x: torch.Tensor) -> bool:
    """Return whether :func:`conv_temporal` is the faster form of ``conv``: t x 1 x 1.

    For ``x`` channels last in memory it is not: a reshape would copy the tensor.
    """
    window, padding = conv.kernel_size[1:], conv.padding[1:]
    return window == (1, 1) and padding == (0, 0) and not is_channels_last(x)


def conv_temporal(x: torch.Tensor, conv: nn.Conv3d) -> torch.Tensor:
    """Convolve (N, C_in, T, H, W) by t x 1 x 1: a clip is an image of T rows and H * W columns."""
    x = x[..., :: conv.stride[1], :: conv.stride[2]]
    padding: Any = conv.padding
    maps = F.conv2d(
        x.flatten(3),  # (N, C_in, T, H * W)
        conv.weight[..., 0],
        conv.bias,
        stride=(conv.stride[0], 1),
        padding=(padding[0], 0),
        dilation=(conv.dilation[0], 1),
        groups=conv.groups,
    )
    return maps.unflatten(3, x.shape[3:])


def is_thin(conv: nn.Conv3d) -> bool:
    """Return whether :func:`conv_thin` computes ``conv``: few outputs, number of frames kept."""
    return (
        conv.kernel_size[1:] != (1, 1)
        and conv.out_channels <= _MAX_THIN_CHANNELS
        and conv.padding[0] == conv.kernel_size[0] // 2
        and conv.stride[0] == conv.dilation[0] == conv.groups == 1
    )


def conv_thin(x: torch.Tensor, conv: nn.Conv3d) -> torch.Tensor:
    """Convolve (N, C_in, T, H, W) by t x k x k with few output channels, for training.

    A frame and its neighbours in time are stacked to an image with t * C_in channels: the gradient
    of the 3-D form is slow.
    """
    taps, num_frames = conv.kernel_size[0], x.shape[2]
    padded = F.pad(x.permute(0, 2, 3, 4, 1), (0,) * 6 + (taps // 2,) * 2)  # (N, T + t - 1, H, W, C)
    frames = torch.cat([padded[:, tap : tap + num_frames] for tap in range(taps)], dim=4)
    maps = F.conv2d(
        frames.flatten(0, 1).permute(0, 3, 1, 2),  # (N * T, t * C_in, H, W), channels last
        conv.weight.transpose(1, 2).flatten(1, 2),  # (C_out, t * C_in, k, k)
        conv.bias,
        **_spatial_options(conv),
    )
    return maps.unflatten(0, (-1, num_frames)).transpose(1, 2)


def _spatial_options(conv: nn.Conv3d) -> dict[str, Any]:
    """Return stride, padding and dilation over height and width."""
    return {name: getattr(conv, name)[1:] for name in ("stride", "padding", "dilation")}


def max_pool3d(
    x: torch.Tensor,
    kernel_size: tuple[int, int, int],
    stride: tuple[int, int, int] | None = None,
    padding: tuple[int, int, int] = (0, 0, 0),
) -> torch.Tensor:
    """Pool (N, C, T, H, W) as :func:`torch.nn.functional.max_pool3d`, keeping the memory format.

    On a CPU, pooling is several times faster channels last, which is worth two copies.
    """
    if not is_eager_cpu(x) or is_channels_last(x):
        return F.max_pool3d(x, kernel_size, stride, padding)
    x = x.contiguous(memory_format=torch.channels_last_3d)
    return F.max_pool3d(x, kernel_size, stride, padding).contiguous()
