from .visualizer import draw_clip_frame, draw_logmel

__all__ = ["draw_clip_frame", "draw_logmel"]
