"""Evaluators of clips: views, processes, files and metrics."""

import csv
import itertools
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from detectron2.data import MetadataCatalog
from detectron2.utils import comm
from sklearn.metrics import average_precision_score, top_k_accuracy_score

from avsf_det.evaluation import (
    CharadesEvaluator,
    ClipEvaluationError,
    ClipEvaluator,
    EPICEvaluator,
    read_scores,
    read_verb_noun_counts,
)
from avsf_det.evaluation.clip_evaluation import ViewMerger
from avsf_det.structures import AnnotationError

Pair = tuple[dict, dict]


@pytest.fixture
def register(tmp_path: Path):
    names = []

    def _register(sizes: dict[str, int], multi_label: bool = False, **fields) -> str:
        name = f"clips_{tmp_path.name}_{len(names)}"
        names.append(name)
        MetadataCatalog.get(name).set(
            task_classes={task: [f"{task} {k}" for k in range(n)] for task, n in sizes.items()},
            multi_label=multi_label,
            **fields,
        )
        return name

    yield _register
    for name in names:
        MetadataCatalog.remove(name)


def make_pairs(
    sizes: dict[str, int],
    num_clips: int = 30,
    num_views: int = 3,
    multi_label: bool = False,
    labelled: bool = True,
) -> list[Pair]:
    """A model input and output for each view of each clip, in the order of a test loader."""
    rng = torch.Generator().manual_seed(0)
    pairs = []
    for i in range(num_clips):
        labels = {}
        for task, size in sizes.items():
            label = torch.tensor((3 * i + 1) % size)
            labels[task] = (torch.rand(size, generator=rng) < 0.4).float() if multi_label else label
        for view in range(num_views):
            scores = {task: torch.rand(n, generator=rng) for task, n in sizes.items()}
            input_ = {
                "clip_id": f"clip_{i:03d}",
                "view": view,
                "num_views": num_views,
                "labels": labels if labelled else {},
            }
            pairs.append((input_, {"scores": scores}))
    return pairs


def view_scores(pairs: list[Pair], task: str, num_views: int) -> np.ndarray:
    """(clips, views, K) float64."""
    scores = np.stack([output["scores"][task].double().numpy() for _, output in pairs])
    return scores.reshape(-1, num_views, scores.shape[1])


def evaluate(evaluator: ClipEvaluator, pairs: list[Pair], batch: int = 4) -> dict:
    evaluator.reset()
    for i in range(0, len(pairs), batch):
        inputs, outputs = zip(*pairs[i : i + batch], strict=True)
        evaluator.process(list(inputs), list(outputs))
    return evaluator.evaluate()


def test_scores_of_views_are_summed(register, tmp_path: Path, caplog: pytest.LogCaptureFixture):
    dataset = register({"action": 8})
    pairs = make_pairs({"action": 8})
    with caplog.at_level("INFO"):
        results = evaluate(ClipEvaluator(dataset, str(tmp_path / "out")), pairs)
    sums = view_scores(pairs, "action", 3).sum(axis=1)
    labels = [int(input_["labels"]["action"]) for input_, _ in pairs[::3]]
    expected = {
        f"top{k}": pytest.approx(100 * top_k_accuracy_score(labels, sums, k=k, labels=range(8)))
        for k in (1, 5)
    }
    assert results == {"action": expected}
    assert "30" in caplog.text and f"{results['action']['top5']:.2f}" in caplog.text

    scores = read_scores(str(tmp_path / "out" / "scores.npz"))
    assert scores.clip_ids == [f"clip_{i:03d}" for i in range(30)]
    np.testing.assert_array_equal(scores.scores["action"], (sums / 3).astype(np.float32))
    np.testing.assert_array_equal(scores.labels["action"], labels)
    assert scores.classes["action"][7] == "action 7"
    with open(tmp_path / "out" / "per_class_action.csv") as file:
        rows = list(csv.DictReader(file))
    assert [int(row["clips"]) for row in rows] == np.bincount(labels, minlength=8).tolist()
    weighted = sum(float(row["top1"]) * int(row["clips"]) for row in rows) / 30
    assert weighted == pytest.approx(results["action"]["top1"])


@pytest.mark.parametrize("evaluator_class", [ClipEvaluator, CharadesEvaluator])
def test_order_batches_and_processes_change_nothing(
    register, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, evaluator_class
):
    multi_label = evaluator_class is CharadesEvaluator
    dataset = register({"action": 6}, multi_label)
    pairs = make_pairs({"action": 6}, num_views=10, multi_label=multi_label)
    expected = evaluate(evaluator_class(dataset, str(tmp_path / "one")), pairs)
    file = (tmp_path / "one" / "scores.npz").read_bytes()
    rng = np.random.default_rng(0)
    shuffled = [pairs[i] for i in rng.permutation(len(pairs))]
    assert evaluate(evaluator_class(dataset, str(tmp_path / "two")), shuffled, 7) == expected
    assert (tmp_path / "two" / "scores.npz").read_bytes() == file

    # The shards split the views of a clip; one process has no clip.
    for order in (pairs, shuffled):
        shards = [order[:13], [], order[13:101], order[101:]]
        evaluators = []
        for shard in shards:
            evaluators.append(evaluator_class(dataset, str(tmp_path / "three")))
            for input_, output in shard:
                evaluators[-1].process([input_], [output])
        sent = [pickle.loads(pickle.dumps(e._views.clips)) for e in evaluators]
        with monkeypatch.context() as patch:
            patch.setattr(comm, "gather", lambda data, dst, sent=sent: sent)
            assert evaluators[0].evaluate() == expected
            patch.setattr(comm, "is_main_process", lambda: False)
            assert evaluators[1].evaluate() is None
        assert (tmp_path / "three" / "scores.npz").read_bytes() == file


def test_views_are_added_in_their_order():
    """The sum depends on the order: it is rounded to another float32 forwards than backwards.

    Forwards it is 1 + 2**-24 in float64, half way between two float32 values; backwards it is a
    little more, which is rounded up.
    """
    views = np.array([[1], [2**-24], [2**-53], [2**-53]], np.float32)
    found = set()
    for order in itertools.permutations(range(4)):
        merger = ViewMerger("sum")
        for view in order:
            merger.add("clip", view, 4, {"action": views[view]}, {})
        found.add(float(merger.finish()[0].scores["action"][0]))
    assert found == {0.25}


def test_clips_are_merged_as_soon_as_they_are_complete(register, tmp_path: Path):
    """Otherwise memory would hold every view: 2 GB for Kinetics-600 with 30 views."""
    evaluator = ClipEvaluator(register({"action": 6}), str(tmp_path))
    for input_, output in make_pairs({"action": 6})[:-1]:
        evaluator.process([input_], [output])
    kept = [len(clip.views) for clip in evaluator._views.clips.values()]
    assert kept == [0] * 29 + [2]


def test_missing_and_repeated_views(register, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    dataset = register({"action": 6})
    pairs = make_pairs({"action": 6})
    evaluator = ClipEvaluator(dataset, str(tmp_path))
    with pytest.raises(ClipEvaluationError, match=r"1 of 30 .*clip_001: views \[0, 2\] of 3 did"):
        evaluate(evaluator, pairs[:3] + pairs[4:5] + pairs[6:])
    for again in (pairs[:2] + pairs[:1], pairs[:4] + pairs[1:2]):
        with pytest.raises(ClipEvaluationError, match=r"clip_000: .*of 3 came twice"):
            evaluate(evaluator, again)
    with pytest.raises(ClipEvaluationError, match=r"clip_000: views \[3\] of 3"):
        evaluate(evaluator, [({**pairs[0][0], "view": 3}, pairs[0][1])])
    with pytest.raises(ClipEvaluationError, match=r"clip_000: views .* of 2 and views of 3"):
        evaluate(evaluator, [pairs[0], ({**pairs[1][0], "num_views": 2}, pairs[1][1])])
    with pytest.raises(ClipEvaluationError, match="no clip"):
        evaluate(evaluator, [])
    # Two processes with the same clip: both complete; one complete; both partial.
    for first, second in ((3, 3), (3, 1), (1, 3), (2, 1)):
        sent = []
        for number in (first, second):
            evaluator.reset()
            evaluator.process(*map(list, zip(*pairs[:number], strict=True)))
            sent.append(evaluator._views.clips)
        with monkeypatch.context() as patch, pytest.raises(ClipEvaluationError, match="came twice"):
            patch.setattr(comm, "gather", lambda data, dst, sent=sent: sent)
            evaluator.evaluate()


def test_inconsistent_outputs(register, tmp_path: Path, caplog: pytest.LogCaptureFixture):
    pairs = make_pairs({"action": 6}, num_views=1)
    with pytest.raises(ClipEvaluationError, match=r"scores 6 classes of task 'action', .* has 7"):
        evaluate(ClipEvaluator(register({"action": 7}), str(tmp_path)), pairs)
    with pytest.raises(ClipEvaluationError, match=r"task 'action', .* has verb, noun"):
        evaluate(ClipEvaluator(register({"verb": 6, "noun": 6}), str(tmp_path)), pairs)
    with pytest.raises(ClipEvaluationError, match=r"clip_000: the label .* \(\), not \(6,\)"):
        evaluate(ClipEvaluator(register({"action": 6}, True), str(tmp_path)), pairs)
    with pytest.raises(ClipEvaluationError, match="label 4 of task 'action', clip clip_001"):
        evaluate(ClipEvaluator(register({"action": 3}), str(tmp_path)), pairs)
    pairs[0][1]["scores"]["action"][2] = float("nan")
    with pytest.raises(ClipEvaluationError, match="NaN or infinity for clip clip_000"):
        evaluate(ClipEvaluator(register({"action": 6}), str(tmp_path)), pairs)


def test_further_outputs_do_not_count(register, tmp_path: Path, caplog: pytest.LogCaptureFixture):
    pairs = make_pairs({"action": 6})
    expected = evaluate(ClipEvaluator(register({"action": 6}), str(tmp_path)), pairs)
    for _, output in pairs:
        output["scores"]["action"] = torch.cat([output["scores"]["action"], torch.ones(2)])
    assert evaluate(ClipEvaluator(register({"action": 6}), str(tmp_path)), pairs) == expected
    assert caplog.text.count("The model scores 8 classes of task 'action'; the first 6") == 1


@pytest.mark.parametrize("multi_label", [False, True])
def test_a_set_without_labels_writes_scores(register, tmp_path: Path, multi_label: bool):
    pairs = make_pairs({"action": 6}, labelled=False)
    dataset = register({"action": 6}, multi_label)
    assert evaluate(ClipEvaluator(dataset, str(tmp_path)), pairs) == {}
    assert [path.name for path in tmp_path.iterdir()] == ["scores.npz"]
    scores = read_scores(str(tmp_path / "scores.npz"))
    assert not scores.labelled("action").any()


def test_charades_takes_the_maximum_of_the_views(register, tmp_path: Path):
    dataset = register({"action": 5}, multi_label=True)
    pairs = make_pairs({"action": 5}, num_clips=60, num_views=4, multi_label=True)
    results = evaluate(CharadesEvaluator(dataset, str(tmp_path)), pairs)
    best = view_scores(pairs, "action", 4).max(axis=1)
    labels = np.stack([input_["labels"]["action"].numpy() for input_, _ in pairs[::4]]) > 0
    some = labels.any(axis=1)
    ap = [100 * average_precision_score(labels[some, k], best[some, k]) for k in range(5)]
    assert results == {"action": {"mAP": pytest.approx(np.mean(ap))}}
    with open(tmp_path / "per_class_action.csv") as file:
        rows = list(csv.DictReader(file))
    assert [float(row["AP"]) for row in rows] == pytest.approx(ap)
    assert [int(row["clips"]) for row in rows] == labels.sum(axis=0).tolist()


EPIC_HEADER = "narration_id,participant_id,verb,verb_class,noun,noun_class\n"


def write_epic_csv(path: Path, pairs: list[tuple[str, int, int]], header: str = EPIC_HEADER) -> str:
    rows = [f"{clip_id},P01,v,{verb},n,{noun}\n" for clip_id, verb, noun in pairs]
    path.write_text(header + "".join(rows))
    return str(path)


def test_epic_verb_noun_and_action(register, tmp_path: Path):
    sizes = {"verb": 3, "noun": 4}
    # In training, the correct pairs of make_pairs. The evaluated clips have other pairs, which must
    # not count.
    train = [(f"t{i}", (3 * i + 1) % 3, (3 * i + 1) % 4) for i in range(30)]
    leak = [(f"clip_{i:03d}", i % 3, (i + 1) % 4) for i in range(30)]
    file = write_epic_csv(tmp_path / "train.csv", train + leak)
    dataset = register(sizes, train_annotation_file=file)
    pairs = make_pairs(sizes)
    plain = evaluate(EPICEvaluator(dataset, str(tmp_path)), pairs)
    assert list(plain) == ["verb", "noun", "action"]
    results = evaluate(EPICEvaluator(dataset, str(tmp_path), use_prior=True), pairs)
    assert {task: results[task] for task in plain} == plain

    means = {task: view_scores(pairs, task, 3).mean(axis=1) for task in sizes}
    products = means["verb"][:, :, None] * means["noun"][:, None]
    labels = [4 * ((3 * i + 1) % 3) + (3 * i + 1) % 4 for i in range(30)]
    counts = np.zeros((3, 4))
    for _, verb, noun in train:
        counts[verb, noun] += 1
    prior = (counts + 1e-5) / (counts + 1e-5).sum(axis=1, keepdims=True)
    for task, ranked in (("action", products), ("action_prior", products * prior)):
        for k in (1, 5):
            expected = top_k_accuracy_score(labels, ranked.reshape(30, 12), k=k, labels=range(12))
            assert results[task][f"top{k}"] == pytest.approx(100 * expected)
    assert sorted(p.name for p in tmp_path.glob("per_class*")) == [
        "per_class_noun.csv",
        "per_class_verb.csv",
    ]


def test_epic_model_of_verbs_only(register, tmp_path: Path):
    dataset = register({"verb": 3, "noun": 4}, train_annotation_file="none.csv")
    pairs = make_pairs({"verb": 3, "noun": 4})
    expected = evaluate(EPICEvaluator(dataset, str(tmp_path)), pairs)["verb"]
    for _, output in pairs:
        del output["scores"]["noun"]
    evaluator = EPICEvaluator(dataset, str(tmp_path), use_prior=True)
    assert evaluate(evaluator, pairs) == {"verb": expected}
    with pytest.raises(ClipEvaluationError, match=r"there is verb\. Give the scores of the verb"):
        read_verb_noun_counts("none.csv", read_scores(str(tmp_path / "scores.npz")))


def test_bad_training_csv(register, tmp_path: Path):
    sizes = {"verb": 3, "noun": 4}
    evaluate(ClipEvaluator(register(sizes), str(tmp_path)), make_pairs(sizes))
    scores = read_scores(str(tmp_path / "scores.npz"))
    with pytest.raises(AnnotationError, match=r"none\.csv: cannot be read"):
        read_verb_noun_counts(str(tmp_path / "none.csv"), scores)
    path = tmp_path / "train.csv"
    with pytest.raises(ClipEvaluationError, match="each of its clips is among those evaluated"):
        read_verb_noun_counts(write_epic_csv(path, [("clip_000", 0, 0)]), scores)
    with pytest.raises(ClipEvaluationError, match=r"train\.csv:3: .*'3', '0'"):
        read_verb_noun_counts(write_epic_csv(path, [("a", 0, 0), ("b", 3, 0)]), scores)
    uid = EPIC_HEADER.replace("narration_id", "uid")
    assert read_verb_noun_counts(write_epic_csv(path, [("7", 1, 2)], uid), scores)[1, 2] == 1
    with pytest.raises(
        ClipEvaluationError, match=r"train\.csv:1: no column uid, verb_class, noun_class"
    ):
        read_verb_noun_counts(write_epic_csv(path, [], "a,b\n"), scores)
