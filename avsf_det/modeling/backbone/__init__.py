from .slowfast import SlowFast, build_avslowfast_backbone, build_slowfast_backbone

__all__ = ["SlowFast", "build_avslowfast_backbone", "build_slowfast_backbone"]
