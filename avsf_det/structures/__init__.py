from .ava_boxes import ActionBoxes, Box, Keyframe
from .errors import AnnotationError, AVSFError, ConfigError
from .label_map import LabelMap

__all__ = [
    "AVSFError",
    "ActionBoxes",
    "AnnotationError",
    "Box",
    "ConfigError",
    "Keyframe",
    "LabelMap",
]
