from . import builtin  # noqa: F401  (registers the built-in data sets)
from .ava import (
    AnnotationError,
    add_detected_keyframes,
    load_ava_csv,
    load_excluded,
    load_label_map,
    load_person_boxes,
    register_ava_csv,
)

__all__ = [
    "AnnotationError",
    "add_detected_keyframes",
    "load_ava_csv",
    "load_excluded",
    "load_label_map",
    "load_person_boxes",
    "register_ava_csv",
]
