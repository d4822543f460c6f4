"""Trainings that end on a signal: after the current iteration, with a checkpoint."""

import logging
import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from multiprocessing import active_children
from types import FrameType
from typing import Any

import torch
import torch.distributed as dist
from detectron2.checkpoint import DetectionCheckpointer
from detectron2.engine import HookBase
from detectron2.utils import comm

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)
# One Ctrl-C can arrive twice: from the terminal and from the parent process.
SAME_SIGNAL_SEC = 1.0

logger = logging.getLogger(__name__)


def gather_from_ranks(values: list[float]) -> torch.Tensor:
    """Return the values of all processes, (processes, values) float64; all of them must call this.

    The values are on the CPU: the GPU is not waited for.
    """
    row = torch.tensor(values, dtype=torch.float64)
    rows = [torch.empty_like(row) for _ in range(comm.get_world_size())]
    if len(rows) == 1:
        return row.unsqueeze(0)
    dist.all_gather(rows, row, group=_gloo_group())
    return torch.stack(rows)


@lru_cache
def _gloo_group() -> Any:
    """Return a group of all processes for tensors on the CPU."""
    return dist.new_group(backend="gloo") if dist.get_backend() == "nccl" else dist.group.WORLD


class StopHook(HookBase):
    """End the training on SIGTERM, SIGINT (Ctrl-C) or SIGUSR1, with exit code 128 + signal.

    The current iteration is finished, and a checkpoint is written from which ``--resume`` continues
    exactly. All processes stop after the same iteration, whichever of them got the signal. During
    an evaluation the process stops at once. A second Ctrl-C ends the process without a checkpoint.

    Put the hook after those that change the model, and before the evaluation.
    """

    def __init__(self, checkpointer: DetectionCheckpointer) -> None:
        self.checkpointer = checkpointer
        self.received, self.received_at = 0, 0.0
        self.in_iteration = self.has_begun = False
        self.previous: dict[signal.Signals, Any] = {}

    def before_train(self) -> None:
        """Install the signal handlers; only the main thread of a process can."""
        if threading.current_thread() is threading.main_thread():
            self.previous = {s: signal.signal(s, self.handle) for s in SIGNALS}

    def before_step(self) -> None:
        """Begin an iteration, which signals do not interrupt."""
        self.in_iteration = self.has_begun = True

    def after_step(self) -> None:
        """Stop if any process has received a signal."""
        if received := int(gather_from_ranks([self.received]).max()):
            self.stop(received)
        self.in_iteration = False

    def after_train(self) -> None:
        """Restore the signal handlers."""
        for number, handler in self.previous.items():
            signal.signal(number, handler)

    def handle(self, number: int, frame: FrameType | None) -> None:
        """Handle a signal."""
        now = time.monotonic()
        if self.received:
            if number == signal.SIGINT and now - self.received_at > SAME_SIGNAL_SEC:
                signal.signal(number, signal.SIG_DFL)
                os.kill(os.getpid(), number)
            return
        self.received, self.received_at = number, now
        if self.in_iteration:
            name = signal.Signals(number).name
            logger.info(f"{name}: the training ends after iteration {self.trainer.iter}")
        else:
            self.stop(number)

    def stop(self, number: int) -> None:
        """Write a checkpoint, unless the training has just begun or is complete, and exit."""
        trainer, name = self.trainer, signal.Signals(number).name
        done = min(trainer.iter + self.has_begun, trainer.max_iter)
        state = f"{name}: {done} of {trainer.max_iter} iterations are done"
        if self.has_begun and done < trainer.max_iter:
            file = f"model_{trainer.iter:07d}"  # as the periodic checkpoints
            self.checkpointer.save(file, iteration=trainer.iter)
            state += f" and saved in {os.path.join(self.checkpointer.save_dir, file)}.pth"
        logger.info(f"{state}. The same command with --resume continues")
        if self.in_iteration:
            comm.synchronize()  # no process ends, and so ends others, before all is written
        if self.previous and comm.get_world_size() > 1:
            # srun and torchrun send SIGTERM to the others when the first process has ended. A
            # process that it kills would change srun's exit code, by which a job is requeued.
            self.previous[signal.SIGTERM] = signal.SIG_IGN
        raise SystemExit(128 + number)


@contextmanager
def handled_signals() -> Iterator[None]:
    """Forward signals to spawned processes, which end by themselves; without any, exit at once.

    Either way the exit code is 128 + signal, and there is no traceback. A training in this process
    handles signals by its :class:`StopHook`.
    """
    received: list[int] = []

    def forward(number: int, frame: FrameType | None) -> None:
        received.append(number)
        children = [p.pid for p in active_children() if p.pid and not p.daemon]
        if not children:
            raise SystemExit(128 + number)
        for pid in children:
            os.kill(pid, number)

    previous = {s: signal.signal(s, forward) for s in SIGNALS}
    try:
        yield
    except Exception:
        # The exit codes of the processes, which their launcher takes for failures.
        if received:
            raise SystemExit(128 + received[0]) from None
        raise
    finally:
        for number, handler in previous.items():
            if signal.getsignal(number) != signal.SIG_IGN:  # see StopHook.stop
                signal.signal(number, handler)
