"""Batch norm of large maps that lie channels last, for training on a CPU.

PyTorch adds up the N * T * H * W values of a channel in one float32 per thread there, with 20 to
700 times the rounding of its other kernels; and with few channels the sums of two threads share a
cache line. Here groups of positions become channels of their own, and their sums are added.
"""

from typing import Any

import torch

from .cpu_conv import is_channels_last, is_eager_cpu

_MIN_POSITIONS = 1 << 14  # with fewer, PyTorch rounds little, and the sums cost less than the calls
_MAX_CHANNELS = 1024  # of all groups together
_MIN_FAST_CHANNELS = 64  # from here on, PyTorch's own gradient is faster, and less inexact


def is_partwise(x: torch.Tensor, weight: torch.Tensor) -> bool:
    """Return whether :class:`PartwiseBatchNorm` is the better batch norm of ``x``."""
    is_large = x.numel() >= _MIN_POSITIONS * x.shape[1]
    is_exact = weight.dtype in (torch.float32, torch.float64)  # that of the sums
    return is_large and is_exact and is_eager_cpu(x) and is_channels_last(x)


class PartwiseBatchNorm(torch.autograd.Function):
    """Batch norm of (N, C, T, H, W) by its own statistics, which are returned too."""

    @staticmethod
    def forward(
        ctx: Any, x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor, eps: float
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Return the normalised ``x``, and mean and biased variance (C)."""
        parts = _count_parts(x)
        rows = _split(x, parts)
        running = weight.new_zeros(rows.shape[1])  # not used, but their format is that of the sums
        means, variances = torch.batch_norm_update_stats(rows, running, running, 0.0)
        between, mean = torch.var_mean(means.view(parts, -1), 0, correction=0)
        variance = variances.view(parts, -1).mean(0).add_(between)
        ctx.save_for_backward(x, weight, mean, variance)
        ctx.eps, ctx.parts = eps, parts
        ctx.mark_non_differentiable(mean, variance)
        y = torch.native_batch_norm(x, weight, bias, mean, variance, False, 0.0, eps)[0]
        return y, mean, variance

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        """Return the gradients of the input, the weight and the bias."""
        grad, (x, weight, mean, variance) = grads[0], ctx.saved_tensors
        eps, parts = ctx.eps, ctx.parts
        gradient = torch.ops.aten.native_batch_norm_backward
        rstd = (variance + eps).rsqrt()
        if len(weight) >= _MIN_FAST_CHANNELS:
            options = weight, None, None, mean, rstd, True, eps, [True, True, True]
            return *gradient(grad, x, *options), None
        grad = grad.contiguous(memory_format=torch.channels_last_3d)
        affine = torch.stack((weight, mean, variance))[:, None].expand(-1, parts, -1).reshape(3, -1)
        options = *affine, None, None, False, eps, [False, True, True]
        sums = gradient(_split(grad, parts), _split(x, parts), *options)[1:]
        grad_weight, grad_bias = totals = torch.stack(sums).view(2, parts, -1).sum(1)
        # weight * rstd * (grad - mean(grad) - normalised x * mean(grad * normalised x))
        slope, offset = totals / -(x.numel() // len(weight))
        y = torch.native_batch_norm(x, slope, offset, mean, variance, False, 0.0, eps)[0].add_(grad)
        zero = torch.zeros_like(mean)
        scale = (weight * rstd, zero, zero, zero + (1 - eps))
        return torch.native_batch_norm(y, *scale, False, 0.0, eps)[0], grad_weight, grad_bias, None


def _count_parts(x: torch.Tensor) -> int:
    """Return the most groups that the positions of (N, C, T, H, W) divide into."""
    channels, positions = x.shape[1], x.numel() // x.shape[1]
    most = max(_MAX_CHANNELS // channels, 1)
    return next(parts for parts in range(most, 0, -1) if positions % parts == 0)


def _split(x: torch.Tensor, parts: int) -> torch.Tensor:
    """View (N, C, T, H, W), channels last, as (N * T * H * W / parts, parts * C, 1, 1)."""
    return x.permute(0, 2, 3, 4, 1).view(-1, parts * x.shape[1], 1, 1)
