"""Detectron2's convolution and norm layers, for maps of shape (N, C, T, H, W)."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from detectron2.layers import Conv2d, FrozenBatchNorm2d
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_weights

# Output channels up to which a convolution over time and space is thin: one or two registers of the
# convolution kernels.
_MAX_THIN_CHANNELS = 16

BATCH_NORMS = nn.modules.batchnorm._BatchNorm  # the base of BatchNorm2d, BatchNorm3d and SyncBN


def is_channels_last(x: torch.Tensor) -> bool:
    """Whether ``x`` (N, C, T, H, W) lies in memory as (N, T, H, W, C)."""
    return x.is_contiguous(memory_format=torch.channels_last_3d) and not x.is_contiguous()


def _is_eager_cpu(x: torch.Tensor) -> bool:
    return x.device.type == "cpu" and not torch.compiler.is_compiling()


class Conv3d(nn.Conv3d):
    """A 3-D convolution followed by a norm and an activation, as Detectron2's ``Conv2d``.

    On a CPU, kernels over time alone, over space alone, and thin ones over both run as 2-D
    convolutions where that is faster (docs/performance.md); equal up to rounding. Not so where a
    compiler sees the model (torch.compile, torch.export): it does better with the 3-D ones.

    Args:
        norm: a module applied to the convolution's output, if any.
        activation: a function applied after the norm, if any.
        *args, **kwargs: those of :class:`torch.nn.Conv3d`.
    """

    def __init__(
        self,
        *args,
        norm: nn.Module | None = None,
        activation: Callable[[torch.Tensor], torch.Tensor] | None = None,
        **kwargs,
    ):
        super().__init__(*args, **kwargs)
        self.norm = norm
        self.activation = activation

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(N, C_in, T, H, W) to (N, C_out, T', H', W')."""
        x = self._conv_on_cpu(x) if _is_eager_cpu(x) else self._conv3d(x)
        if self.norm is not None:
            x = self.norm(x)
        if self.activation is not None:
            x = self.activation(x)
        return x

    def _conv_on_cpu(self, x: torch.Tensor) -> torch.Tensor:
        taps, *window = self.kernel_size
        over_space = window != [1, 1]
        if taps == 1 and over_space and self.padding[0] == 0 and self.stride[0] == 1:
            return self._conv_frames(x)
        if not over_space and self.padding[1:] == (0, 0) and not is_channels_last(x):
            return self._conv_times(x)
        if (
            over_space
            and self.out_channels <= _MAX_THIN_CHANNELS
            and self.padding[0] == taps // 2
            and self.stride[0] == self.dilation[0] == self.groups == 1
        ):
            return self._conv_thin(x)
        return self._conv3d(x)

    def _conv3d(self, x: torch.Tensor) -> torch.Tensor:
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

    def _conv_frames(self, x: torch.Tensor) -> torch.Tensor:
        """1 x k x k: frames are a batch of images."""
        spatial = (pair[1:] for pair in (self.stride, self.padding, self.dilation))
        frames = x.transpose(1, 2).flatten(0, 1)
        maps = F.conv2d(frames, self.weight[:, :, 0], self.bias, *spatial, self.groups)
        return maps.unflatten(0, x.shape[:1] + x.shape[2:3]).transpose(1, 2)

    def _conv_times(self, x: torch.Tensor) -> torch.Tensor:
        """t x 1 x 1: a clip is an image whose columns are positions."""
        x = x[..., :: self.stride[1], :: self.stride[2]]
        temporal = (
            (pair[0], other)
            for pair, other in ((self.stride, 1), (self.padding, 0), (self.dilation, 1))
        )
        maps = F.conv2d(x.flatten(3), self.weight[..., 0], self.bias, *temporal, self.groups)
        return maps.unflatten(3, x.shape[3:])

    def _conv_thin(self, x: torch.Tensor) -> torch.Tensor:
        """t x k x k with few outputs: in training a frame and its neighbours in time are an image
        of t times as many channels, as their gradient is slow otherwise."""
        if not (torch.is_grad_enabled() and self.weight.requires_grad):
            return self._conv3d(x.contiguous(memory_format=torch.channels_last_3d))
        taps, num_frames = self.kernel_size[0], x.shape[2]
        padded = F.pad(x.permute(0, 2, 3, 4, 1), (0,) * 6 + (taps // 2,) * 2)
        frames = torch.cat([padded[:, tap : tap + num_frames] for tap in range(taps)], dim=4)
        spatial = (pair[1:] for pair in (self.stride, self.padding, self.dilation))
        maps = F.conv2d(
            frames.flatten(0, 1).permute(0, 3, 1, 2),
            self.weight.transpose(1, 2).flatten(1, 2),
            self.bias,
            *spatial,
        )
        return maps.unflatten(0, (-1, num_frames)).transpose(1, 2)


def max_pool3d(
    x: torch.Tensor,
    kernel_size: tuple[int, int, int],
    stride: tuple[int, int, int] | None = None,
    padding: tuple[int, int, int] = (0, 0, 0),
) -> torch.Tensor:
    """:func:`torch.nn.functional.max_pool3d` of (N, C, T, H, W), to the memory format of ``x``. On
    a CPU it is several times faster channels last."""
    if not _is_eager_cpu(x) or is_channels_last(x):
        return F.max_pool3d(x, kernel_size, stride, padding)
    x = x.contiguous(memory_format=torch.channels_last_3d)
    return F.max_pool3d(x, kernel_size, stride, padding).contiguous()


class FrozenBatchNorm3d(FrozenBatchNorm2d):
    """Batch norm with fixed statistics and affine, for maps of any rank (N, C, ...).

    The parent adds its affine as (1, C, 1, 1) when gradients are needed, which on a 5-D map
    silently broadcasts along the wrong axes or fails.
    """

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(N, C, ...) to the same shape and dtype."""
        if not x.requires_grad:
            return super().forward(x)  # F.batch_norm, which takes any rank
        scale = self.weight * (self.running_var + self.eps).rsqrt()
        shift = self.bias - self.running_mean * scale
        shape = (1, -1) + (1,) * (x.dim() - 2)
        return x * scale.to(x.dtype).view(shape) + shift.to(x.dtype).view(shape)

    def __repr__(self) -> str:
        return f"FrozenBatchNorm3d(num_features={self.num_features}, eps={self.eps})"

    @classmethod
    def convert_frozen_batchnorm(cls, module: nn.Module) -> nn.Module:
        """Replace every batch norm inside ``module`` (2-D, 3-D, synchronised), keeping its values.

        Returns:
            ``module``, changed in place; or the new layer if ``module`` itself is a batch norm.
        """
        if isinstance(module, BATCH_NORMS):
            frozen = cls(module.num_features, module.eps).to(module.running_mean.device)
            frozen.load_state_dict(module.state_dict(), strict=False)  # less num_batches_tracked
            return frozen
        for name, child in module.named_children():
            setattr(module, name, cls.convert_frozen_batchnorm(child))
        return module


class SubBatchNorm(BATCH_NORMS):
    """Batch norm whose training statistics come from groups of ``clips`` neighbouring clips, for
    maps of any rank (N, C, ...): a process with a large batch then trains as several with a small
    one do (paper, appendix A.4: statistics over 8 clips). A batch of fewer clips is one group.

    Running statistics are those of the whole batch, as the batch norm without groups keeps them.

    Raises:
        ValueError: in training, if N is larger than ``clips`` and not a multiple of it.
    """

    def __init__(self, num_features: int, *, clips: int, eps: float = 1e-5, momentum: float = 0.1):
        super().__init__(num_features, eps, momentum)
        self.clips = clips

    def _check_input_dim(self, x: torch.Tensor) -> None:
        """Any rank will do."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(N, C, ...) to the same shape."""
        if not self.training or len(x) <= self.clips:
            return super().forward(x)
        if len(x) % self.clips:
            raise ValueError(f"a batch of {len(x)} clips has no groups of {self.clips} clips")
        groups = x.split(self.clips)
        means = x.new_zeros(len(groups), self.num_features, dtype=self.running_mean.dtype)
        variances = torch.zeros_like(means)
        normalized = [
            # A momentum of 1 leaves the group's own statistics in these rows.
            F.batch_norm(group, mean, var, self.weight, self.bias, True, 1.0, self.eps)
            for group, mean, var in zip(groups, means, variances, strict=True)
        ]
        self.num_batches_tracked += 1
        self.running_mean.lerp_(means.mean(0), self.momentum)
        total = variances.mean(0) + means.var(0, unbiased=False)
        self.running_var.lerp_(total, self.momentum)
        return torch.cat(normalized)

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, clips={self.clips}"


Norm = str | Callable[[int], nn.Module]  # a name, or what makes a layer for a number of channels


def get_norm(norm: Norm, out_channels: int) -> nn.Module | None:
    """Detectron2's ``get_norm`` for (N, C, T, H, W).

    Args:
        norm: "BN", "SyncBN", "FrozenBN", or "" for none; or a function of C.
        out_channels: C.

    Raises:
        ValueError: if ``norm`` is another name.
    """
    if not norm:
        return None
    if callable(norm):
        return norm(out_channels)
    norms = {"BN": nn.BatchNorm3d, "SyncBN": nn.SyncBatchNorm, "FrozenBN": FrozenBatchNorm3d}
    if norm not in norms:
        raise ValueError(f"norm is '{norm}'; it can be {', '.join(norms)} or ''")
    return norms[norm](out_channels)


def freeze(module: nn.Module) -> None:
    """Fix all parameters of ``module`` and turn its batch norms into :class:`FrozenBatchNorm3d`."""
    for parameter in module.parameters():
        parameter.requires_grad = False
    FrozenBatchNorm3d.convert_frozen_batchnorm(module)


def fold_batch_norms(module: nn.Module) -> None:
    """Multiply the batch norms that follow a :class:`Conv3d` or Detectron2's ``Conv2d`` into its
    kernel and bias, in place, for inference: equal up to rounding.

    Raises:
        ValueError: if ``module`` is in training mode.
    """
    if module.training:
        raise ValueError("batch norms fold in evaluation mode only")
    for conv in module.modules():
        norm = getattr(conv, "norm", None)
        if not isinstance(conv, (Conv2d, Conv3d)) or norm is None:
            continue
        if isinstance(norm, (BATCH_NORMS, FrozenBatchNorm2d)):
            statistics = norm.running_mean, norm.running_var, norm.eps
            conv.weight, conv.bias = fuse_conv_bn_weights(
                conv.weight, conv.bias, *statistics, norm.weight, norm.bias
            )
            conv.norm = None
