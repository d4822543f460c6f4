from types import SimpleNamespace

import pytest
from detectron2.config import get_cfg
from detectron2.data import MetadataCatalog
from detectron2.engine import DefaultTrainer, hooks
from torch import nn

from avsf_det import add_avsf_config
from avsf_det.engine import Trainer
from avsf_det.engine.hooks import BufferAverager, ResumablePreciseBN
from avsf_det.engine.interruption import StopHook


def build_cfg(*options):
    cfg = get_cfg()
    add_avsf_config(cfg)
    cfg.merge_from_list(list(options))
    return cfg


@pytest.fixture
def metadata():
    name = "trainer_test_set"
    yield MetadataCatalog.get(name)
    MetadataCatalog.remove(name)


def test_unknown_evaluator_type_is_refused(metadata):
    metadata.evaluator_type = "coco"
    with pytest.raises(ValueError, match="evaluator_type 'coco'"):
        Trainer.build_evaluator(build_cfg(), metadata.name)


def test_precise_bn_reads_with_the_workers_of_training(monkeypatch):
    workers = []
    monkeypatch.setattr(
        Trainer,
        "build_train_loader",
        classmethod(lambda cls, cfg: workers.append(cfg.DATALOADER.NUM_WORKERS)),
    )
    trainer = Trainer.__new__(Trainer)
    trainer.cfg = build_cfg("DATALOADER.NUM_WORKERS", 3)
    trainer._trainer = SimpleNamespace()  # where Detectron2 keeps the model
    trainer.model = nn.Sequential(nn.Conv3d(3, 4, 1), nn.BatchNorm3d(4))
    timer = hooks.IterationTimer()
    upstream = [timer, hooks.PreciseBN(0, trainer.model, None, 1), None]
    monkeypatch.setattr(DefaultTrainer, "build_hooks", lambda self: upstream)
    trainer.checkpointer = None
    first, precise_bn, none, averager, stop = trainer.build_hooks()
    assert (first, none) == (timer, None)
    assert isinstance(precise_bn, ResumablePreciseBN)
    assert isinstance(averager, BufferAverager)  # before a checkpoint is written
    assert isinstance(stop, StopHook)
    assert workers == [3]


@pytest.mark.parametrize("number, during", [(1, (1, 1)), (4, (4, 1)), (0, (10, 3))])
def test_all_views_count_at_the_end_alone(monkeypatch, number, during):
    tested = []
    monkeypatch.setattr(
        Trainer, "test", classmethod(lambda cls, cfg, model: tested.append(cfg.TEST.VIEWS))
    )
    trainer = Trainer.__new__(Trainer)
    trainer.cfg = build_cfg("TEST.VIEWS_IN_TRAINING", number, "TEST.EVAL_PERIOD", 2)
    trainer._trainer, trainer.model, trainer.checkpointer = SimpleNamespace(), None, None
    trainer.max_iter = 6
    monkeypatch.setattr(DefaultTrainer, "build_hooks", lambda self: [hooks.EvalHook(2, None)])
    (hook,) = [x for x in trainer.build_hooks() if isinstance(x, hooks.EvalHook)]
    hook.trainer = trainer
    for trainer.iter in range(6):
        hook.after_step()
    trainer.iter = 6  # as after Detectron2's loop
    hook.after_train()
    assert [(x.TEMPORAL, x.SPATIAL) for x in tested] == [during, during, (10, 3)]
