from .hooks import NegativeCurriculumHook
from .predictor import ClipPredictor
from .trainer import Trainer

__all__ = ["ClipPredictor", "NegativeCurriculumHook", "Trainer"]
