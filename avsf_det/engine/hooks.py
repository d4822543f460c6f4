"""Hooks of Detectron2's training loop."""

import logging
import os
import re

import torch.distributed as dist
from detectron2.engine import HookBase, hooks
from detectron2.utils import comm
from torch.nn.parallel import DistributedDataParallel

from avsf_det.data.samplers import derive_seed


class NegativeCurriculumHook(HookBase):
    """Curriculum of the synchronisation loss: negatives are easy first, and harder later.

    An easy negative is the audio of another video, a hard one the audio of another time of the same
    video. The hook has no state: the ratio depends on the trainer's iteration only, so resumed
    trainings continue correctly.

    Args:
        hard_after: first iteration (from 0) with hard negatives.
        easy_ratio: fraction of easy negatives from then on, 0..1; before, it is 1.
    """

    def __init__(self, hard_after: int, easy_ratio: float) -> None:
        self.hard_after, self.easy_ratio = hard_after, easy_ratio

    def before_step(self) -> None:
        """Set the ratio of the iteration, and log it when it changes."""
        # The first step sets the ratio of a resumed training, too.
        model = self.trainer.model
        if isinstance(model, DistributedDataParallel):
            model = model.module
        ratio = self.easy_ratio if self.trainer.iter >= self.hard_after else 1.0
        if ratio != model.avsync_head.easy_ratio:
            logging.getLogger(__name__).info(
                f"From iteration {self.trainer.iter} on, {ratio:.0%} of the negatives are easy"
            )
            model.avsync_head.easy_ratio = ratio


class ResumablePreciseBN(hooks.PreciseBN):
    """Precise batch-norm statistics from batches that depend on the seed and the iteration only.

    Detectron2's hook continues one loader over all evaluations, whose position is in no checkpoint.
    Here the data loader must be a ``TrainLoader`` of its own; its workers run only meanwhile.
    """

    def update_stats(self) -> None:
        """Update the statistics, see the base class."""
        if not self._disabled:
            loader, iteration = self._data_loader, self.trainer.iter
            loader.seed = derive_seed(self.trainer.data_loader.seed, iteration)
            self._data_iter = iter(loader)
        super().update_stats()
        self._data_iter = None


class SharedMeansHook(HookBase):
    """Give all processes the running means that DropPathway fills in (DROP_FILL "mean").

    These buffers enter the training, but a checkpoint has those of the main process only.
    """

    def before_step(self) -> None:
        """Copy the means of the main process to the others."""
        if comm.get_world_size() == 1:
            return
        for module in self.trainer.model.modules():
            for stage in getattr(module, "filled_stages", ()):
                dist.broadcast(module.get_buffer(f"mean_{stage}"), 0)


def cut_metrics(path: str, start_iter: int) -> None:
    """Remove the lines of a ``metrics.json`` that a resumed training writes again.

    Args:
        path: json object per line with "iteration"; a last line may be torn.
        start_iter: first iteration of the resumed training.
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
