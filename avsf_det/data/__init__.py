from .build import build_clip_test_loader, build_clip_train_loader, person_box_file
from .dataset_mapper import ClipMapper
from .datasets.ava import register_ava_csv
from .video import VideoDecodeError, VideoReader

__all__ = [
    "ClipMapper",
    "VideoDecodeError",
    "VideoReader",
    "build_clip_test_loader",
    "build_clip_train_loader",
    "person_box_file",
    "register_ava_csv",
]
