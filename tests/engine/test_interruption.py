"""Signals and losses that are not finite: how a training ends before its end."""

import os
import signal

import pytest
import torch
from detectron2.engine import HookBase, TrainerBase
from detectron2.structures import Boxes, Instances
from detectron2.utils.events import EventStorage
from torch import nn

from avsf_det.engine import interruption
from avsf_det.engine.finite_loss import FiniteLossTrainer, NonFiniteLossError
from avsf_det.engine.interruption import StopHook, handled_signals
from avsf_det.engine.launch import launch

from ..ranks import run_two


class Checkpointer:
    """Writes down what is saved."""

    save_dir = "out"

    def __init__(self):
        self.saved = []

    def save(self, name, iteration):
        self.saved.append((name, iteration))


class Steps(TrainerBase):
    """Sends itself signals in iterations or in the hooks after them."""

    def __init__(self, in_step=None, after_step=None):
        super().__init__()
        self.checkpointer, self.in_step, self.steps = Checkpointer(), in_step or {}, 0
        self.register_hooks([StopHook(self.checkpointer), Evaluation(after_step or {})])

    def run_step(self):
        for number in self.in_step.get(self.iter, ()):
            os.kill(os.getpid(), number)
        self.steps += 1


class Evaluation(HookBase):
    def __init__(self, signals):
        self.signals, self.finished = signals, 0

    def after_step(self):
        for number in self.signals.get(self.trainer.iter, ()):
            os.kill(os.getpid(), number)
        self.finished += 1


@pytest.mark.parametrize(
    "number, code", [(signal.SIGTERM, 143), (signal.SIGINT, 130), (signal.SIGUSR1, 138)]
)
@pytest.mark.parametrize("place", ["in_step", "after_step"])
def test_a_signal_ends_the_training_after_its_iteration(place, number, code, caplog):
    trainer = Steps(**{place: {2: [number]}})
    before = [signal.getsignal(s) for s in interruption.SIGNALS]
    with caplog.at_level("INFO"), pytest.raises(SystemExit) as ended:
        trainer.train(0, 6)
    assert ended.value.code == code
    assert (trainer.steps, trainer.checkpointer.saved) == (3, [("model_0000002", 2)])
    assert trainer._hooks[1].finished == 2  # an evaluation is broken off
    (line,) = [r.message for r in caplog.records if "--resume" in r.message]
    assert "3 of 6 iterations are done and saved in out/model_0000002.pth" in line
    assert not any(record.exc_info for record in caplog.records)
    assert [signal.getsignal(s) for s in interruption.SIGNALS] == before


def test_a_signal_in_the_last_iteration_or_before_the_first_saves_nothing():
    trainer = Steps(in_step={5: [signal.SIGTERM]})
    with pytest.raises(SystemExit):
        trainer.train(0, 6)
    assert (trainer.steps, trainer.checkpointer.saved) == (6, [])  # that is done already
    trainer = Steps()
    trainer.register_hooks([Start()])
    with pytest.raises(SystemExit):
        trainer.train(3, 6)
    assert trainer.checkpointer.saved == []


class Start(HookBase):
    def before_train(self):
        os.kill(os.getpid(), signal.SIGTERM)


def test_a_second_interrupt_ends_the_process_at_once(monkeypatch):
    killed = []
    monkeypatch.setattr(interruption, "SAME_SIGNAL_SEC", 1000)
    trainer = Steps(in_step={1: [signal.SIGINT] * 3})
    with pytest.raises(SystemExit):  # at once again: the same Ctrl-C
        trainer.train(0, 6)
    monkeypatch.setattr(interruption, "SAME_SIGNAL_SEC", -1)
    hook = StopHook(Checkpointer())
    hook.trainer, hook.in_iteration = trainer, True
    hook.handle(signal.SIGINT, None)
    monkeypatch.setattr(interruption.signal, "signal", lambda *args: killed.append(args))
    monkeypatch.setattr(interruption.os, "kill", lambda pid, number: killed.append(number))
    hook.handle(signal.SIGTERM, None)
    assert killed == []
    hook.handle(signal.SIGINT, None)
    assert killed == [(signal.SIGINT, signal.SIG_DFL), signal.SIGINT]


def test_a_process_without_training_ends_at_once():
    with pytest.raises(SystemExit) as ended, handled_signals():
        os.kill(os.getpid(), signal.SIGINT)
    assert ended.value.code == 130


def stop_one(rank: int) -> tuple[int, int]:
    """One of two processes gets SIGUSR1, and both a SIGTERM when they have left the training."""
    trainer = Steps(in_step={2: [signal.SIGUSR1]} if rank == 0 else None)
    with pytest.raises(SystemExit) as ended, handled_signals():
        launch(trainer.train, 0, 6, num_gpus=1, on_cpu=True)
    os.kill(os.getpid(), signal.SIGTERM)
    return ended.value.code, trainer.steps


def test_processes_that_stop_are_not_killed_by_their_launcher(tmp_path):
    """srun sends SIGTERM to the others as soon as the first process has ended with 138."""
    assert run_two(stop_one, tmp_path) == [(138, 3)] * 2


class Loader(list):
    """Batches that are kept, as TrainLoader does."""

    def __iter__(self):
        for self.batch in super().__iter__():
            yield self.batch


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(2))

    def forward(self, batch):
        factor = sum(clip["factor"] for clip in batch)
        return {"loss_a": (self.weight * factor).sum(), "loss_b": self.weight.sum()}


def test_a_loss_that_is_not_finite_stops_before_the_step(tmp_path):
    instances = Instances((4, 6), gt_boxes=Boxes(torch.ones(1, 4)))
    good = [{"image_id": "a,1", "factor": 1.0}]
    bad = [
        {"image_id": "b,900", "factor": float("nan"), "instances": instances},
        {"clip_id": "c.mp4", "factor": torch.tensor(1.0)},
    ]
    model = Model()
    trainer = FiniteLossTrainer(
        model, Loader([good, bad]), torch.optim.SGD(model.parameters(), lr=0.25)
    )
    trainer.output_dir = str(tmp_path)
    with EventStorage():
        trainer.run_step()
        before, trainer.iter = model.weight.tolist(), 1
        with pytest.raises(NonFiniteLossError) as error:
            trainer.run_step()
    assert model.weight.tolist() == before == [0.5, 0.5]
    path = tmp_path / "bad_batch_0000001_rank0.pth"
    assert str(error.value) == (
        "loss_a is nan at iteration 1 in process 0 (lr 0.25, gradient norm nan); clips "
        f"b,900; c.mp4; the batch is in {path}. No step was made"
    )
    saved = torch.load(path, weights_only=True)
    assert [clip.get("image_id") for clip in saved["batch"]] == ["b,900", None]
    assert saved["batch"][0]["instances"]["gt_boxes"].tolist() == [[1, 1, 1, 1]]
    assert saved["lr"] == 0.25


def test_a_step_waits_for_the_gpu_once(monkeypatch):
    """However many losses there are; the log has their values."""
    reads = []
    for name in ("cpu", "item", "tolist", "__float__", "__bool__"):
        read = getattr(torch.Tensor, name)

        def record(x, *args, name=name, read=read):
            # float64 tensors are the values that are on the CPU already.
            reads.extend([name] if x.requires_grad or x.dtype == torch.float32 else [])
            return read(x, *args)

        monkeypatch.setattr(torch.Tensor, name, record)
    model = Model()
    loader = [[{"factor": 3.0}]]
    trainer = FiniteLossTrainer(model, loader, torch.optim.SGD(model.parameters(), lr=0.25))
    with EventStorage() as storage:
        trainer.run_step()
    assert reads == ["cpu", "tolist"]  # the second of what the first gave
    logged = {name: value for name, (value, _) in storage.latest().items()}
    assert logged.pop("data_time") < 10
    assert logged == {"loss_a": 6, "loss_b": 2, "total_loss": 8}
