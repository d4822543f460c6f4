from .action_detector import ActionDetector
from .clip_classifier import ClipClassifier
from .clip_model import ClipModel

__all__ = ["ActionDetector", "ClipClassifier", "ClipModel"]
