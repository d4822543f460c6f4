"""Hooks of Detectron2's training loop."""

import logging
from typing import Any

import torch
from detectron2.engine import HookBase
from torch import nn
from torch.nn.parallel import DistributedDataParallel


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
        model = _unwrap(self.trainer.model)
        ratio = self.easy_ratio if self.trainer.iter >= self.hard_after else 1.0
        if ratio != model.avsync_head.easy_ratio:
            logging.getLogger(__name__).info(
                f"From iteration {self.trainer.iter} on, {ratio:.0%} of the negatives are easy"
            )
            model.avsync_head.easy_ratio = ratio


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
