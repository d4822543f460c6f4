"""Training, evaluation and prediction."""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .hooks import NegativeCurriculumHook
    from .predictor import ClipPredictor
    from .trainer import Trainer

__all__ = ["ClipPredictor", "NegativeCurriculumHook", "Trainer"]

# Imported on first use (PEP 562): engine.defaults serves tools that run without torch.
_MODULES = dict(zip(__all__, ("predictor", "hooks", "trainer"), strict=True))


def __getattr__(name: str) -> object:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
