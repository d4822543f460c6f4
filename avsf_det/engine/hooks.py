"""Hooks of Detectron2's training loop."""

import logging

from detectron2.engine import HookBase
from torch.nn.parallel import DistributedDataParallel


class NegativeCurriculumHook(HookBase):
    """Negatives of the synchronisation loss get harder: all are easy (another video's sound) before
    an iteration, a part of them from then on.

    It keeps no state: what it sets follows from the trainer's iteration, also after resuming.
    """

    def __init__(self, hard_after: int, easy_ratio: float):
        """
        Args:
            hard_after: the first iteration (from 0) with hard negatives.
            easy_ratio: share of easy negatives from then on, 0..1.
        """
        self.hard_after, self.easy_ratio = hard_after, easy_ratio

    def before_step(self) -> None:
        model = self.trainer.model
        if isinstance(model, DistributedDataParallel):
            model = model.module
        ratio = self.easy_ratio if self.trainer.iter >= self.hard_after else 1.0
        if ratio != model.avsync_head.easy_ratio:
            logging.getLogger(__name__).info(
                f"From iteration {self.trainer.iter} on, {ratio:.0%} of the negatives are easy"
            )
            model.avsync_head.easy_ratio = ratio
