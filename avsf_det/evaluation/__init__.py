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

__all__ = [
    "AVAEvaluationError",
    "AVAEvaluator",
    "AVAResult",
    "ActionBoxes",
    "average_precision",
    "evaluate_ava",
    "evaluate_ava_files",
    "read_detections",
    "read_excluded",
    "read_ground_truth",
    "read_label_map",
]
