"""The non-local block of Wang et al. 2018 (Non-local Neural Networks), as SlowFast uses it."""

import fvcore.nn.weight_init as weight_init
import torch
from torch import nn

from .batch_norm import Norm, get_norm, zero_init
from .conv3d import Conv3d
from .cpu_conv import max_pool3d


class NonLocalAttention(nn.Module):
    """Base of layers in which each position of a map attends to all (pooled) ones of another.

    The result is the mean of the values of the other map, weighted by the affinity of their keys
    to the query.

    Args:
        query_channels: number of channels of the map that attends, C_q.
        channels: number of channels of the map that is attended to, and of the result, C.
        inner_channels: number of channels of queries, keys and values, D.
        pool: (t, h, w) of the max pooling of the positions that are attended to.
        attention: "dot_product" (affinity divided by the number S of these positions) or "softmax"
            (affinity scaled by D ** -0.5, softmax over S).
        norm: norm of the result, see :func:`avsf_det.layers.get_norm`. It starts at zero.

    Raises:
        ValueError: ``attention`` is another name.
    """

    def __init__(
        self,
        query_channels: int,
        channels: int,
        inner_channels: int,
        *,
        pool: tuple[int, int, int],
        attention: str,
        norm: Norm,
    ) -> None:
        super().__init__()
        if attention not in ("dot_product", "softmax"):
            raise ValueError(f"attention is '{attention}'; it can be 'dot_product' or 'softmax'")
        self.pool, self.attention = pool, attention
        self.theta = Conv3d(query_channels, inner_channels, 1)
        self.phi = Conv3d(channels, inner_channels, 1)
        self.g = Conv3d(channels, inner_channels, 1)
        self.out = Conv3d(inner_channels, channels, 1, norm=get_norm(norm, channels))
        for conv in (self.theta, self.phi, self.g, self.out):
            weight_init.c2_msra_fill(conv)
        zero_init(self.out.norm)  # a model starts without what is found by attention

    def attend(self, queries: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        """Map ``queries`` (N, C_q, T_q, H_q, W_q) and ``x`` (N, C, T, H, W) to (N, C, T_q, ...)."""
        pooled = max_pool3d(x, self.pool)  # (N, C, T / t, H / h, W / w)
        query = self.theta(queries)
        q, k, v = query.flatten(2), self.phi(pooled).flatten(2), self.g(pooled).flatten(2)
        # Scaled before the product, whose sums over D channels would overflow in float16.
        scale = q.shape[1] ** -0.5 if self.attention == "softmax" else 1 / k.shape[2]
        affinity = (q * scale).transpose(1, 2) @ k  # (N, P, S), P positions attend to S
        if self.attention == "softmax":
            affinity = affinity.softmax(dim=2)
        return self.out((v @ affinity.transpose(1, 2)).view(query.shape))


class NonLocalBlock(NonLocalAttention):
    """Residual block in which every position attends to every (pooled) position.

    Arguments are those of :class:`NonLocalAttention`; ``inner_channels`` None is C / 2.
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
        inner_channels = inner_channels or channels // 2
        super().__init__(
            channels, channels, inner_channels, pool=pool, attention=attention, norm=norm
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map (N, C, T, H, W) to the same shape."""
        return x + self.attend(x, x)
