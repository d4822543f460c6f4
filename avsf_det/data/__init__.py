"""Datasets, video reading and loaders. Importing it registers the built-in datasets."""
# ruff: noqa: F401  (the imports are for type checkers)

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..structures import AnnotationError
    from .build import build_clip_test_loader, build_clip_train_loader
    from .clip_reader import ClipReader
    from .datasets import register_ava_csv, register_clip_csv, register_kinetics
    from .keyframe_mapper import KeyframeMapper
    from .proposals import person_box_file
    from .segment_mapper import SegmentMapper
    from .transforms import ReaderPerClip, SequentialReader
    from .video import VideoDecodeError, VideoReader

_NAMES = {
    "build": ["build_clip_test_loader", "build_clip_train_loader"],
    "clip_reader": ["ClipReader"],
    "datasets": ["AnnotationError", "register_ava_csv", "register_clip_csv", "register_kinetics"],
    "keyframe_mapper": ["KeyframeMapper"],
    "proposals": ["person_box_file"],
    "segment_mapper": ["SegmentMapper"],
    "transforms": ["ReaderPerClip", "SequentialReader"],
    "video": ["VideoDecodeError", "VideoReader"],
}
_MODULE_OF = {name: module for module, names in _NAMES.items() for name in names}
__all__ = sorted(_MODULE_OF)


def __getattr__(name: str) -> object:
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULE_OF[name]}"), name)


# Detectron2 runs the file in DETECTRON2_ENV_MODULE while it is imported. That file may import the
# names above from here, so this comes after __getattr__ and before any other import of ours.
import detectron2  # noqa: E402

from . import datasets  # noqa: E402
