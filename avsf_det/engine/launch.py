"""Start the processes of a training, or join those that torchrun or srun has started.

On GPUs they talk by NCCL, on the CPU by gloo.
"""

import functools
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta

import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from detectron2.engine import DEFAULT_TIMEOUT, create_ddp_model, defaults
from detectron2.utils import comm

from avsf_det.structures import AVSFError, ConfigError

from .ranks import Ranks, read_ranks


def launch(
    function: Callable,
    *args: object,
    num_gpus: int,
    num_machines: int = 1,
    machine_rank: int = 0,
    dist_url: str = "auto",
    on_cpu: bool = False,
) -> None:
    """Call a function in all processes of a training.

    Args:
        function: function to call; its module must be importable.
        *args: its arguments.
        num_gpus: number of processes on each machine; 0 and 1 mean this process.
        num_machines: number of machines.
        machine_rank: number of this machine, from 0.
        dist_url: address where the processes meet; "auto" for any on a single machine.
        on_cpu: whether several processes run on the CPU.

    Raises:
        ConfigError: the machine lacks the GPUs, or the numbers contradict each other.
        AVSFError: a process has failed; the others are ended.
    """
    given = read_ranks()
    # One process of srun on each machine may start the others there.
    if given.size > 1 and (given.local_size > 1 or num_machines != given.size):
        if num_gpus > 1 or num_machines > 1:
            raise ConfigError(
                "torchrun or srun starts the processes: leave out --num-gpus, --num-machines"
            )
        _check_gpus(given.local_size, on_cpu)
        with joined(given, on_cpu):
            function(*args)
        return
    if max(num_gpus, 1) * num_machines == 1:
        function(*args)
        return
    if not 0 <= machine_rank < num_machines:
        raise ConfigError(f"--machine-rank is {machine_rank}; it must be in 0..{num_machines - 1}")
    _check_gpus(num_gpus, on_cpu)
    with tempfile.TemporaryDirectory() as folder:
        if dist_url == "auto":
            if num_machines > 1:
                raise ConfigError("--num-machines needs --dist-url tcp://HOST:PORT of machine 0")
            # A file, because a port that is free now may be taken by another training.
            dist_url = f"file://{folder}/rendezvous"
        first = machine_rank * num_gpus
        group = [
            Ranks(first + i, i, num_gpus * num_machines, num_gpus, dist_url)
            for i in range(num_gpus)
        ]
        _spawn(group, on_cpu, function, args)


def _check_gpus(number: int, on_cpu: bool) -> None:
    found = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if not on_cpu and number > found:
        raise ConfigError(
            f"{number} processes on this machine need {number} GPUs; it has {found}. Give "
            f"--num-gpus {found or 1}, or MODEL.DEVICE cpu to run {number} processes on the CPU"
        )


def _spawn(group: list[Ranks], on_cpu: bool, function: Callable, args: tuple) -> None:
    errors = mp.get_context("spawn").SimpleQueue()
    try:
        mp.spawn(_work, (group, on_cpu, function, args, errors), nprocs=len(group))
    except mp.ProcessExitedException as error:
        if not errors.empty():
            raise AVSFError(errors.get()) from None
        if error.exit_code > 0:
            sys.exit(error.exit_code)
        raise AVSFError(
            f"process {error.error_index} of {len(group)} was ended by "
            f"{signal.Signals(-error.exit_code).name}; SIGKILL often means too little memory"
        ) from None


def _work(
    local_rank: int,
    group: list[Ranks],
    on_cpu: bool,
    function: Callable,
    args: tuple,
    errors: "mp.SimpleQueue",
) -> None:
    """Run one of the spawned processes."""
    try:
        with joined(group[local_rank], on_cpu):
            function(*args)
    except (AVSFError, OSError) as error:
        errors.put(str(error))  # printed once, by the process that has started this one
        sys.exit(1)


@contextmanager
def joined(ranks: Ranks, on_cpu: bool, timeout: timedelta = DEFAULT_TIMEOUT) -> Iterator[None]:
    """Let this process be one of a group, on its own GPU if there are any.

    Args:
        ranks: place of the process.
        on_cpu: whether the processes talk by gloo instead of NCCL.
        timeout: longest time that a process waits for the others.
    """
    dist.init_process_group(
        "gloo" if on_cpu else "nccl",
        init_method=ranks.url,
        world_size=ranks.size,
        rank=ranks.rank,
        timeout=timeout,
    )
    # Processes of one machine. All processes take part in making each of the groups.
    for first in range(0, ranks.size, ranks.local_size):
        local = dist.new_group([*range(first, first + ranks.local_size)])
        if first <= ranks.rank < first + ranks.local_size:
            vars(comm)["_LOCAL_PROCESS_GROUP"] = local  # 0.6 has no function for it
    if on_cpu:
        # Detectron2 passes the rank as GPU, which DistributedDataParallel refuses on a CPU.
        vars(defaults)["create_ddp_model"] = functools.partial(create_ddp_model, device_ids=None)
        torch.set_num_threads(max(1, torch.get_num_threads() // ranks.local_size))
    if torch.cuda.is_available():
        # Tools that share videos talk by gloo, and use the GPUs all the same.
        torch.cuda.set_device(ranks.local_rank % torch.cuda.device_count())
    comm.synchronize()
    yield
    dist.destroy_process_group()  # not after an error, where it may wait for the others
