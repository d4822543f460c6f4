"""Metrics, and evaluators in Detectron2's sense.

The names below are imported when they are first used: scoring needs neither torch nor Detectron2.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .ava_evaluation import AVAEvaluator
    from .ava_map import average_precision, evaluate_ava
    from .ava_results import AVAEvaluationError, AVAResult
    from .charades_evaluation import CharadesEvaluator
    from .clip_evaluation import ClipEvaluator
    from .clip_metrics import (
        TaskResult,
        class_differences,
        format_results,
        score_clips,
        write_class_metrics,
        write_differences,
    )
    from .clip_scores import (
        ClipEvaluationError,
        ClipScores,
        check_same_clips,
        fuse_scores,
        read_scores,
        select_classes,
        write_scores,
    )
    from .epic_evaluation import EPICEvaluator, read_verb_noun_counts
    from .sync_evaluation import SyncEvaluator

__all__ = [
    "AVAEvaluationError",
    "AVAEvaluator",
    "AVAResult",
    "CharadesEvaluator",
    "ClipEvaluationError",
    "ClipEvaluator",
    "ClipScores",
    "EPICEvaluator",
    "SyncEvaluator",
    "TaskResult",
    "average_precision",
    "check_same_clips",
    "class_differences",
    "evaluate_ava",
    "format_results",
    "fuse_scores",
    "read_scores",
    "read_verb_noun_counts",
    "score_clips",
    "select_classes",
    "write_class_metrics",
    "write_differences",
    "write_scores",
]

_MODULES = {
    "AVAEvaluationError": "ava_results",
    "AVAEvaluator": "ava_evaluation",
    "AVAResult": "ava_results",
    "CharadesEvaluator": "charades_evaluation",
    "ClipEvaluationError": "clip_scores",
    "ClipEvaluator": "clip_evaluation",
    "ClipScores": "clip_scores",
    "EPICEvaluator": "epic_evaluation",
    "SyncEvaluator": "sync_evaluation",
    "TaskResult": "clip_metrics",
    "average_precision": "ava_map",
    "check_same_clips": "clip_scores",
    "class_differences": "clip_metrics",
    "evaluate_ava": "ava_map",
    "format_results": "clip_metrics",
    "fuse_scores": "clip_scores",
    "read_scores": "clip_scores",
    "read_verb_noun_counts": "epic_evaluation",
    "score_clips": "clip_metrics",
    "select_classes": "clip_scores",
    "write_class_metrics": "clip_metrics",
    "write_differences": "clip_metrics",
    "write_scores": "clip_scores",
}


def __getattr__(name: str) -> object:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
