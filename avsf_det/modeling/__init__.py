from .backbone import SlowFast, build_avslowfast_backbone, build_slowfast_backbone
from .meta_arch import ActionDetector, ClipModel
from .roi_heads import ActionROIHeads

__all__ = [
    "ActionDetector",
    "ActionROIHeads",
    "ClipModel",
    "SlowFast",
    "build_avslowfast_backbone",
    "build_slowfast_backbone",
]
