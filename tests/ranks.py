"""Run a function in two processes as srun starts them, forked from this one."""

import os
from collections.abc import Callable
from pathlib import Path

import torch
import torch.multiprocessing as mp

from avsf_det.engine.ranks import SLURM


def run_two(function: Callable[[int], object], folder: Path) -> list:
    """Return what ``function(rank)`` returns in each process; ``folder`` is for their results."""
    store = torch.distributed.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    port = store.port  # a free one
    del store

    def run(rank: int) -> None:
        os.environ |= dict(zip(SLURM, (str(rank), str(rank), "2", "2"), strict=True))
        os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
        torch.set_num_threads(1)  # a fork has none of the threads that torch believes to have
        torch.save(function(rank), folder / f"{rank}.result")

    mp.start_processes(run, nprocs=2, start_method="fork")
    return [torch.load(folder / f"{rank}.result", weights_only=False) for rank in range(2)]
