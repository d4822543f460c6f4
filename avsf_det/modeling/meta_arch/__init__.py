from .action_detector import ActionDetector
from .av_pretrainer import AVPretrainer
from .clip_classifier import ClipClassifier
from .clip_model import ClipModel

__all__ = ["AVPretrainer", "ActionDetector", "ClipClassifier", "ClipModel"]
