"""Selection of the detections that the ActivityNet challenge scores."""

import numpy as np

from ..structures import ActionBoxes

ACTIVITYNET_CAP = 50


def select_by_activitynet(
    detections: ActionBoxes, rows: np.ndarray, ground_truth: ActionBoxes
) -> np.ndarray:
    """Select the detections that the ActivityNet challenge scores.

    Rows on keyframes that the ground-truth file does not contain are dropped. A row of a class
    outside the label map is enough to keep its keyframe, and so is a row without a person: there
    is nothing to find, so that all detections there are wrong. Of the others, each keyframe keeps
    the highest scored. ``rows``, int (N,) in file order, are the indices whose class is in the
    label map; those that are left are returned.
    """
    named = {*ground_truth.keyframes, *ground_truth.empty}
    is_named = np.array([k in named for k in detections.keyframes], bool)
    rows = rows[is_named[detections.keyframe[rows]]]
    return rows[select_highest_scored(detections, rows, ACTIVITYNET_CAP)]


def select_highest_scored(detections: ActionBoxes, rows: np.ndarray, cap: int) -> np.ndarray:
    """Select the rows that a heap of size ``cap`` per keyframe holds at the end.

    The heap of the ActivityNet script holds (score, class, y1, x1, y2, x2) and takes a new row only
    if its score is above the lowest. So with ties at the cut-off score, only rows among the
    keyframe's first ``cap`` rows (file order) with at least that score are eligible. The largest
    of them by class and box are kept.

    Returns:
        indices into ``rows``, ascending.
    """
    keyframe, scores = detections.keyframe[rows], detections.scores[rows]
    # Cut-off of each keyframe: its cap-th highest score.
    lowest = np.full(len(detections.keyframes), -np.inf)
    last = _rank(keyframe, -scores) == cap - 1
    lowest[keyframe[last]] = scores[last]
    contender = np.flatnonzero(scores >= lowest[keyframe])
    # Only ties at the cut-off leave more than cap contenders.
    crowded = np.bincount(keyframe[contender], minlength=len(lowest)) > cap
    tied = contender[crowded[keyframe[contender]]]
    late = _rank(keyframe[tied]) >= cap  # found the heap full of scores as high
    x1, y1, x2, y2 = detections.boxes[rows[tied]].T
    actions = detections.actions[rows[tied]]
    rank = _rank(keyframe[tied], -x2, -y2, -x1, -y1, -actions, late, -scores[tied])
    return np.setdiff1d(contender, tied[rank >= cap], assume_unique=True)


def _rank(group: np.ndarray, *keys: np.ndarray) -> np.ndarray:
    """Rank each row from 0 within its group, by the keys (most significant last)."""
    order = np.lexsort((*keys, group))
    size = np.bincount(group)
    rank = np.empty(len(group), np.int64)
    rank[order] = np.arange(len(group)) - np.repeat(np.cumsum(size) - size, size)
    return rank
