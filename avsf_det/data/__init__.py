from .build import build_clip_test_loader, build_clip_train_loader
from .clip_reader import ClipReader, ReaderPerClip, SequentialReader
from .datasets import (
    AnnotationError,
    register_ava_csv,
    register_clip_csv,
    register_kinetics,
)
from .keyframe_mapper import KeyframeMapper
from .proposals import person_box_file
from .segment_mapper import SegmentMapper
from .video import VideoDecodeError, VideoReader

__all__ = [
    "AnnotationError",
    "ClipReader",
    "KeyframeMapper",
    "ReaderPerClip",
    "SegmentMapper",
    "SequentialReader",
    "VideoDecodeError",
    "VideoReader",
    "build_clip_test_loader",
    "build_clip_train_loader",
    "person_box_file",
    "register_ava_csv",
    "register_clip_csv",
    "register_kinetics",
]
