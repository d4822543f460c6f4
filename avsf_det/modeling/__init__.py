from .avsync_head import AVSyncHead
from .backbone import (
    SlowFast,
    build_audio_backbone,
    build_avslowfast_backbone,
    build_slow_backbone,
    build_slowfast_backbone,
)
from .clip_head import ClipHead
from .meta_arch import ActionDetector, AVPretrainer, ClipClassifier, ClipModel
from .roi_heads import ActionROIHeads

__all__ = [
    "AVPretrainer",
    "AVSyncHead",
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
