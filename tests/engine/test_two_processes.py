"""Two processes, as srun starts them, evaluate and write what one does, and train one model."""

import os
from pathlib import Path

import pytest
import torch
from detectron2.config import CfgNode
from detectron2.engine import HookBase

from avsf_det.checkpoint import AVSFCheckpointer
from avsf_det.engine import Trainer
from avsf_det.engine.hooks import BufferAverager, ResumablePreciseBN
from avsf_det.engine.launch import launch

from ..ranks import run_two
from . import actions
from .training import differences, make_training

pytestmark = [pytest.mark.usefixtures("few_blocks"), pytest.mark.xdist_group("long")]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("two")
    actions.make_dataset(folder)
    yield folder
    actions.forget()


def evaluate(cfg: CfgNode, output: Path) -> dict:
    cfg.OUTPUT_DIR = str(output)
    model = Trainer.build_model(cfg)
    AVSFCheckpointer(model).load(cfg.MODEL.WEIGHTS)
    return Trainer.test(cfg, model)


def written(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_evaluation_equals_that_of_one_process(folder):
    cfg = actions.make_model(folder)
    one = evaluate(cfg, folder / "one")

    def run(rank):
        results = []
        launch(lambda: results.append(evaluate(cfg, folder / "two")), num_gpus=1, on_cpu=True)
        return results[0]

    two, nothing = run_two(run, folder)
    assert two["ava"] == pytest.approx(one["ava"], abs=1e-6)
    assert not nothing
    assert written(folder / "two").keys() == written(folder / "one").keys()


class Record(HookBase):
    """Keep the buffers as precise BN has left them in the last iteration."""

    def after_step(self):
        buffers = self.trainer.model.module.named_buffers()
        self.buffers = {name: x.clone() for name, x in buffers}


def test_buffers_are_those_of_precise_bn_averaged_over_the_processes(folder):
    options = ("SOLVER.MAX_ITER", 2, "TEST.EVAL_PERIOD", 2, "OUTPUT_DIR", str(folder / "trained"))
    cfg = make_training(folder, *options)
    os.makedirs(cfg.OUTPUT_DIR)

    def train(kept):
        trainer, record = Trainer(cfg), Record()
        trainer.register_hooks([record])
        trainer._hooks.remove(record)
        kinds = [type(hook) for hook in trainer._hooks]
        place = kinds.index(BufferAverager)
        assert kinds.index(ResumablePreciseBN) < place
        trainer._hooks.insert(place, record)
        trainer.resume_or_load(resume=False)
        trainer.train()
        kept += [record.buffers, trainer.model.module.state_dict()]

    def run(rank):
        kept = []
        launch(train, kept, num_gpus=1, on_cpu=True)
        return kept

    (before, after), (other, same) = run_two(run, folder)
    assert differences(after, same) == []
    saved = torch.load(folder / "trained" / "model_final.pth", weights_only=True)["model"]
    assert differences(after, saved) == []
    means = [name for name in after if name.endswith(("running_mean", "running_var"))]
    assert sum(not torch.equal(before[name], other[name]) for name in means) > len(means) / 2
    for name in means:
        torch.testing.assert_close(after[name], (before[name] + other[name]) / 2)


def test_precise_bn_keeps_the_audio_if_asked(folder):
    precise_bn = ("TEST.PRECISE_BN.NUM_ITER", 4, "TEST.PRECISE_BN.KEEP_AUDIO", True)
    cfg = make_training(folder, *precise_bn)
    trainer = Trainer(cfg)
    trainer.iter = 1
    (hook,) = (h for h in trainer._hooks if isinstance(h, ResumablePreciseBN))
    assert hook.keep_audio
    found = []
    trainer.model.train()
    for hook.keep_audio in (False, True, True):
        hook.update_stats()
        assert trainer.model.backbone.drop_pathway.rate == 0.5
        buffers = trainer.model.named_buffers()
        found.append({n: x.clone() for n, x in buffers if "running" in n})
    assert differences(found[1], found[2]) == []
    assert any("slow" in name for name in differences(found[0], found[1]))
