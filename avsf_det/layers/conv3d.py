"""Detectron2's convolution layer for maps of shape (N, C, T, H, W)."""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from . import cpu_conv


class Conv3d(nn.Conv3d):
    """3-D convolution followed by a norm and an activation, as Detectron2's ``Conv2d``.

    On a CPU, kernels over time alone, over space alone, and those with few outputs run as 2-D
    convolutions or matrix products (:mod:`avsf_det.layers.cpu_conv`), equal up to rounding. Under
    torch.compile and torch.export they stay 3-D where that is safe: compilers choose a better form
    themselves.

    Args:
        *args: arguments of :class:`torch.nn.Conv3d`.
        norm: module applied to the output of the convolution.
        activation: function applied after the norm.
        **kwargs: keyword arguments of :class:`torch.nn.Conv3d`.
    """

    padding: tuple[int, ...]

    def __init__(
        self,
        *args: Any,
        norm: nn.Module | None = None,
        activation: Callable[[torch.Tensor], torch.Tensor] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        self.norm = norm
        self.activation = activation

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map (N, C_in, T, H, W) to (N, C_out, T', H', W')."""
        x = self._convolve(x)
        x = x if self.norm is None else self.norm(x)
        return x if self.activation is None else self.activation(x)

    def _convolve(self, x: torch.Tensor) -> torch.Tensor:
        if cpu_conv.is_eager_cpu(x):
            x = cpu_conv.lay_out(self, x)
            form = cpu_conv.choose_form(self, x)
            if form is not None:
                return form(x, self)
        elif x.device.type == "cpu" and cpu_conv.is_unsafe_in_3d(self):
            return cpu_conv.conv_temporal(x, self)
        return self._convolve_padded(x)

    def _convolve_padded(self, x: torch.Tensor) -> torch.Tensor:
        """Convolve in 3-D; on a CPU, fewer frames than taps are zero-padded in time beforehand.

        Where padding surrounds fewer frames than the kernel has taps, oneDNN with AVX-512 (torch
        2.11 to 2.14, bfloat16; float32 with some strides) writes outside of the weight gradient:
        garbage, inf or a crash. With AMX the forward pass of one frame is affected too. A kernel
        that finds all of its taps inside the input is right in all of these cases.
        """
        before, *padding = self.padding
        if x.device.type != "cpu" or before == 0 or x.shape[2] >= self.kernel_size[0]:
            return super().forward(x)
        padded = F.pad(x, (0, 0, 0, 0, before, before))
        return F.conv3d(
            padded, self.weight, self.bias, self.stride, (0, *padding), self.dilation, self.groups
        )
