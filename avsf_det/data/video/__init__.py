"""Video files: reading, checking, cutting and writing them. No other module imports PyAV."""

from .reader import VideoDecodeError, VideoReader
from .sequential import SequentialVideoReader

__all__ = ["SequentialVideoReader", "VideoDecodeError", "VideoReader"]
