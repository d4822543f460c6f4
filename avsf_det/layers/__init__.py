from .nonlocal_block import NonLocalBlock
from .wrappers import Conv3d, FrozenBatchNorm3d, Norm, SubBatchNorm, freeze, get_norm

__all__ = [
    "Conv3d",
    "FrozenBatchNorm3d",
    "NonLocalBlock",
    "Norm",
    "SubBatchNorm",
    "freeze",
    "get_norm",
]
