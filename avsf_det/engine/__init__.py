"""Training, evaluation and prediction.

The classes below are imported when they are first used: ``engine.defaults`` serves tools that need
neither torch nor Detectron2.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .hooks import NegativeCurriculumHook
    from .predictor import ClipPredictor
    from .trainer import Trainer

__all__ = ["ClipPredictor", "NegativeCurriculumHook", "Trainer"]

_MODULES = {
    "ClipPredictor": "predictor",
    "NegativeCurriculumHook": "hooks",
    "Trainer": "trainer",
}


def __getattr__(name: str) -> object:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
