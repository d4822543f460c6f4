"""The non-local block of Wang et al. 2018 (Non-local Neural Networks), as SlowFast uses it."""

import fvcore.nn.weight_init as weight_init
import torch
from torch import nn

from .batch_norm import Norm, get_norm, zero_init
from .conv3d import Conv3d
from .cpu_conv import max_pool3d


def attend(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, attention: str
) -> torch.Tensor:
    """Return, for each query position, the mean of the values weighted by affinity to their keys.

    Args:
        query: (N, D, ...), with P positions.
        key: (N, D, ...), with S positions.
        value: (N, D, ...), with S positions.
        attention: "dot_product" (affinity divided by S) or "softmax" (affinity scaled by
            D ** -0.5, softmax over S).

    Returns:
        Tensor of the shape of ``query``.
    """
    q, k, v = query.flatten(2), key.flatten(2), value.flatten(2)
    affinity = q.transpose(1, 2) @ k  # (N, P, S)
    if attention == "softmax":
        affinity = (affinity * q.shape[1] ** -0.5).softmax(dim=2)
    else:
        affinity = affinity / k.shape[2]
    return (v @ affinity.transpose(1, 2)).view(query.shape)


def check_attention(attention: str) -> None:
    """Raise ValueError if ``attention`` is no name that :func:`attend` knows."""
    if attention not in ("dot_product", "softmax"):
        raise ValueError(f"attention is '{attention}'; it can be 'dot_product' or 'softmax'")


class NonLocalBlock(nn.Module):
    """Residual block in which every position attends to every (pooled) position.

    Args:
        channels: number of channels of the map, C.
        inner_channels: number of channels of queries, keys and values, D; None for C / 2.
        pool: (t, h, w) of the max pooling of the positions that are attended to.
        attention: "dot_product" or "softmax", see :func:`attend`; others raise ValueError.
        norm: norm of the residual, see :func:`avsf_det.layers.get_norm`.
    """

    def __init__(
        self,
        channels: int,
        inner_channels: int | None = None,
        *,
        pool: tuple[int, int, int] = (2, 2, 2),
        attention: str = "dot_product",
        norm: Norm = "BN",
    ) -> None:
        super().__init__()
        check_attention(attention)
        inner_channels = inner_channels or channels // 2
        self.pool = pool
        self.attention = attention
        self.theta = Conv3d(channels, inner_channels, 1)
        self.phi = Conv3d(channels, inner_channels, 1)
        self.g = Conv3d(channels, inner_channels, 1)
        self.out = Conv3d(inner_channels, channels, 1, norm=get_norm(norm, channels))
        for conv in (self.theta, self.phi, self.g, self.out):
            weight_init.c2_msra_fill(conv)
        zero_init(self.out.norm)  # the block starts as the identity

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map (N, C, T, H, W) to the same shape."""
        pooled = max_pool3d(x, self.pool)  # (N, C, T / t, H / h, W / w)
        return x + self.out(attend(self.theta(x), self.phi(pooled), self.g(pooled), self.attention))
