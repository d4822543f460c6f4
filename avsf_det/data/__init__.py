"""Datasets, video reading and loaders. Importing it registers the built-in datasets."""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..structures import AnnotationError
    from .build import build_clip_test_loader, build_clip_train_loader
    from .clip_reader import ClipReader, ReaderPerClip, SequentialReader
    from .datasets import register_ava_csv, register_clip_csv, register_kinetics
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

_MODULES = {
    "AnnotationError": "datasets",
    "ClipReader": "clip_reader",
    "KeyframeMapper": "keyframe_mapper",
    "ReaderPerClip": "clip_reader",
    "SegmentMapper": "segment_mapper",
    "SequentialReader": "clip_reader",
    "VideoDecodeError": "video",
    "VideoReader": "video",
    "build_clip_test_loader": "build",
    "build_clip_train_loader": "build",
    "person_box_file": "proposals",
    "register_ava_csv": "datasets",
    "register_clip_csv": "datasets",
    "register_kinetics": "datasets",
}


def __getattr__(name: str) -> object:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)


# Detectron2 runs the file in DETECTRON2_ENV_MODULE while it is imported. That file may import the
# names above from here, so this comes after __getattr__ and before any other import of ours.
import detectron2  # noqa: E402, F401

from . import datasets  # noqa: E402, F401
