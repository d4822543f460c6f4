import pytest
import torch
from detectron2.engine import TrainerBase
from torch import nn

from avsf_det.engine import NegativeCurriculumHook
from avsf_det.engine.hooks import BufferAverager, FractionLogger
from avsf_det.engine.launch import launch

from ..ranks import run_two


class Recorder(TrainerBase):
    """Does nothing in a step but write down what its negatives would be."""

    def __init__(self):
        super().__init__()
        self.model = nn.Module()
        self.model.avsync_head = nn.Module()
        self.model.avsync_head.easy_ratio = 1.0
        self.ratios = {}

    def run_step(self):
        self.ratios[self.iter] = self.model.avsync_head.easy_ratio


def run(start: int, stop: int) -> dict[int, float]:
    trainer = Recorder()
    trainer.register_hooks([NegativeCurriculumHook(hard_after=3, easy_ratio=0.75)])
    trainer.train(start, stop)
    return trainer.ratios


def test_negatives_get_harder_at_the_iteration():
    assert run(0, 5) == {0: 1.0, 1: 1.0, 2: 1.0, 3: 0.75, 4: 0.75}


@pytest.mark.parametrize("start", [1, 2, 3, 4])
def test_resuming_changes_nothing(start):
    """A new process, a new model: the hook knows nothing but the iteration."""
    everything = run(0, 5)
    assert run(start, 5) == {i: everything[i] for i in range(start, 5)}


class Counting(TrainerBase):
    """Counts one correct clip of two in each step; the second fraction has none to count."""

    def __init__(self):
        super().__init__()
        self.model = nn.Module()
        self.model.fractions = lambda: {
            "avs/a": (torch.tensor(1.0), torch.tensor(2.0)),
            "avs/b": (torch.tensor(0.0), torch.tensor(0.0)),
        }

    def run_step(self):
        pass


def test_fractions_are_logged_every_few_iterations():
    trainer = Counting()
    trainer.register_hooks([FractionLogger(period=3)])
    trainer.train(0, 8)
    history = trainer.storage.history("avs/a").values()
    assert history == [(0.5, 2), (0.5, 5)]
    assert "avs/b" not in trainer.storage.histories()


def average_buffers(rank: int) -> dict[str, torch.Tensor]:
    """One of two processes, whose statistics differ until the step has ended."""
    trainer = Counting()
    trainer.model = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3))
    trainer.model.register_buffer("constant", torch.tensor(float(rank)), persistent=False)
    trainer.model[1].running_mean.fill_(rank)
    trainer.model[1].running_var.fill_(2 + 4 * rank)
    trainer.register_hooks([BufferAverager()])
    launch(trainer.train, 0, 1, num_gpus=1, on_cpu=True)
    return dict(trainer.model.named_buffers())


def test_all_processes_get_the_mean_of_their_buffers(tmp_path):
    for rank, found in enumerate(run_two(average_buffers, tmp_path)):
        assert found["1.running_mean"].tolist() == [0.5] * 3
        assert found["1.running_var"].tolist() == [4.0] * 3
        assert found["constant"] == rank  # not part of a checkpoint
