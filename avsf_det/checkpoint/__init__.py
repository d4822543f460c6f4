from .avsf_checkpoint import AVSFCheckpointer, read_checkpoint
from .convert_names import convert_to_avsf, convert_to_pyslowfast, detect_format
from .file_formats import CheckpointError, read_file
from .fitting import LoadReport, fit_to_model

__all__ = [
    "AVSFCheckpointer",
    "CheckpointError",
    "LoadReport",
    "convert_to_avsf",
    "convert_to_pyslowfast",
    "detect_format",
    "fit_to_model",
    "read_checkpoint",
    "read_file",
]
