from .batch_norm import (
    BatchNorm3d,
    BatchNormBase,
    FrozenBatchNorm3d,
    Norm,
    SubBatchNorm,
    fold_batch_norms,
    freeze,
    get_norm,
    zero_init,
)
from .conv3d import Conv3d
from .cpu_conv import is_channels_last, max_pool3d
from .linear import AudioVisualLinear
from .nonlocal_block import NonLocalAttention, NonLocalBlock

__all__ = [
    "AudioVisualLinear",
    "BatchNorm3d",
    "BatchNormBase",
    "Conv3d",
    "FrozenBatchNorm3d",
    "NonLocalAttention",
    "NonLocalBlock",
    "Norm",
    "SubBatchNorm",
    "fold_batch_norms",
    "freeze",
    "get_norm",
    "is_channels_last",
    "max_pool3d",
    "zero_init",
]
