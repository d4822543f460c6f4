"""The non-local block of Wang et al. 2018 (Non-local Neural Networks), as SlowFast uses it."""

import fvcore.nn.weight_init as weight_init
import torch
from torch import nn

from .wrappers import Conv3d, Norm, get_norm, max_pool3d


def attend(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, attention: str
) -> torch.Tensor:
    """Each query position's mean of the values, weighted by its affinity to their keys.

    Args:
        query: (N, D, ...), with P positions.
        key, value: (N, D, ...), with S positions.
        attention: "dot_product" (affinity divided by S) or "softmax" (affinity scaled by
            D ** -0.5, softmax over S).

    Returns:
        the shape of ``query``.
    """
    q, k, v = query.flatten(2), key.flatten(2), value.flatten(2)
    affinity = q.transpose(1, 2) @ k  # (N, P, S)
    if attention == "softmax":
        affinity = (affinity * q.shape[1] ** -0.5).softmax(dim=2)
    else:
        affinity = affinity / k.shape[2]
    return (v @ affinity.transpose(1, 2)).view(query.shape)


def check_attention(attention: str) -> None:
    """Raises: ValueError if :func:`attend` does not know it."""
    if attention not in ("dot_product", "softmax"):
        raise ValueError(f"attention is '{attention}'; it can be 'dot_product' or 'softmax'")


class NonLocalBlock(nn.Module):
    """Every position attends to every (pooled) position; the result is added to the input.

    Args:
        channels: C of the map.
        inner_channels: D, of queries, keys and values; C / 2 if not given.
        pool: max pool (t, h, w) of the positions that are attended to.
        attention: "dot_product" or "softmax", see :func:`attend`.
        norm: of the output; it starts at zero, so that the block starts as the identity.

    Raises:
        ValueError: if ``attention`` is another name.
    """

    def __init__(
        self,
        channels: int,
        inner_channels: int | None = None,
        *,
        pool: tuple[int, int, int] = (2, 2, 2),
        attention: str = "dot_product",
        norm: Norm = "BN",
    ):
        super().__init__()
        check_attention(attention)
        inner_channels = inner_channels or channels // 2
        self.pool = tuple(pool)
        self.attention = attention
        self.theta = Conv3d(channels, inner_channels, 1)
        self.phi = Conv3d(channels, inner_channels, 1)
        self.g = Conv3d(channels, inner_channels, 1)
        self.out = Conv3d(inner_channels, channels, 1, norm=get_norm(norm, channels))
        for conv in (self.theta, self.phi, self.g, self.out):
            weight_init.c2_msra_fill(conv)
        if self.out.norm is not None:
            nn.init.zeros_(self.out.norm.weight)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(N, C, T, H, W) to the same shape."""
        pooled = max_pool3d(x, self.pool)
        return x + self.out(attend(self.theta(x), self.phi(pooled), self.g(pooled), self.attention))
