from .checkpointer import (
    AVSFCheckpointer,
    SafeCheckpointer,
    find_weights_file,
    read_checkpoint,
)
from .convert_names import convert_to_avsf, detect_format
from .match_weights import LoadReport, match_weights
from .safe_load import CheckpointError, find_weights, safe_load

__all__ = [
    "AVSFCheckpointer",
    "CheckpointError",
    "LoadReport",
    "SafeCheckpointer",
    "convert_to_avsf",
    "detect_format",
    "find_weights",
    "find_weights_file",
    "match_weights",
    "read_checkpoint",
    "safe_load",
]
