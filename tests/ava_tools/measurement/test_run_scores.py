"""Fusion and comparison of runs, and selection of classes."""

from dataclasses import replace

import numpy as np
import pytest

from ava_tools.measurement.run_scores import check_same_clips, fuse_scores, select_classes
from avsf_det.evaluation import ClipEvaluationError, score_clips

from ...evaluation.clips import assert_equal, make_perfect, make_scores


def test_fusion_is_the_weighted_mean():
    a, b = make_scores(seed=1), make_scores(seed=2)
    expected = (3 * a.scores["action"].astype(float) + b.scores["action"]) / 4
    fused = fuse_scores([a, b], [3, 1])
    assert fused.scores["action"].dtype == np.float32
    np.testing.assert_allclose(fused.scores["action"], expected, rtol=1e-6)
    assert_equal(fuse_scores([a]), a)
    assert_equal(fuse_scores([a, a]), a)


def test_fusion_of_a_perfect_and_a_random_run():
    random = make_scores()
    perfect = make_perfect(random)
    alone = score_clips(random)["action"].metrics["top1"]
    assert alone < 50
    # A perfect score leads by 1; at equal weights, random scores below 1 cannot change the order.
    assert score_clips(fuse_scores([perfect, random]))["action"].metrics["top1"] == 100
    # With a weight a million times smaller, it does not change the order of the random run.
    last = score_clips(fuse_scores([perfect, random], [1, 1e6]))["action"].metrics["top1"]
    assert last == alone


def test_fusion_joins_tasks():
    """EPIC's verbs and nouns come from two models; a task that both have is averaged."""
    verb, noun = make_scores(seed=1, task="verb"), make_scores(seed=2, num_classes=9, task="noun")
    both = fuse_scores([verb, noun])
    assert list(both.scores) == ["verb", "noun"]
    np.testing.assert_array_equal(both.scores["noun"], noun.scores["noun"])
    other = make_scores(seed=3, task="verb")
    mixed = fuse_scores([both, other])
    np.testing.assert_array_equal(mixed.scores["noun"], noun.scores["noun"])
    mean = fuse_scores([verb, other]).scores["verb"]
    np.testing.assert_array_equal(mixed.scores["verb"], mean)


def test_runs_on_other_clips_are_refused():
    a, b = make_scores(40), make_scores(39, seed=1)
    message = (
        "run 0 has 40 clips, run 1 39; 1 are only in the first and 0 only in the second "
        r"\(such as clip_039\). Evaluate both runs on the same DATASETS.TEST"
    )
    with pytest.raises(ClipEvaluationError, match=message):
        fuse_scores([a, b])
    labels = {"action": np.zeros(40, np.int64)}
    with pytest.raises(ClipEvaluationError, match="different labels"):
        check_same_clips(a, replace(a, labels=labels))
    with pytest.raises(ClipEvaluationError, match="different classes"):
        check_same_clips(a, replace(a, classes={"action": list("abcdefg")}))
    for weights in ([1], [1, 0], [1, float("nan")]):
        with pytest.raises(ClipEvaluationError, match="one positive number"):
            fuse_scores([a, a], weights)


def test_clips_of_some_classes():
    scores = make_scores()
    chosen = select_classes(scores, ["class 2", "class 5"])
    rows = [i for i in range(40) if i % 7 in (2, 5)]
    assert chosen.clip_ids == [f"clip_{i:03d}" for i in rows]
    np.testing.assert_array_equal(chosen.scores["action"], scores.scores["action"][rows])
    result = score_clips(chosen)["action"]
    assert result.num_clips == len(rows) == sum(result.class_clips[[2, 5]])
    hits = scores.scores["action"].argmax(axis=1)[rows] == np.array(rows) % 7
    assert result.metrics["top1"] == pytest.approx(100 * hits.mean())
    with pytest.raises(ClipEvaluationError, match=r"1 of 2 names .* such as 'juggling'"):
        select_classes(scores, ["class 2", "juggling"])
    few = make_scores(2)
    with pytest.raises(ClipEvaluationError, match="no clip has one of"):
        select_classes(few, ["class 5"])
    with pytest.raises(ClipEvaluationError, match="one task with one label"):
        select_classes(fuse_scores([scores, make_scores(task="noun")]), ["class 2"])
