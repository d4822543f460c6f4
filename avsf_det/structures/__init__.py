from .ava_boxes import ActionBoxes, Box, Keyframe, LabelMap
from .errors import AnnotationError, AVSFError, ConfigError

__all__ = [
    "AVSFError",
    "ActionBoxes",
    "AnnotationError",
    "Box",
    "ConfigError",
    "Keyframe",
    "LabelMap",
]
