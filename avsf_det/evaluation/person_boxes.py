"""AP of a person detector on annotated keyframes."""

from collections.abc import Iterable, Mapping

import numpy as np

from ..structures import ActionBoxes, Keyframe
from .ava_map import AVAResult, evaluate_ava


def evaluate_persons(
    found: Mapping[Keyframe, np.ndarray], annotated: Mapping[Keyframe, np.ndarray]
) -> AVAResult:
    """Return the result of one class, "person", with boxes matched at IoU 0.5.

    Only annotated keyframes count: which persons the others show is unknown.

    ``found`` has for each keyframe boxes (N, 5): x1, y1, x2, y2 in 0..1, score; ``annotated`` boxes
    (N, 4).

    Raises:
        AVAEvaluationError: nothing is annotated, or no keyframe of ``found`` is.
    """
    # Annotations have no score; 1 fills the column.
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
