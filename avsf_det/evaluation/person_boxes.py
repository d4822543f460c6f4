"""How good person boxes are: what a person detector finds, against the annotated persons."""

from collections.abc import Iterable, Mapping

import numpy as np

from .ava_map import ActionBoxes, AVAResult, Keyframe, evaluate_ava


def evaluate_persons(
    found: Mapping[Keyframe, np.ndarray], annotated: Mapping[Keyframe, np.ndarray]
) -> AVAResult:
    """Score person boxes with boxes matched at IoU 0.5. Only annotated keyframes count: nobody
    knows who is to be seen in the others.

    Args:
        found: keyframe to boxes (N, 5): x1, y1, x2, y2 in 0..1, score.
        annotated: keyframe to boxes (N, 4).

    Returns:
        one class, "person"; AP is its ``mean_ap``, and ``counts`` has "matched_boxes",
        "ground_truth_boxes" and "detections".

    Raises:
        AVAEvaluationError: nothing is annotated, or none of the keyframes is annotated.
    """
    with_score = ((k, np.insert(boxes, 4, 1, axis=1)) for k, boxes in annotated.items())
    return evaluate_ava(
        _as_rows(found.items()), _as_rows(with_score), {1: "person"}, protocol="activitynet"
    )


def _as_rows(keyframes: Iterable[tuple[Keyframe, np.ndarray]]) -> ActionBoxes:
    keys, arrays = zip(*keyframes, strict=True) if (keyframes := list(keyframes)) else ((), ())
    rows = np.concatenate([np.zeros((0, 5)), *arrays]).astype(np.float64)
    counts = [len(array) for array in arrays]
    return ActionBoxes(
        keyframes=list(keys),
        keyframe=np.repeat(np.arange(len(keys), dtype=np.int32), counts),
        boxes=rows[:, :4],
        actions=np.ones(len(rows), np.int32),
        scores=rows[:, 4],
    )
