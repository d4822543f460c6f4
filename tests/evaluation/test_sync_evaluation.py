"""Visual and audio embeddings on a circle, so that every distance is known."""

import pickle

import numpy as np
import pytest
import torch
from detectron2.config import get_cfg
from detectron2.data import MetadataCatalog
from detectron2.utils import comm

from avsf_det import add_avsf_config
from avsf_det.engine import Trainer
from avsf_det.evaluation import SyncEvaluator

Pair = tuple[dict, dict]
CORRECT, WRONG = torch.eye(4), torch.eye(4).roll(1, 0)  # probabilities of rotations


def at(degrees: float) -> torch.Tensor:
    """Embedding at an angle."""
    angle = torch.tensor(degrees).deg2rad()
    return 0.5 * torch.stack([angle.cos(), angle.sin()])


def embed(visual: float, audio: float, negative: float) -> dict[str, torch.Tensor]:
    """Embeddings of one level, by angle in degrees."""
    return {"visual": at(visual), "audio": at(audio), "audio_negative": at(negative)}


def make_pair(i: int, levels: dict[str, dict], *, valid: bool = True, view: int = 0) -> Pair:
    """A model input and output."""
    return {"clip_id": f"clip_{i}", "view": view}, {"embeddings": levels, "valid": valid}


def both(level: str, easy: float, hard: float) -> dict[str, float]:
    """Expected accuracies of a single level, which are those of "all" levels, too."""
    return {
        f"{name}_{kind}": x
        for name in (level, "all")
        for kind, x in (("easy", easy), ("hard", hard))
    }


def evaluate(pairs: list[Pair], batch: int = 3) -> dict:
    evaluator = SyncEvaluator()
    evaluator.reset()
    for i in range(0, len(pairs), batch):
        inputs, outputs = zip(*pairs[i : i + batch], strict=True)
        evaluator.process(list(inputs), list(outputs))
    return evaluator.evaluate()


def angles_of(num_clips: int) -> np.ndarray:
    """Angles of clips: clips that are half of them apart are opposite."""
    return 360 / num_clips * np.arange(num_clips)


def test_all_none_and_half_of_the_clips():
    """res3 is always correct, res4 never, res5 for every other clip."""
    pairs = []
    for i, angle in enumerate(angles_of(8)):
        correct, wrong = embed(angle, angle, angle + 180), embed(angle, angle + 180, angle)
        pairs.append(
            make_pair(i, {"res3": correct, "res4": wrong, "res5": correct if i % 2 else wrong})
        )
    results = evaluate(pairs)
    assert results["sync"] == {
        **{"res3_easy": 100, "res3_hard": 100},
        **{"res4_easy": 0, "res4_hard": 0},
        **{"res5_easy": 50, "res5_hard": 50},
        **{"all_easy": 50, "all_hard": 50},  # two levels against one
        "clips": 8,
    }
    assert "rotation" not in results


def test_easy_and_hard_are_compared_separately():
    pairs = [
        make_pair(i, {"res4": embed(angle, angle + 20, angle + (10 if i == 3 else 30))})
        for i, angle in enumerate(angles_of(4))
    ]
    assert evaluate(pairs)["sync"] == {**both("res4", 100, 75), "clips": 4}


def test_audio_at_the_same_distance_is_wrong():
    pairs = [make_pair(i, {"res4": embed(0, 40, 40)}) for i in range(2)]
    assert evaluate(pairs)["sync"] == {**both("res4", 0, 0), "clips": 2}


def test_the_easy_negative_is_half_of_the_clips_away_in_the_order_of_ids():
    """The visual embedding of clip 0 is closer to the audio of clip 2 than to its own."""
    audio_angles = [60, 180, 30, 180]
    visual_angles = [0, 180, 30, 180 + 1]
    pairs = [
        make_pair(i, {"res4": embed(visual, audio, audio + 90)})
        for i, (visual, audio) in enumerate(zip(visual_angles, audio_angles, strict=True))
    ]
    # Clips 1 and 3 have the same audio; clip 2 is correct.
    for order in ([0, 1, 2, 3], [3, 1, 0, 2], [2, 0, 3, 1]):
        assert evaluate([pairs[i] for i in order])["sync"]["res4_easy"] == 25


def test_each_view_counts_as_a_clip():
    pairs = [
        make_pair(i, {"res4": embed(angle, angle, angle + 90 * view)}, view=view)
        for i, angle in enumerate(angles_of(4))
        for view in (0, 1)
    ]
    assert evaluate(pairs)["sync"] == {**both("res4", 100, 50), "clips": 8}


def test_invalid_clips_do_not_count():
    pairs = [make_pair(i, {"res4": embed(a, a, a + 180)}) for i, a in enumerate(angles_of(4))]
    silent = [make_pair(i, {"res4": embed(0, 180, 0)}, valid=False) for i in range(4, 9)]
    assert evaluate(silent[:2] + pairs + silent[2:]) == evaluate(pairs)


@pytest.mark.parametrize(
    "rotations, accuracy", [((CORRECT,), 100), ((WRONG,), 0), ((CORRECT, WRONG), 50)]
)
def test_rotations(rotations, accuracy):
    pairs = [
        ({"clip_id": f"clip_{i}", "view": 0}, {"rotation": rotations[i % len(rotations)]})
        for i in range(6)
    ]
    assert evaluate(pairs) == {"rotation": {"accuracy": accuracy}}


def test_each_rotation_counts():
    """Two of four are confused."""
    confused = torch.eye(4)[[0, 1, 3, 2]]
    pairs = [
        ({"clip_id": "a", "view": 0}, {"rotation": confused}),
        ({"clip_id": "b", "view": 0}, {"rotation": CORRECT}),
    ]
    assert evaluate(pairs) == {"rotation": {"accuracy": 75}}


def test_no_clip_to_embed():
    """Silence only, audio without negatives, and no audio."""
    silent = make_pair(0, {"res4": embed(0, 0, 180)}, valid=False)
    alone = {"embeddings": {"res4": {"visual": at(0), "audio": at(0)}}}
    assert evaluate([silent, ({"clip_id": "b", "view": 0}, alone)]) == {}
    assert evaluate([silent, ({"clip_id": "b", "view": 0}, {"rotation": CORRECT})]) == {
        "rotation": {"accuracy": 100}
    }
    assert evaluate([]) == {}


def test_processes_and_batches_change_nothing(monkeypatch):
    rng = np.random.default_rng(0)
    pairs = []
    for i, angle in enumerate(angles_of(20)):
        level = embed(angle, angle + rng.uniform(-150, 150), rng.uniform(0, 360))
        inputs, outputs = make_pair(i, {"res4": level}, valid=i != 7)
        outputs["rotation"] = CORRECT if i % 3 else WRONG
        pairs.append((inputs, outputs))
    expected = evaluate(pairs)
    assert 0 < expected["sync"]["res4_easy"] < 100 and expected["sync"]["clips"] == 19
    shuffled = [pairs[i] for i in rng.permutation(len(pairs))]
    assert evaluate(shuffled, batch=7) == expected

    shards = [shuffled[:6], [], shuffled[6:]]
    evaluators = [SyncEvaluator() for _ in shards]
    for evaluator, shard in zip(evaluators, shards, strict=True):
        evaluator.reset()
        for inputs, outputs in shard:
            evaluator.process([inputs], [outputs])

    sent = []

    def send(data):  # gather pickles the data of a process
        sent.append(pickle.loads(pickle.dumps(data)))
        return []

    monkeypatch.setattr(comm, "gather", send)
    monkeypatch.setattr(comm, "is_main_process", lambda: False)
    assert [evaluator.evaluate() for evaluator in evaluators] == [{}, {}, {}]
    monkeypatch.setattr(comm, "gather", lambda data: sent)
    monkeypatch.setattr(comm, "is_main_process", lambda: True)
    assert evaluators[0].evaluate() == expected


def test_reset_forgets_an_earlier_evaluation():
    evaluator = SyncEvaluator()
    for angle in (180, 0):
        evaluator.reset()
        for i in range(2):
            inputs, outputs = make_pair(i + angle, {"res4": embed(0, angle, 90)})
            evaluator.process([inputs], [outputs])
        assert evaluator.evaluate()["sync"]["res4_hard"] == (0 if angle else 100)


def test_self_supervised_models_use_it_for_any_dataset():
    cfg = get_cfg()
    add_avsf_config(cfg)
    cfg.MODEL.META_ARCHITECTURE = "AVPretrainer"
    name = "sync_evaluation_test_set"
    MetadataCatalog.get(name).evaluator_type = "clip"
    try:
        assert isinstance(Trainer.build_evaluator(cfg, name), SyncEvaluator)
    finally:
        MetadataCatalog.remove(name)
