"""Video files: reading, cutting and writing them. No other code imports PyAV."""

from .container import MediaFile
from .open_file import VideoDecodeError
from .reader import VideoReader
from .sequential import SequentialVideoReader

__all__ = ["MediaFile", "SequentialVideoReader", "VideoDecodeError", "VideoReader"]
