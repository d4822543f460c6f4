"""Training steps that stop before the optimizer if a loss is not finite."""

import logging
import math
import os
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from detectron2.engine import AMPTrainer, SimpleTrainer
from detectron2.structures import Boxes, Instances
from detectron2.utils import comm
from detectron2.utils.events import get_event_storage

from avsf_det.structures import AVSFError
from avsf_det.utils.atomic import atomic_path

from .interruption import gather_from_ranks

MAX_NAMED_CLIPS = 8


class NonFiniteLossError(AVSFError):
    """Loss that is NaN or infinite; the message names iteration, process and clips."""


class FiniteLossTrainer(SimpleTrainer):
    """Detectron2's training step, which in all processes stops before a step from a bad loss.

    Attributes:
        output_dir: folder for the batch whose loss is not finite.
    """

    output_dir = "."

    def _write_metrics(
        self, loss_dict: Mapping[str, torch.Tensor], data_time: float, *args: Any, **kw: Any
    ) -> None:
        # Detectron2 calls this between backward pass and step. Its own method copies each loss to
        # the CPU, and gathers them by pickle. Here one copy is all that waits for the GPU, and one
        # collective of the CPUs serves both the check and the log.
        values = torch.stack([loss.detach().float() for loss in loss_dict.values()]).cpu().tolist()
        bad = {n: x for n, x in zip(loss_dict, values, strict=True) if not math.isfinite(x)}
        rows = gather_from_ranks([data_time, *values])  # (processes, 1 + losses)
        if not rows.isfinite().all():
            # Each process raises the message of the bad one, whichever is reported first.
            messages = comm.all_gather(self._report(bad) if bad else "")
            raise NonFiniteLossError(next(message for message in messages if message))
        if comm.is_main_process():
            means = dict(zip(loss_dict, rows[:, 1:].mean(dim=0).tolist(), strict=True))
            slowest = float(rows[:, 0].max())  # the process that all others wait for
            storage = get_event_storage()
            storage.put_scalars(data_time=slowest, total_loss=sum(means.values()))
            if len(means) > 1:
                storage.put_scalars(**means)

    def _report(self, bad: Mapping[str, float]) -> str:
        """Save the batch; return the message about the bad losses of this process."""
        batch, rank = getattr(self.data_loader, "batch", []), comm.get_rank()
        gradients = [p.grad for p in self.model.parameters() if p.grad is not None]
        norm = float(torch.stack([g.float().norm() for g in gradients]).norm())
        rate = max(group["lr"] for group in self.optimizer.param_groups)
        path = os.path.join(self.output_dir, f"bad_batch_{self.iter:07d}_rank{rank}.pth")
        content = {"iteration": self.iter, "rank": rank, "losses": dict(bad), "lr": rate}
        content |= {"gradient_norm": norm, "batch": to_plain(batch)}
        try:
            with atomic_path(path) as temporary:
                torch.save(content, temporary)
            saved = f"the batch is in {path}"
        except OSError as error:
            saved = f"the batch could not be saved ({error})"
        clips = [str(x.get("image_id", x.get("clip_id"))) for x in batch]
        named = "; ".join(clips[:MAX_NAMED_CLIPS]) + ("; ..." if clips[MAX_NAMED_CLIPS:] else "")
        logging.getLogger(__name__).error(f"Losses that are not finite: {bad}; clips: {clips}")
        return (
            f"{', '.join(f'{name} is {value}' for name, value in bad.items())} at iteration "
            f"{self.iter} in process {rank} (lr {rate:.3g}, gradient norm {norm:.3g}); clips "
            f"{named}; {saved}. No step was made"
        )


class FiniteLossAMPTrainer(FiniteLossTrainer, AMPTrainer):
    """The same for mixed precision, where the norm in the message is of the scaled gradients.

    Gradients that are not finite are no error here: the scaler skips the step and lowers the scale.
    """


def to_plain(value: object) -> object:
    """Convert Detectron2's structures to tensors, which ``torch.load(weights_only=True)`` reads.

    Args:
        value: batch of model inputs, or a part of one.
    """
    if isinstance(value, Mapping):
        return {key: to_plain(x) for key, x in value.items()}
    if isinstance(value, list | tuple):
        return [to_plain(x) for x in value]
    if isinstance(value, Instances):
        return to_plain({"image_size": value.image_size, **value.get_fields()})
    if isinstance(value, Boxes):
        return value.tensor
    if isinstance(value, np.ndarray | np.generic):
        return torch.as_tensor(value)
    return value if isinstance(value, torch.Tensor | str | int | float | None) else repr(value)
