from .nonlocal_block import NonLocalBlock
from .wrappers import (
    Conv3d,
    FrozenBatchNorm3d,
    Norm,
    SubBatchNorm,
    fold_batch_norms,
    freeze,
    get_norm,
    is_channels_last,
    max_pool3d,
)

__all__ = [
    "Conv3d",
    "FrozenBatchNorm3d",
    "NonLocalBlock",
    "Norm",
    "SubBatchNorm",
    "fold_batch_norms",
    "freeze",
    "get_norm",
    "is_channels_last",
    "max_pool3d",
]
