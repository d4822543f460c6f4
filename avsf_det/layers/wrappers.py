"""Detectron2's convolution and norm layers, for maps of shape (N, C, T, H, W)."""

from collections.abc import Callable

import torch
from detectron2.layers import FrozenBatchNorm2d
from torch import nn

BATCH_NORMS = nn.modules.batchnorm._BatchNorm  # the base of BatchNorm2d, BatchNorm3d and SyncBN


class Conv3d(nn.Conv3d):
    """A 3-D convolution followed by a norm and an activation, as Detectron2's ``Conv2d``.

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
        x = super().forward(x)
        if self.norm is not None:
            x = self.norm(x)
        if self.activation is not None:
            x = self.activation(x)
        return x


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


def get_norm(norm: str, out_channels: int) -> nn.Module | None:
    """Detectron2's ``get_norm`` for (N, C, T, H, W).

    Args:
        norm: "BN", "SyncBN", "FrozenBN", or "" for none.
        out_channels: C.

    Raises:
        ValueError: if ``norm`` is another name.
    """
    if not norm:
        return None
    norms = {"BN": nn.BatchNorm3d, "SyncBN": nn.SyncBatchNorm, "FrozenBN": FrozenBatchNorm3d}
    if norm not in norms:
        raise ValueError(f"norm is '{norm}'; it can be {', '.join(norms)} or ''")
    return norms[norm](out_channels)


def freeze(module: nn.Module) -> None:
    """Fix all parameters of ``module`` and turn its batch norms into :class:`FrozenBatchNorm3d`."""
    for parameter in module.parameters():
        parameter.requires_grad = False
    FrozenBatchNorm3d.convert_frozen_batchnorm(module)
