from .ava_boxes import ActionBoxes, Box, Keyframe, LabelMap
from .errors import AnnotationError, AVSFError

__all__ = ["AVSFError", "ActionBoxes", "AnnotationError", "Box", "Keyframe", "LabelMap"]
