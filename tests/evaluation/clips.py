"""Scores for the tests of clip evaluation."""

import numpy as np

from avsf_det.evaluation import ClipScores


def make_scores(
    num_clips: int = 40, num_classes: int = 7, seed: int = 0, task: str = "action", **fields
) -> ClipScores:
    """Random scores. The label of clip i is i modulo K: runs of one size have the same labels."""
    rng = np.random.default_rng(seed)
    values = {
        "source": f"run {seed}",
        "clip_ids": [f"clip_{i:03d}" for i in range(num_clips)],
        "scores": {task: rng.random((num_clips, num_classes)).astype(np.float32)},
        "labels": {task: np.arange(num_clips) % num_classes},
        "classes": {task: [f"class {k}" for k in range(num_classes)]},
    }
    return ClipScores(**{**values, **fields})


def make_perfect(scores: ClipScores) -> ClipScores:
    """Scores of the same clips: 1 for the correct class and 0 for the others."""
    (task, labels), *_ = scores.labels.items()
    correct = labels[:, None] == np.arange(len(scores.classes[task]))
    return ClipScores(
        "perfect",
        scores.clip_ids,
        {task: correct.astype(np.float32)},
        scores.labels,
        scores.classes,
    )


def assert_equal(a: ClipScores, b: ClipScores) -> None:
    """Assert that clips, classes, scores and labels are bit-equal."""
    assert a.clip_ids == b.clip_ids and a.classes == b.classes
    for mine, other in ((a.scores, b.scores), (a.labels, b.labels)):
        assert list(mine) == list(other)
        for task in mine:
            assert mine[task].dtype == other[task].dtype
            np.testing.assert_array_equal(mine[task], other[task])
