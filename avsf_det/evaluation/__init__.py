"""Metrics, and evaluators in Detectron2's sense.

The names below are imported when they are first used: scoring needs neither torch nor Detectron2.
"""
# ruff: noqa: F401  (the imports are for type checkers)

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .active_speaker import ActiveSpeakerEvaluator, active_speaker_ap
    from .ava_evaluation import AVAEvaluator
    from .ava_map import AVAEvaluationError, AVAResult, average_precision, evaluate_ava
    from .clip_evaluation import CharadesEvaluator, ClipEvaluator, EPICEvaluator
    from .clip_metrics import (
        TaskResult,
        format_results,
        read_verb_noun_counts,
        score_clips,
        write_class_metrics,
    )
    from .clip_scores import ClipEvaluationError, ClipScores, read_scores, write_scores
    from .sync_evaluation import SyncEvaluator
    from .tube_evaluation import TubeEvaluator

_NAMES = {
    "active_speaker": ["ActiveSpeakerEvaluator", "active_speaker_ap"],
    "ava_evaluation": ["AVAEvaluator"],
    "ava_map": ["AVAEvaluationError", "AVAResult", "average_precision", "evaluate_ava"],
    "clip_evaluation": ["CharadesEvaluator", "ClipEvaluator", "EPICEvaluator"],
    "clip_metrics": [
        *("TaskResult", "format_results", "read_verb_noun_counts", "score_clips"),
        "write_class_metrics",
    ],
    "clip_scores": ["ClipEvaluationError", "ClipScores", "read_scores", "write_scores"],
    "sync_evaluation": ["SyncEvaluator"],
    "tube_evaluation": ["TubeEvaluator"],
}
_MODULE_OF = {name: module for module, names in _NAMES.items() for name in names}
__all__ = sorted(_MODULE_OF)


def __getattr__(name: str) -> object:
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULE_OF[name]}"), name)
