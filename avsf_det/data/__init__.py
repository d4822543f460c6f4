from .build import build_clip_test_loader, build_clip_train_loader, person_box_file
from .dataset_mapper import ClipMapper, KeyframeMapper, SegmentMapper
from .datasets import (
    AnnotationError,
    register_ava_csv,
    register_clip_csv,
    register_kinetics,
)
from .video import VideoDecodeError, VideoReader

__all__ = [
    "AnnotationError",
    "ClipMapper",
    "KeyframeMapper",
    "SegmentMapper",
    "VideoDecodeError",
    "VideoReader",
    "build_clip_test_loader",
    "build_clip_train_loader",
    "person_box_file",
    "register_ava_csv",
    "register_clip_csv",
    "register_kinetics",
]
