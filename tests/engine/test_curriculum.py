"""Easy negatives, then hard ones too: the whole trainer, with a checkpoint between."""

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from detectron2.config import CfgNode, get_cfg
from detectron2.engine import DefaultTrainer, HookBase
from torch import nn

from avsf_det import add_avsf_config
from avsf_det.engine import NegativeCurriculumHook, Trainer

from ..modeling.builders import make_cfg, make_inputs

pytestmark = pytest.mark.usefixtures("few_blocks")
CONFIGS = Path(__file__).resolve().parents[2] / "configs"
NUM_CLIPS, SWITCH, MAX_ITER = 4, 3, 6


class Interrupt(HookBase):
    """Stops the run after so many iterations, when its checkpoint is written."""

    def __init__(self, iterations: int):
        self.iterations = iterations

    def after_step(self):
        if self.trainer.iter + 1 == self.iterations:
            raise KeyboardInterrupt


@pytest.fixture
def cfg(tmp_path) -> CfgNode:
    """A narrow model that learns from synchronisation alone, of 4 clips."""
    cfg = make_cfg(audio=True, FUSION_STAGES=[])
    cfg.MODEL.META_ARCHITECTURE = "AVPretrainer"
    cfg.MODEL.AUDIO.FUSION_STAGES = ["pool5"]
    cfg.MODEL.ROTATION.ENABLED = False
    cfg.MODEL.AVSYNC.ENABLED, cfg.MODEL.AVSYNC.RES5_LATERALS = True, False
    cfg.MODEL.AVSYNC.LEVELS = ["res3"]
    cfg.MODEL.AVSYNC.HARD_AFTER, cfg.MODEL.AVSYNC.EASY_RATIO = SWITCH / MAX_ITER, 0.75
    cfg.DATASETS.TRAIN, cfg.DATASETS.TEST = (), ()
    cfg.SOLVER.MAX_ITER, cfg.SOLVER.STEPS = MAX_ITER, ()
    cfg.SOLVER.CHECKPOINT_PERIOD = 1
    cfg.OUTPUT_DIR = str(tmp_path)
    return cfg


@pytest.fixture
def clips(monkeypatch) -> list[dict]:
    """Each batch of training."""
    clips = make_inputs(NUM_CLIPS)
    for clip in clips:
        clip["frames"] = clip["frames"][..., ::2, ::2]
    build = classmethod(lambda cls, cfg: iter(lambda: clips, None))
    monkeypatch.setattr(Trainer, "build_train_loader", build)
    return clips


def run(cfg: CfgNode, clips: list[dict], stop: int | None = None) -> dict[int, int]:
    """Train from the last checkpoint on, until ``stop``.

    Returns:
        how many of the negatives were of another clip, by iteration.
    """
    trainer = Trainer(cfg)
    model = trainer.model
    hard = [(clip["audio_negative"] - model.audio_mean) / model.audio_std for clip in clips]
    counts = {}

    def count(head: nn.Module, args: tuple) -> None:
        _, x = args
        same = [torch.equal(*pair) for pair in zip(x["audio_negative"], hard, strict=True)]
        counts[trainer.iter] = same.count(False)

    model.avsync_head.register_forward_pre_hook(count)
    trainer.resume_or_load(resume=True)
    if stop is None:
        trainer.train()
    else:
        trainer.register_hooks([Interrupt(stop)])
        with pytest.raises(KeyboardInterrupt):
            trainer.train()
    return counts


@pytest.mark.parametrize("stop", [SWITCH - 1, SWITCH, SWITCH + 1])
def test_a_run_that_is_stopped_and_resumed_switches_at_the_iteration(cfg, clips, stop):
    """The model receives 4 easy negatives, then 3 and a hard one."""
    first, second = run(cfg, clips, stop), run(cfg, clips)
    assert list(first) == list(range(stop))
    assert list(second) == list(range(stop, MAX_ITER))
    expected = {i: NUM_CLIPS if i < SWITCH else NUM_CLIPS - 1 for i in range(MAX_ITER)}
    assert {**first, **second} == expected


def hooks_of(cfg: CfgNode, monkeypatch) -> list[HookBase]:
    """Return the curricula among the hooks of the trainer."""
    monkeypatch.setattr(DefaultTrainer, "build_hooks", lambda self: [])
    trainer = Trainer.__new__(Trainer)
    trainer._trainer = SimpleNamespace()  # where Detectron2 keeps the model
    trainer.cfg, trainer.model = cfg, nn.Linear(1, 1)
    return [hook for hook in trainer.build_hooks() if isinstance(hook, NegativeCurriculumHook)]


@pytest.mark.parametrize(
    "hard_after, iterations, expected",
    [(0.5, 120_000, 60_000), (0.4, 500, 200), (1 / 3, 10, 3), (2 / 3, 10, 7), (0.0, 9, 0)],
)
def test_trainer_builds_it_from_shares_of_the_iterations(
    cfg, monkeypatch, hard_after, iterations, expected
):
    cfg.SOLVER.MAX_ITER, cfg.MODEL.AVSYNC.HARD_AFTER = iterations, hard_after
    (hook,) = hooks_of(cfg, monkeypatch)
    assert (hook.hard_after, hook.easy_ratio) == (expected, 0.75)


def test_no_synchronisation_no_curriculum(cfg, monkeypatch):
    cfg.MODEL.AVSYNC.ENABLED = False
    assert hooks_of(cfg, monkeypatch) == []


@pytest.mark.parametrize("processes", [1, 8, 256])
def test_the_switch_scales_with_the_recipe(monkeypatch, processes):
    """60k of the published 120k iterations with 1024 clips each: the same number of clips."""
    cfg = get_cfg()
    add_avsf_config(cfg)
    cfg.merge_from_file(str(CONFIGS / "SSL" / "avsf_r50_4x16.yaml"))
    cfg = DefaultTrainer.auto_scale_workers(cfg, processes)
    (hook,) = hooks_of(cfg, monkeypatch)
    assert hook.hard_after * cfg.SOLVER.IMS_PER_BATCH == 60_000 * 1024
