"""Hooks of Detectron2's training loop."""

import logging
import os
import re
from typing import Any

import torch
import torch.distributed as dist
from detectron2.engine import HookBase, hooks
from detectron2.utils import comm
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from avsf_det.data.loader import derive_seed


class NegativeCurriculumHook(HookBase):
    """Curriculum of the synchronisation loss: negatives are easy first, and harder later.

    An easy negative is the audio of another video, a hard one the audio of another time of the same
    video. The hook has no state: the ratio depends on the trainer's iteration only, so resumed
    trainings continue correctly. From iteration ``hard_after`` (from 0) on, the fraction
    ``easy_ratio``, 0..1, of the negatives is easy.
    """

    def __init__(self, hard_after: int, easy_ratio: float) -> None:
        self.hard_after, self.easy_ratio = hard_after, easy_ratio

    def before_step(self) -> None:
        """Set the ratio of the iteration, and log it when it changes."""
        # The first step sets the ratio of a resumed training, too.
        model = _unwrap(self.trainer.model)
        ratio = self.easy_ratio if self.trainer.iter >= self.hard_after else 1.0
        if ratio != model.avsync_head.easy_ratio:
            logging.getLogger(__name__).info(
                f"From iteration {self.trainer.iter} on, {ratio:.0%} of the negatives are easy"
            )
            model.avsync_head.easy_ratio = ratio


class ResumablePreciseBN(hooks.PreciseBN):
    """Precise batch-norm statistics from batches that depend on the seed and the iteration only.

    Detectron2's hook continues one loader over all evaluations, whose position is in no checkpoint.
    Here the data loader must be a ``TrainLoader`` of its own; its workers run only meanwhile. With
    ``keep_audio``, DropPathway is off meanwhile, as at test.
    """

    def __init__(self, *args: Any, keep_audio: bool = False) -> None:
        super().__init__(*args)
        self.keep_audio = keep_audio

    def update_stats(self) -> None:
        """Update the statistics, see the base class."""
        if self._disabled:
            return
        loader = self._data_loader
        loader.seed = derive_seed(self.trainer.data_loader.seed, self.trainer.iter)
        self._data_iter = iter(loader)
        drop_pathway = getattr(_unwrap(self.trainer.model).backbone, "drop_pathway", None)
        rate = drop_pathway.rate if drop_pathway else 0.0
        if drop_pathway and self.keep_audio:
            drop_pathway.rate = 0.0
        super().update_stats()
        if drop_pathway:
            drop_pathway.rate = rate
        self._data_iter = None


class BufferAverager(HookBase):
    """Give all processes the mean of their batch-norm statistics and other buffers after each step.

    DistributedDataParallel synchronises gradients alone, so each process would evaluate with
    statistics of its own, and the checkpoint would have those of the main process. As means of
    exponential averages are exponential averages of means, averaging in each step equals averaging
    at the end; and whenever a training is interrupted, one process's buffers are those of all.

    Put the hook after those that change buffers, and before the checkpoint and the evaluation.
    """

    def before_train(self) -> None:
        """Find the names of the buffers."""
        model = _unwrap(self.trainer.model)
        state = model.state_dict()  # without constants such as the pixel mean
        self.names = [n for n, x in model.named_buffers() if n in state and x.is_floating_point()]

    def after_step(self) -> None:
        """Average the buffers by one collective operation."""
        if comm.get_world_size() == 1 or not self.names:
            return
        # By name, because precise BN puts new tensors in their place.
        model = _unwrap(self.trainer.model)
        buffers = [model.get_buffer(name) for name in self.names]
        flat = torch.cat([x.flatten() for x in buffers]) / comm.get_world_size()
        dist.all_reduce(flat)
        parts = flat.split([x.numel() for x in buffers])
        for buffer, part in zip(buffers, parts, strict=True):
            buffer.copy_(part.view_as(buffer))


def cut_metrics(path: str, start_iter: int) -> None:
    """Remove the lines of a ``metrics.json`` that a training from ``start_iter`` writes again.

    A last line may be torn.
    """
    if not os.path.exists(path):
        return
    # In place, because the writer of the metrics has opened the file for appending.
    with open(path, "rb+") as file:
        lines = [line for line in file if line.endswith(b"\n")]
        found = [re.search(rb'"iteration": (\d+)', line) for line in lines]
        kept = [x for x, f in zip(lines, found, strict=True) if not f or int(f[1]) < start_iter]
        file.seek(0)
        file.writelines(kept)
        file.truncate()


class FractionLogger(HookBase):
    """Log the fractions of a model every ``period`` iterations; see :meth:`ClipModel.fractions`.

    Reading them makes a GPU wait for the step, which happens in these iterations only.
    """

    def __init__(self, period: int = 20) -> None:
        self.period = period

    def after_step(self) -> None:
        """Log the fraction of correct clips, of those that count, under each name."""
        if (self.trainer.iter + 1) % self.period:
            return
        found = _unwrap(self.trainer.model).fractions()
        counts = torch.stack([torch.stack(pair) for pair in found.values()]).tolist()
        for name, (correct, total) in zip(found, counts, strict=True):
            if total:
                self.trainer.storage.put_scalar(name, correct / total)


def _unwrap(model: nn.Module) -> Any:
    return model.module if isinstance(model, DistributedDataParallel) else model
