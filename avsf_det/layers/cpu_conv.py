"""3-D convolution and pooling in forms that are faster on a CPU, equal up to rounding.

Eager PyTorch runs many 3-D kernels slowly on a CPU; where the kernel has an axis of length 1, a 2-D
convolution or a matrix product of a reshaped tensor is faster, and the gradient of some weights is
faster tap by tap (docs/performance.md has the times). :func:`choose_form` decides for
:class:`avsf_det.layers.Conv3d`.
"""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

Form = Callable[[torch.Tensor, nn.Conv3d], torch.Tensor]

_MAX_FRAME_CHANNELS = 4  # of frames, as opposed to maps
_MIN_TAPWISE_CHANNELS = 256  # of maps; with fewer, PyTorch's own weight gradient is faster


def is_channels_last(x: torch.Tensor) -> bool:
    """Return whether ``x`` (N, C, T, H, W) lies in memory as (N, T, H, W, C)."""
    return x.is_contiguous(memory_format=torch.channels_last_3d) and not x.is_contiguous()


def is_eager_cpu(x: torch.Tensor) -> bool:
    """Return whether operations on ``x`` run on a CPU, and no compiler is tracing them."""
    return x.device.type == "cpu" and not torch.compiler.is_compiling()


def lay_out(conv: nn.Conv3d, x: torch.Tensor) -> torch.Tensor:
    """Return ``x`` in the memory format that is best for ``conv`` and all layers after it.

    Frames are copied channels last; later maps keep the format.
    """
    return x.contiguous(memory_format=torch.channels_last_3d) if _is_stem(conv) else x


def choose_form(conv: nn.Conv3d, x: torch.Tensor) -> Form | None:
    """Return the fastest form of ``conv`` for ``x`` (N, C_in, T, H, W); None for the 3-D form.

    ``benchmark.py model --layers`` measures all forms. With AVX2 and AVX-512 the same ones win.
    """
    is_learned = torch.is_grad_enabled() and conv.weight.requires_grad
    if _is_stem(conv):
        if _is_half(x) and is_folded(conv):
            return conv_folded
        if is_learned and is_tapwise(conv, x):
            return conv_tapwise
    if is_temporal(conv):
        is_wide = conv.in_channels >= _MIN_TAPWISE_CHANNELS
        if is_learned and is_wide and is_channels_last(x) and is_tapwise(conv, x):
            return conv_tapwise
        if conv.kernel_size[0] > 1 or conv.padding[0] != 0 or not is_channels_last(x):
            return conv_temporal
        # 1 x 1 x 1, channels last: without strides, the 3-D form needs no copies in 16 bits.
        is_fast_in_3d = conv.groups > 1 or (_is_half(x) and conv.stride == (1, 1, 1))
        return None if is_fast_in_3d else conv_pointwise
    return conv_spatial if is_spatial(conv) else None


def _is_stem(conv: nn.Conv3d) -> bool:
    """Return whether ``conv`` takes frames, not maps."""
    return conv.in_channels <= _MAX_FRAME_CHANNELS and conv.kernel_size[1:] != (1, 1)


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
        frames, conv.weight.squeeze(2), conv.bias, groups=conv.groups, **_spatial_options(conv)
    )
    return maps.unflatten(0, x.shape[:1] + x.shape[2:3]).transpose(1, 2)


def is_spatial(conv: nn.Conv3d) -> bool:
    """Return whether :func:`conv_spatial` computes ``conv``: a kernel of 1 x k x k."""
    return conv.kernel_size[0] == 1 and conv.padding[0] == 0 and conv.stride[0] == 1


def is_temporal(conv: nn.Conv3d) -> bool:
    """Return whether :func:`conv_temporal` computes ``conv``: t x 1 x 1."""
    return conv.kernel_size[1:] == (1, 1) and conv.padding[1:] == (0, 0)


def conv_pointwise(x: torch.Tensor, conv: nn.Conv3d) -> torch.Tensor:
    """Convolve (N, C_in, T, H, W) by 1 x 1 x 1, as a product; copies only for strides."""
    frames, rows, columns = conv.stride
    x = x[:, :, ::frames, ::rows, ::columns].permute(0, 2, 3, 4, 1)
    maps = F.linear(x.contiguous(), conv.weight.flatten(1), conv.bias)
    return maps.permute(0, 4, 1, 2, 3)


def conv_temporal(x: torch.Tensor, conv: nn.Conv3d) -> torch.Tensor:
    """Convolve (N, C_in, T, H, W) by t x 1 x 1: a clip is an image of T rows and H * W columns."""
    x = x[..., :: conv.stride[1], :: conv.stride[2]]
    maps = F.conv2d(
        _as_image(x),
        conv.weight.squeeze(4),
        conv.bias,
        stride=(conv.stride[0], 1),
        padding=(int(conv.padding[0]), 0),
        dilation=(conv.dilation[0], 1),
        groups=conv.groups,
    )
    return _from_image(maps, x.shape[3:])


def _as_image(x: torch.Tensor) -> torch.Tensor:
    """View (N, C, T, H, W) as (N, C, T, H * W)."""
    # H and W are flattened with C behind them: otherwise, the strides of a single clip channels
    # last become such that PyTorch takes it for contiguous.
    return x.permute(0, 2, 3, 4, 1).flatten(2, 3).permute(0, 3, 1, 2)


def _from_image(maps: torch.Tensor, size: torch.Size) -> torch.Tensor:
    """View (N, C, T, H * W) as (N, C, T, H, W) of ``size`` (H, W)."""
    return maps.permute(0, 2, 3, 1).unflatten(2, size).permute(0, 4, 1, 2, 3)


def conv_tapwise(x: torch.Tensor, conv: nn.Conv3d) -> torch.Tensor:
    """Convolve (N, C_in, T, H, W) by t x k x k; the weight's gradient is computed tap by tap.

    PyTorch's gradient takes 1.5 to 7 times as long for few frames of wide maps, and with AVX2 for
    frames of few channels.
    """
    if conv.kernel_size[1:] != (1, 1):
        return _Tapwise.apply(x, conv.weight, conv.stride, conv.padding)
    padding = (conv.padding[0], 0)
    maps = _Tapwise.apply(_as_image(x), conv.weight.squeeze(4), (1, 1), padding)
    return _from_image(maps, x.shape[3:])


def is_tapwise(conv: nn.Conv3d, x: torch.Tensor) -> bool:
    """Return whether :func:`conv_tapwise` computes ``conv``: it keeps the T frames, T >= t > 1."""
    taps = conv.kernel_size[0]
    return (
        x.shape[2] >= taps > 1
        and taps % 2 == 1
        and conv.padding[0] == taps // 2
        and conv.dilation == (1, 1, 1)
        and (conv.stride == (1, 1, 1) if is_temporal(conv) else conv.stride[0] == 1)
        and conv.groups == 1
        and conv.bias is None
    )


class _Tapwise(torch.autograd.Function):
    """Convolution over time and one or two further axes that keeps the number of frames.

    The weights of one tap see the maps and the frames that are a number of frames later: their
    gradient is that of a 2-D convolution, or a matrix product.
    """

    @staticmethod
    def forward(
        ctx: Any,
        x: torch.Tensor,
        weight: torch.Tensor,
        stride: tuple[int, ...],
        padding: tuple[int, ...],
    ) -> torch.Tensor:
        """Convolve (N, C_in, T, ...), in the number format of autocast."""
        dtype = torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else x.dtype
        x, weight = x.to(dtype), weight.to(dtype)
        ctx.save_for_backward(x, weight)
        ctx.options = stride, padding, (1,) * len(stride), False, (0,) * len(stride), 1
        return torch.convolution(x, weight, None, *ctx.options)

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        """Return the gradients of the input and of the weight, in the format of the output."""
        (grad,), (x, weight) = grads, ctx.saved_tensors
        gradient = torch.ops.aten.convolution_backward
        grad_x = None
        if ctx.needs_input_grad[0]:
            grad_x = gradient(grad, x, weight, None, *ctx.options, [True, False, False])[0]
        stride, padding, *_ = ctx.options
        options = stride[1:], padding[1:], (1, 1), False, (0, 0), 1, [False, True, False]
        taps, num_frames = weight.shape[2], x.shape[2]
        tap_grads = []
        for shift in range(-(taps // 2), taps // 2 + 1):  # frames that a tap sees later
            maps = grad[:, :, max(-shift, 0) : num_frames - max(shift, 0)]
            frames = x[:, :, max(shift, 0) : num_frames + min(shift, 0)]
            if len(stride) == 2:
                rows, columns = (y.movedim(1, -1).flatten(0, -2) for y in (maps, frames))
                tap_grads.append(rows.t() @ columns)  # (C_out, C_in)
            else:
                images, inputs = (y.transpose(1, 2).flatten(0, 1) for y in (maps, frames))
                tap_grads.append(gradient(images, inputs, weight[:, :, 0], None, *options)[1])
        # Channels last, as the weight of such a model lies in memory.
        stacked = torch.stack([tap.movedim(1, -1) for tap in tap_grads], dim=1).movedim(-1, 1)
        return grad_x, stacked.view_as(weight), None, None


def conv_folded(x: torch.Tensor, conv: nn.Conv3d) -> torch.Tensor:
    """Convolve (N, C_in, T, H, W) by t x k x k, stride 2: 2 x 2 pixels become 4 * C_in channels.

    More channels fill the registers of the CPU's 16-bit kernels, and there are fewer pixels.
    """
    pad, height, width = int(conv.padding[1]), *x.shape[3:]
    if torch.is_autocast_enabled("cpu"):
        x = x.to(torch.get_autocast_dtype("cpu"))  # before it is copied
    # The kernel gets a first row and column of zeros, so that it covers whole blocks of 2 x 2.
    sides = (0, 0, pad + 1, pad - 1 + width % 2, pad + 1, pad - 1 + height % 2)
    pixels = F.pad(x.permute(0, 2, 3, 4, 1), sides)  # (N, T, H', W', C_in)
    blocks = pixels.unflatten(3, (-1, 2)).unflatten(2, (-1, 2))  # (N, T, h, 2, w, 2, C_in)
    pixels = blocks.transpose(3, 4).flatten(4)  # (N, T, h, w, 4 * C_in)
    weight = F.pad(conv.weight, (1, 0, 1, 0)).unflatten(4, (-1, 2)).unflatten(3, (-1, 2))
    weight = weight.permute(0, 4, 6, 1, 2, 3, 5).flatten(1, 3)  # (C_out, 4 * C_in, t, k', k')
    x = pixels.permute(0, 4, 1, 2, 3)
    return F.conv3d(x, weight, conv.bias, (conv.stride[0], 1, 1), (int(conv.padding[0]), 0, 0))


def is_folded(conv: nn.Conv3d) -> bool:
    """Return whether :func:`conv_folded` computes ``conv``: 7 x 7 (or 3 x 3), stride 2."""
    side = conv.kernel_size[1]
    return (
        conv.kernel_size[2] == side
        and side % 4 == 3
        and conv.padding[1:] == (side // 2,) * 2
        and conv.stride[1:] == (2, 2)
        and conv.dilation == (1, 1, 1)
        and conv.groups == 1
    )


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
