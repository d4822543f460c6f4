"""Rows of AVA's csv of detections."""

from collections.abc import Sequence

import numpy as np


def prediction_rows(
    video_id: str,
    timestamp: float,
    boxes: np.ndarray,
    class_ids: Sequence[int],
    scores: np.ndarray,
) -> str:
    """Lines ``video_id,timestamp,x1,y1,x2,y2,action_id,score`` of one keyframe.

    Whole seconds have four digits, as in the official files. Nine digits tell any two float32
    scores apart, so that writing makes no ties.

    Args:
        timestamp: seconds.
        boxes: float32 (N, 4) in 0..1 as x1, y1, x2, y2.
        class_ids: K ids.
        scores: float32 (N, K).
    """
    timestamp = float(timestamp)
    time = f"{timestamp:04.0f}" if timestamp.is_integer() else repr(timestamp)
    lines = []
    for box, box_scores in zip(boxes.tolist(), scores.tolist(), strict=True):
        start = f"{video_id},{time}," + ",".join(f"{x:.5f}" for x in box)
        rows = zip(class_ids, box_scores, strict=True)
        lines += [f"{start},{id_},{score:.9g}\n" for id_, score in rows]
    return "".join(lines)
