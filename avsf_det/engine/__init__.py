from .hooks import NegativeCurriculumHook
from .trainer import Trainer

__all__ = ["NegativeCurriculumHook", "Trainer"]
