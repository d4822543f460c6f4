from .errors import AnnotationError, AVSFError

__all__ = ["AVSFError", "AnnotationError"]
