from .ava_evaluation import AVAEvaluator
from .ava_map import (
    ActionBoxes,
    AVAEvaluationError,
    AVAResult,
    average_precision,
    evaluate_ava,
    evaluate_ava_files,
    read_detections,
    read_excluded,
    read_ground_truth,
    read_label_map,
)
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
    "ActionBoxes",
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
    "evaluate_ava_files",
    "format_results",
    "fuse_scores",
    "read_detections",
    "read_excluded",
    "read_ground_truth",
    "read_label_map",
    "read_scores",
    "read_verb_noun_counts",
    "score_clips",
    "select_classes",
    "write_class_metrics",
    "write_differences",
    "write_scores",
]
