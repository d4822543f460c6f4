import numpy as np
import pytest

from ava_tools.report_page.errors import analyze_errors
from ava_tools.report_page.gallery import choose_examples
from avsf_det.evaluation.ava_map import rank_detections

from .small_set import LABELS


@pytest.fixture(scope="module")
def choose(evaluated, runs):
    def choose(first: str, second: str, limit: int, order=(0, 1, 2)):
        ranked, _ = rank_detections(runs[first], evaluated.ground_truth, evaluated.label_map)
        analysis = analyze_errors(list(ranked), runs[first], evaluated.ground_truth)
        rows = [runs[first], runs[second]]
        return choose_examples(
            analysis, rows, evaluated.ground_truth, evaluated.label_map, order, limit
        )

    return choose


def test_the_clearest_come_first_and_classes_take_turns(choose):
    examples = choose("good", "poor", 4)
    described = [(LABELS[e.class_index + 1], e.outcome, e.keyframe) for e in examples]
    assert described == [
        # All left boxes of "sit" score 0.9: the last keyframe ranks first.
        ("sit", "correct", ("two", 105.0)),
        ("sit", "missed", ("one", 102.0)),
        (LABELS[2], "correct", ("one", 105.0)),
        ("sing", "correct", ("one", 104.0)),
    ]
    sit, missed, talk, sing = examples
    assert sit.kind == "correct" and sit.scores == [0.9, 0.9]
    assert (missed.kind, missed.detected, missed.scores) == ("missed", None, [None, 0.9])
    assert missed.top_actions == [] and missed.actions == ["sing", "sit"]
    np.testing.assert_array_equal(missed.annotated, [0, 0, 0.4, 1])
    assert talk.scores == pytest.approx([0.55, 0.275])
    assert talk.actions == ["sit", LABELS[2]] and talk.top_actions == [
        ("sit", 0.9),
        (LABELS[2], 0.55),
    ]
    np.testing.assert_array_equal(sing.detected, [0, 0, 0.4, 1])


def test_every_keyframe_once_and_no_more_than_there_are(choose):
    examples = choose("poor", "good", 100)
    keyframes = [e.keyframe for e in examples]
    assert len(keyframes) == len(set(keyframes)) == 8
    assert {e.outcome for e in examples} == {"correct", "wrong", "missed"}
    wrong = next(e for e in examples if e.outcome == "wrong")
    assert wrong.kind == "wrong class"
    # The poor run says talk where the annotation says sing, and the other way round.
    assert LABELS[wrong.class_index + 1] not in wrong.actions
    assert wrong.scores[1] is None
    assert choose("good", "poor", 0) == []


def test_examples_are_in_the_order_of_classes(choose):
    classes = [e.class_index for e in choose("good", "poor", 8, order=(2, 0, 1))]
    assert classes == sorted(classes, key=[2, 0, 1].index)
