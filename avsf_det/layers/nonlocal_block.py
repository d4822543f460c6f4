"""The non-local block of Wang et al. 2018 (Non-local Neural Networks), as SlowFast uses it."""

import fvcore.nn.weight_init as weight_init
import torch
import torch.nn.functional as F
from torch import nn

from .wrappers import BATCH_NORMS, Conv3d, get_norm


class NonLocalBlock(nn.Module):
    """Every position attends to every (pooled) position; the result is added to the input.

    Args:
        channels: C of the map.
        inner_channels: D, of queries, keys and values; C / 2 if not given.
        pool: max pool (t, h, w) of the positions that are attended to.
        attention: "dot_product" (affinity divided by the number of keys S) or "softmax"
            (affinity scaled by D ** -0.5, softmax over the keys).
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
        norm: str = "BN",
    ):
        super().__init__()
        if attention not in ("dot_product", "softmax"):
            raise ValueError(f"attention is '{attention}'; it can be 'dot_product' or 'softmax'")
        inner_channels = inner_channels or channels // 2
        self.pool = tuple(pool)
        self.attention = attention
        self.theta = Conv3d(channels, inner_channels, 1)
        self.phi = Conv3d(channels, inner_channels, 1)
        self.g = Conv3d(channels, inner_channels, 1)
        self.out = Conv3d(inner_channels, channels, 1, norm=get_norm(norm, channels))
        for conv in (self.theta, self.phi, self.g, self.out):
            weight_init.c2_msra_fill(conv)
        if isinstance(self.out.norm, BATCH_NORMS):
            nn.init.zeros_(self.out.norm.weight)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(N, C, T, H, W) to the same shape."""
        pooled = F.max_pool3d(x, self.pool)
        query = self.theta(x).flatten(2)  # (N, D, THW)
        key = self.phi(pooled).flatten(2)  # (N, D, S)
        value = self.g(pooled).flatten(2)  # (N, D, S)

        affinity = query.transpose(1, 2) @ key  # (N, THW, S)
        if self.attention == "softmax":
            affinity = (affinity * query.shape[1] ** -0.5).softmax(dim=2)
        else:
            affinity = affinity / key.shape[2]
        attended = value @ affinity.transpose(1, 2)  # (N, D, THW)
        return x + self.out(attended.unflatten(2, x.shape[2:]))
