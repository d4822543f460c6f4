from .backbone import (
    SlowFast,
    build_audio_backbone,
    build_avslowfast_backbone,
    build_slow_backbone,
    build_slowfast_backbone,
)
from .clip_head import ClipHead
from .meta_arch import ActionDetector, ClipClassifier, ClipModel
from .roi_heads import ActionROIHeads

__all__ = [
    "ActionDetector",
    "ActionROIHeads",
    "ClipClassifier",
    "ClipHead",
    "ClipModel",
    "SlowFast",
    "build_audio_backbone",
    "build_avslowfast_backbone",
    "build_slow_backbone",
    "build_slowfast_backbone",
]
