"""3-D convolution and pooling in forms that are faster on a CPU, equal up to rounding.

Eager PyTorch runs many 3-D kernels slowly on a CPU; where the kernel has an axis of length 1 or few
outputs, a 2-D convolution or a matrix product of a reshaped tensor is faster (docs/performance.md
has the times). :func:`choose_form` decides for :class:`avsf_det.layers.Conv3d`.
"""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

Form = Callable[[torch.Tensor, nn.Conv3d], torch.Tensor]

_MAX_FRAME_CHANNELS = 4  # of frames, as opposed to maps
# Output channels of a thin convolution, at most: one or two vector registers of the CPU's kernels.
_MAX_THIN_CHANNELS = 16


def is_channels_last(x: torch.Tensor) -> bool:
    """Return whether ``x`` (N, C, T, H, W) lies in memory as (N, T, H, W, C)."""
    return x.is_contiguous(memory_format=torch.channels_last_3d) and not x.is_contiguous()


def is_eager_cpu(x: torch.Tensor) -> bool:
    """Return whether operations on ``x`` run on a CPU, and no compiler is tracing them."""
    return x.device.type == "cpu" and not torch.compiler.is_compiling()


def lay_out(conv: nn.Conv3d, x: torch.Tensor) -> torch.Tensor:
    """Return ``x`` in the memory format that is best for ``conv`` and all layers after it.

    Frames are copied channels last for inference and in 16 bits; later maps keep the format.
    Float32 training stays contiguous for the sake of its batch norms: channels last, PyTorch sums
    all N * T * H * W values of a channel in one float32, with 20 to 700 times the rounding.
    """
    is_stem = conv.in_channels <= _MAX_FRAME_CHANNELS and conv.kernel_size[1:] != (1, 1)
    if is_stem and (not torch.is_grad_enabled() or _is_half(x)):
        return x.contiguous(memory_format=torch.channels_last_3d)
    return x


def choose_form(conv: nn.Conv3d, x: torch.Tensor) -> Form | None:
    """Return the fastest form of ``conv`` for ``x`` (N, C_in, T, H, W); None for the 3-D form.

    ``benchmark.py model --layers`` measures all forms. With AVX2 and AVX-512 the same ones win.
    """
    is_learned = torch.is_grad_enabled() and conv.weight.requires_grad
    if is_temporal(conv):
        if is_channels_last(x) and is_learned and not _is_half(x):
            return None  # its maps are contiguous for the batch norm, see lay_out
        if conv.kernel_size[0] > 1 or not is_channels_last(x):
            return conv_temporal
        if conv.stride != (1, 1, 1):
            return conv_spatial if is_spatial(conv) else None
        # 1 x 1 x 1, channels last: in bfloat16 the 3-D form needs no copies.
        return None if _is_half(x) or conv.groups > 1 else conv_pointwise
    if is_spatial(conv):
        return conv_spatial
    return conv_thin if is_thin(conv) and is_learned else None


def _is_half(x: torch.Tensor) -> bool:
    """Return whether a convolution of ``x`` computes in 16 bits."""
    return torch.is_autocast_enabled("cpu") or x.dtype in (torch.bfloat16, torch.float16)


def is_unsafe_in_3d(conv: nn.Conv3d) -> bool:
    """Return whether the 3-D form of ``conv``, t x 1 x 1, may damage the heap.

    With AMX, oneDNN (torch 2.11) writes outside of its memory in bfloat16 for some strides above
    the number of taps, as the 5 x 1 x 1 with stride 8 of the 4x16 models.
    """
    return is_temporal(conv) and conv.stride[0] > conv.kernel_size[0] > 1


def conv_spatial(x: torch.Tensor, conv: nn.Conv3d) -> torch.Tensor:
    """Convolve (N, C_in, T, H, W) by 1 x k x k: its frames are a batch of images."""
    frames = x.transpose(1, 2).flatten(0, 1)  # (N * T, C_in, H, W)
    maps = F.conv2d(
        frames, conv.weight[:, :, 0], conv.bias, groups=conv.groups, **_spatial_options(conv)
    )
    return maps.unflatten(0, x.shape[:1] + x.shape[2:3]).transpose(1, 2)


def is_spatial(conv: nn.Conv3d) -> bool:
    """Return whether :func:`conv_spatial` computes ``conv``: a kernel of 1 x k x k."""
    return conv.kernel_size[0] == 1 and conv.padding[0] == 0 and conv.stride[0] == 1


def is_temporal(conv: nn.Conv3d) -> bool:
    """Return whether :func:`conv_temporal` computes ``conv``: t x 1 x 1."""
    return conv.kernel_size[1:] == (1, 1) and conv.padding[1:] == (0, 0)


def conv_pointwise(x: torch.Tensor, conv: nn.Conv3d) -> torch.Tensor:
    """Convolve (N, C_in, T, H, W) by 1 x 1 x 1, as a product; copies none channels last."""
    rows = F.linear(x.permute(0, 2, 3, 4, 1), conv.weight.flatten(1), conv.bias)
    return rows.permute(0, 4, 1, 2, 3)


def conv_temporal(x: torch.Tensor, conv: nn.Conv3d) -> torch.Tensor:
    """Convolve (N, C_in, T, H, W) by t x 1 x 1: a clip is an image of T rows and H * W columns."""
    x = x[..., :: conv.stride[1], :: conv.stride[2]]
    # H and W are flattened with C behind them: otherwise, the strides of a single clip channels
    # last become such that PyTorch takes it for contiguous.
    image = x.permute(0, 2, 3, 4, 1).flatten(2, 3).permute(0, 3, 1, 2)  # (N, C_in, T, H * W)
    padding: Any = conv.padding
    maps = F.conv2d(
        image,
        conv.weight[..., 0],
        conv.bias,
        stride=(conv.stride[0], 1),
        padding=(padding[0], 0),
        dilation=(conv.dilation[0], 1),
        groups=conv.groups,
    )
    return maps.permute(0, 2, 3, 1).unflatten(2, x.shape[3:]).permute(0, 4, 1, 2, 3)


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
