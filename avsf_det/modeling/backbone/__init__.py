from .build import (
    build_audio_backbone,
    build_avslowfast_backbone,
    build_slow_backbone,
    build_slowfast_backbone,
)
from .slowfast import SlowFast

__all__ = [
    "SlowFast",
    "build_audio_backbone",
    "build_avslowfast_backbone",
    "build_slow_backbone",
    "build_slowfast_backbone",
]
