"""Metrics of clips against scikit-learn and closed forms."""

import csv
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, top_k_accuracy_score

from ava_tools.measurement.run_scores import fuse_scores
from avsf_det.evaluation import (
    ClipEvaluationError,
    clip_metrics,
    format_results,
    score_clips,
    write_class_metrics,
)
from avsf_det.evaluation.clip_metrics import (
    average_precision_by_class,
    label_rank,
    noun_prior,
    pair_rank,
)

from .clips import make_perfect, make_scores


def test_top_k_equals_scikit_learn():
    scores = make_scores(200, 12)
    result = score_clips(scores)["action"]
    for k in (1, 5):
        expected = top_k_accuracy_score(scores.labels["action"], scores.scores["action"], k=k)
        assert result.metrics[f"top{k}"] == pytest.approx(100 * expected, abs=1e-12)
        for c in range(12):
            rows = scores.labels["action"] == c
            hits = label_rank(scores.scores["action"][rows], scores.labels["action"][rows]) < k
            assert result.class_metrics[f"top{k}"][c] == pytest.approx(100 * hits.mean())
    assert result.num_clips == 200 == result.class_clips.sum()


def test_equal_scores_rank_by_class():
    scores = np.array([[0.5, 0.5, 0.5], [0.5, 0.5, 0.5], [0.1, 0.9, 0.9]], np.float32)
    np.testing.assert_array_equal(label_rank(scores, np.array([0, 2, 2])), [0, 2, 1])
    rounded = np.random.default_rng(0).integers(0, 4, (300, 20)) / 4
    labels = np.arange(300) % 20
    expected = [
        sorted(range(20), key=lambda k: (-s[k], k)).index(c)
        for s, c in zip(rounded, labels, strict=True)
    ]
    np.testing.assert_array_equal(label_rank(rounded, labels), expected)


def test_clips_without_label_and_classes_without_clip():
    labels = np.array([0, -1, 0, 2])
    wrong_first = np.eye(4, dtype=np.float32)[[0, 0, 1, 2]]
    scores = make_scores(4, 4, labels={"action": labels}, scores={"action": wrong_first})
    result = score_clips(scores)["action"]
    assert result.num_clips == 3
    assert result.metrics == {"top1": pytest.approx(200 / 3), "top5": 100}
    np.testing.assert_array_equal(result.class_clips, [2, 0, 1, 0])
    np.testing.assert_array_equal(result.class_metrics["top1"], [50, np.nan, 100, np.nan])
    table = format_results({"action": result}).replace(" ", "")
    assert "|class1|0|||" in table
    assert "|(meanof2classes)|3|75.00|100.00|" in table
    assert score_clips(replace(scores, labels={"action": np.full(4, -1)})) == {}


def test_map_equals_scikit_learn():
    rng = np.random.default_rng(0)
    scores = rng.permutation(300 * 9).reshape(300, 9).astype(np.float32)  # no equal scores
    labels = rng.random((300, 9)) < 0.2
    labels[:, 4] = False
    some = labels.any(axis=1)  # the other clips do not count
    assert 0 < some.sum() < 300
    clips = make_scores(300, 9, scores={"action": scores}, labels={"action": labels})
    result = score_clips(clips)["action"]
    expected = [
        100 * average_precision_score(labels[some, k], scores[some, k]) if k != 4 else np.nan
        for k in range(9)
    ]
    np.testing.assert_allclose(result.class_metrics["AP"], expected, rtol=1e-12)
    assert result.metrics == {"mAP": pytest.approx(np.nanmean(expected))}
    assert result.num_clips == some.sum()
    np.testing.assert_array_equal(result.class_clips, labels.sum(axis=0))


def test_average_precision_in_closed_form():
    scores = np.array([[0.9], [0.8], [0.8], [0.1]])
    # Ranks 1 and 3: (1/1 + 2/3) / 2. Equal scores keep the order of the clips.
    ap = average_precision_by_class(scores, np.array([[1], [0], [1], [0]], bool))
    assert ap == pytest.approx([(1 + 2 / 3) / 2])
    ap = average_precision_by_class(scores, np.array([[1], [1], [0], [0]], bool))
    assert ap == pytest.approx([1])


def verb_noun(num_clips: int = 50, num_verbs: int = 4, num_nouns: int = 6):
    verb = make_scores(num_clips, num_verbs, seed=1, task="verb")
    noun = make_scores(num_clips, num_nouns, seed=2, task="noun")
    return fuse_scores([verb, noun])


@pytest.mark.parametrize("chunk", [1 << 21, 3 * 24])
def test_actions_equal_scikit_learn(monkeypatch: pytest.MonkeyPatch, chunk: int):
    monkeypatch.setattr(clip_metrics, "_PAIRS_AT_ONCE", chunk)
    scores = verb_noun()
    counts = np.random.default_rng(3).integers(0, 5, (4, 6))
    counts[2] = 0
    results = score_clips(scores, counts)
    assert list(results) == ["verb", "noun", "action", "action_prior"]
    prior = (counts + 1e-5) / (counts + 1e-5).sum(axis=1, keepdims=True)
    labels = scores.labels["verb"] * 6 + scores.labels["noun"]
    for task, factor in (("action", 1), ("action_prior", prior)):
        verb, noun = (scores.scores[t].astype(float) for t in ("verb", "noun"))
        pairs = np.einsum("iv,in->ivn", verb, noun) * factor
        for k in (1, 5):
            expected = top_k_accuracy_score(labels, pairs.reshape(50, 24), k=k, labels=range(24))
            assert results[task].metrics[f"top{k}"] == pytest.approx(100 * expected)
    assert results["action"].metrics != results["action_prior"].metrics


def test_the_prior_decides_between_equal_nouns():
    even, verbs = np.full((1, 2), 0.5), np.array([[0.9, 0.1]])
    where = {"verbs": np.array([0]), "nouns": np.array([1])}
    prior = noun_prior(np.array([[1, 3], [0, 0]]))
    np.testing.assert_allclose(prior, [[0.25, 0.75], [0.5, 0.5]], atol=1e-5)
    assert pair_rank(verbs, even, **where) == [1]  # equal: the lower noun first
    assert pair_rank(verbs, even, **where, prior=prior) == [0]


def test_an_action_needs_verb_and_noun():
    verb, noun = make_scores(12, 3, task="verb"), make_scores(12, 4, seed=1, task="noun")
    half = make_perfect(noun).scores["noun"].copy()
    half[::2] = np.roll(half[::2], 1, axis=1)  # every other noun is wrong
    scores = fuse_scores([make_perfect(verb), replace(noun, scores={"noun": half})])
    results = score_clips(scores)
    top1 = {task: result.metrics["top1"] for task, result in results.items()}
    assert top1 == {"verb": 100, "noun": 50, "action": 50}


def test_counts_of_another_dataset():
    with pytest.raises(ClipEvaluationError, match=r"4 verbs and 6 nouns, the counts \(4, 5\)"):
        score_clips(verb_noun(), np.ones((4, 5)))


def test_csv_of_the_classes(tmp_path: Path):
    scores = make_scores(12, 5, labels={"action": np.arange(12) % 4})  # class 4 has no clip
    before = score_clips(scores)["action"]
    write_class_metrics(before, str(tmp_path / "classes.csv"))
    with open(tmp_path / "classes.csv") as file:
        rows = list(csv.DictReader(file))
    assert [row["index"] for row in rows] == list("01234")
    assert rows[1]["class"] == "class 1" and rows[1]["clips"] == "3"
    assert float(rows[1]["top1"]) == before.class_metrics["top1"][1]
    assert rows[4]["clips"] == "0" and rows[4]["top1"] == ""
