from .action_detector import ActionDetector
from .clip_model import ClipModel

__all__ = ["ActionDetector", "ClipModel"]
