"""Made-up scores for the tests of clip evaluation."""

import numpy as np

from avsf_det.evaluation import ClipScores


def make_scores(
    num_clips: int = 40, num_classes: int = 7, seed: int = 0, task: str = "action", **fields
) -> ClipScores:
    """Random scores; a clip's label is its number modulo the classes, so that every run of the
    same size has the same labels."""
    rng = np.random.default_rng(seed)
    made = {
        "source": f"run {seed}",
        "clip_ids": [f"clip_{i:03d}" for i in range(num_clips)],
        "scores": {task: rng.random((num_clips, num_classes)).astype(np.float32)},
        "labels": {task: np.arange(num_clips) % num_classes},
        "classes": {task: [f"class {k}" for k in range(num_classes)]},
    }
    return ClipScores(**{**made, **fields})


def make_perfect(scores: ClipScores) -> ClipScores:
    """The same clips, scored 1 for the right class and 0 for the others."""
    (task, labels), *_ = scores.labels.items()
    right = labels[:, None] == np.arange(len(scores.classes[task]))
    return ClipScores(
        "perfect", scores.clip_ids, {task: right.astype(np.float32)}, scores.labels, scores.classes
    )
