import numpy as np
import pytest

from avsf_det.evaluation import AVAEvaluationError
from avsf_det.evaluation.person_boxes import evaluate_persons

LEFT, RIGHT = [0.0, 0.0, 0.4, 1.0], [0.5, 0.0, 1.0, 1.0]
ANNOTATED = {("a", 1.0): np.array([LEFT, RIGHT]), ("b", 1.0): np.array([LEFT])}


def test_ap_of_persons_in_closed_form():
    found = {
        # Right, wrong (at the second of another video), right: precision 1, 1/2, 2/3.
        ("a", 1.0): np.array([[*LEFT, 0.9], [*RIGHT, 0.7]]),
        ("b", 1.0): np.array([[*RIGHT, 0.8]]),
        # Nobody knows who is there.
        ("b", 2.0): np.array([[*RIGHT, 0.99]]),
    }
    result = evaluate_persons(found, ANNOTATED)
    assert result.mean_ap == pytest.approx(1 / 3 + 2 / 3 / 3)
    counts = [result.counts[k] for k in ("matched_boxes", "ground_truth_boxes", "detections")]
    assert counts == [2, 3, 3]


def test_keyframes_without_persons_and_none_at_all():
    assert evaluate_persons({("a", 1.0): np.zeros((0, 5))}, ANNOTATED).mean_ap == 0
    assert evaluate_persons({}, ANNOTATED).mean_ap == 0
    with pytest.raises(AVAEvaluationError):
        evaluate_persons({}, {})
