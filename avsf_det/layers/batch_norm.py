"""Batch norms for maps of shape (N, C, T, H, W), and what is done to those of a whole model."""

from collections.abc import Callable
from typing import cast

import torch
import torch.nn.functional as F
from detectron2.layers import Conv2d, FrozenBatchNorm2d
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.utils.fusion import fuse_conv_bn_weights

from .conv3d import Conv3d
from .cpu_norm import PartwiseBatchNorm, is_partwise

BatchNormBase = _BatchNorm  # base of BatchNorm2d, BatchNorm3d, SyncBatchNorm and SubBatchNorm
Norm = str | Callable[[int], nn.Module]  # name, or function of the number of channels


class FrozenBatchNorm3d(FrozenBatchNorm2d):
    """Batch norm with fixed statistics and affine, for maps of any rank (N, C, ...).

    The parent adds its affine as (1, C, 1, 1) when gradients are needed, which on a 5-D map
    silently broadcasts along the wrong axes or fails.
    """

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Normalise (N, C, ...), keeping shape and dtype."""
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
        if isinstance(module, BatchNormBase):
            frozen = cls(module.num_features, module.eps).to(module.weight.device)
            frozen.load_state_dict(module.state_dict(), strict=False)  # less num_batches_tracked
            return frozen
        for name, child in module.named_children():
            setattr(module, name, cls.convert_frozen_batchnorm(child))
        return module


def _normalize(
    x: torch.Tensor,
    norm: nn.BatchNorm3d,
    mean: torch.Tensor,
    variance: torch.Tensor,
    momentum: float,
) -> torch.Tensor:
    """Normalise (N, C, ...) by its own statistics, of which running ones take a share."""
    if not is_partwise(x, norm.weight):
        return F.batch_norm(x, mean, variance, norm.weight, norm.bias, True, momentum, norm.eps)
    y, own_mean, own_variance = PartwiseBatchNorm.apply(x, norm.weight, norm.bias, norm.eps)
    count = x.numel() // x.shape[1]
    mean.lerp_(own_mean, momentum)
    variance.lerp_(own_variance * (count / (count - 1)), momentum)
    return y


class BatchNorm3d(nn.BatchNorm3d):
    """PyTorch's batch norm, which adds up large maps in parts (:mod:`avsf_det.layers.cpu_norm`)."""

    # Never None here; for mypy.
    running_mean: torch.Tensor
    running_var: torch.Tensor
    num_batches_tracked: torch.Tensor
    momentum: float

    def _check_input_dim(self, x: torch.Tensor) -> None:
        """Accept any rank; called by the parent."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Normalise (N, C, T, H, W), keeping the shape."""
        if not self.training:
            return super().forward(x)
        self.num_batches_tracked += 1
        return _normalize(x, self, self.running_mean, self.running_var, self.momentum)


class SubBatchNorm(BatchNorm3d):
    """Batch norm whose training statistics come from groups of ``clips`` neighbouring clips.

    One process with a large batch then trains as several processes with small ones (paper,
    appendix A.4: statistics over 8 clips). A batch of fewer clips is one group. Maps have any rank
    (N, C, ...); the parent is the class that Detectron2 and fvcore know as a norm.

    Running statistics are those of the whole batch, as the batch norm without groups keeps them.

    Args:
        num_features: number of channels, C.
        clips: number of clips of a group.
        stacked: number of maps of each clip in a batch: 2 for (clips, their negatives), which are
            in one group.
        eps: added to the variance.
        momentum: weight of a batch in the running statistics.

    Raises:
        ValueError: in training, there are more than ``clips`` clips and not a multiple of it.
    """

    def __init__(
        self,
        num_features: int,
        *,
        clips: int,
        stacked: int = 1,
        eps: float = 1e-5,
        momentum: float = 0.1,
    ) -> None:
        super().__init__(num_features, eps, momentum)
        self.clips, self.stacked = clips, stacked

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Normalise (N * stacked, C, ...), keeping the shape."""
        if not self.training or len(x) <= self.clips * self.stacked:
            return super().forward(x)
        if len(x) % self.clips:
            raise ValueError(f"a batch of {len(x)} clips has no groups of {self.clips} clips")
        # The Audio pathway also runs without negatives, on silence, where groups do not matter.
        stacked = self.stacked if len(x) % (self.stacked * self.clips) == 0 else 1
        # (stacked, N, C, ...) in groups of neighbouring clips, each (stacked * clips, C, ...)
        parts = x.unflatten(0, (stacked, -1)).split(self.clips, dim=1)
        groups = [part.flatten(0, 1) for part in parts]
        means = x.new_zeros(len(groups), self.num_features, dtype=self.running_mean.dtype)
        variances = torch.zeros_like(means)
        normalized = [
            # A momentum of 1 leaves the group's own statistics in these rows.
            _normalize(group, self, mean, var, 1.0)
            for group, mean, var in zip(groups, means, variances, strict=True)
        ]
        # Variance of the whole batch: mean within groups plus variance between their means.
        self.num_batches_tracked += 1
        self.running_mean.lerp_(means.mean(0), self.momentum)
        total = variances.mean(0) + means.var(0, unbiased=False)
        self.running_var.lerp_(total, self.momentum)
        if stacked == 1:  # a further axis would lose channels last
            return torch.cat(normalized)
        stacks = [y.unflatten(0, (stacked, self.clips)) for y in normalized]
        return torch.cat(stacks, dim=1).flatten(0, 1)

    def extra_repr(self) -> str:
        """Describe the settings, for ``repr``."""
        return f"{super().extra_repr()}, clips={self.clips}, stacked={self.stacked}"


def get_norm(norm: Norm, out_channels: int) -> nn.Module | None:
    """Create a norm layer for (N, C, T, H, W), as Detectron2's ``get_norm`` does for images.

    Args:
        norm: "BN", "SyncBN", "FrozenBN", "" for none, or a function of C.
        out_channels: number of channels, C.

    Raises:
        ValueError: ``norm`` is another name.
    """
    if not norm:
        return None
    if callable(norm):
        return norm(out_channels)
    norms = {"BN": BatchNorm3d, "SyncBN": nn.SyncBatchNorm, "FrozenBN": FrozenBatchNorm3d}
    if norm not in norms:
        raise ValueError(f"norm is '{norm}'; it can be {', '.join(norms)} or ''")
    return norms[norm](out_channels)


def zero_init(norm: nn.Module | None) -> None:
    """Set the weight of a norm to zero, so that the branch that it ends starts at zero."""
    if norm is not None:
        nn.init.zeros_(cast(torch.Tensor, norm.weight))


def freeze(module: nn.Module) -> None:
    """Fix all parameters of ``module`` and turn its batch norms into :class:`FrozenBatchNorm3d`."""
    for parameter in module.parameters():
        parameter.requires_grad = False
    FrozenBatchNorm3d.convert_frozen_batchnorm(module)


def fold_batch_norms(module: nn.Module, dtype: torch.dtype | None = None) -> None:
    """Multiply batch norms into the convolutions before them, in place, for inference.

    This covers the norms of :class:`Conv3d` and of Detectron2's ``Conv2d``. Results are equal up to
    rounding.

    Args:
        module: model or part of one.
        dtype: number format of the autocast that ``module`` runs in. Folded convolutions keep their
            weights in it, with equal results: autocast would convert them in each call.

    Raises:
        ValueError: ``module`` is in training mode.
    """
    if module.training:
        raise ValueError("batch norms fold in evaluation mode only")
    for conv in module.modules():
        norm = getattr(conv, "norm", None)
        if not isinstance(conv, (Conv2d, Conv3d)) or norm is None:
            continue
        if isinstance(norm, (BatchNormBase, FrozenBatchNorm2d)):
            mean = cast(torch.Tensor, norm.running_mean)
            variance = cast(torch.Tensor, norm.running_var)
            conv.weight, conv.bias = fuse_conv_bn_weights(
                conv.weight, conv.bias, mean, variance, norm.eps, norm.weight, norm.bias
            )
            conv.norm = None
            if dtype is not None:
                conv.to(dtype)
