"""Start the processes of a training: this one alone, several on a machine, or those of torchrun.

On GPUs they talk by NCCL, on the CPU by gloo.
"""

import functools
import os
import signal
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from detectron2.engine import DEFAULT_TIMEOUT, create_ddp_model, defaults
from detectron2.utils import comm

from avsf_det.structures import AVSFError, ConfigError

TORCHRUN = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE")


@dataclass(frozen=True)
class Group:
    """All processes of a training.

    Attributes:
        size: number of processes on all machines.
        local_size: number of processes on each machine.
        url: address or file where they meet, see torch.distributed.init_process_group.
        on_cpu: whether they have no GPU.
    """

    size: int
    local_size: int
    url: str
    on_cpu: bool


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
    given = _read_torchrun()
    if given["WORLD_SIZE"] > 1:
        if num_gpus > 1 or num_machines > 1:
            raise ConfigError("torchrun starts the processes: leave out --num-gpus, --num-machines")
        rank, local_rank, size, local_size = (given[name] for name in TORCHRUN)
        _check_gpus(local_size, on_cpu)
        _join(rank, local_rank, Group(size, local_size, "env://", on_cpu))
        function(*args)
        dist.destroy_process_group()
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
        group = Group(num_gpus * num_machines, num_gpus, dist_url, on_cpu)
        _spawn(group, machine_rank * num_gpus, function, args)


def _read_torchrun() -> dict[str, int]:
    """Return the numbers that torchrun gives to its processes."""
    if any(name not in os.environ for name in TORCHRUN):
        return {"WORLD_SIZE": 1}
    for name in TORCHRUN:
        if not os.environ[name].isdecimal():
            raise ConfigError(f"the environment's {name} is '{os.environ[name]}', no whole number")
    return {name: int(os.environ[name]) for name in TORCHRUN}


def _check_gpus(number: int, on_cpu: bool) -> None:
    found = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if not on_cpu and number > found:
        raise ConfigError(
            f"{number} processes on this machine need {number} GPUs; it has {found}. Give "
            f"--num-gpus {found or 1}, or MODEL.DEVICE cpu to run {number} processes on the CPU"
        )


def _spawn(group: Group, first_rank: int, function: Callable, args: tuple) -> None:
    errors = mp.get_context("spawn").SimpleQueue()
    try:
        mp.spawn(_work, (group, first_rank, function, args, errors), nprocs=group.local_size)
    except mp.ProcessExitedException as error:
        if not errors.empty():
            raise AVSFError(errors.get()) from None
        if error.exit_code > 0:
            sys.exit(error.exit_code)
        raise AVSFError(
            f"process {error.error_index} of {group.local_size} was ended by "
            f"{signal.Signals(-error.exit_code).name}; SIGKILL often means too little memory"
        ) from None


def _work(
    local_rank: int,
    group: Group,
    first_rank: int,
    function: Callable,
    args: tuple,
    errors: "mp.SimpleQueue",
) -> None:
    """Run one of the spawned processes."""
    try:
        _join(first_rank + local_rank, local_rank, group)
        function(*args)
    except (AVSFError, OSError) as error:
        errors.put(str(error))  # printed once, by the process that has started this one
        sys.exit(1)
    dist.destroy_process_group()


def _join(rank: int, local_rank: int, group: Group) -> None:
    """Let this process be one of a group, on its own GPU."""
    dist.init_process_group(
        "gloo" if group.on_cpu else "nccl",
        init_method=group.url,
        world_size=group.size,
        rank=rank,
        timeout=DEFAULT_TIMEOUT,
    )
    # Processes of one machine. All processes take part in making each of the groups.
    for first in range(0, group.size, group.local_size):
        ranks = [*range(first, first + group.local_size)]
        local = dist.new_group(ranks)
        if rank in ranks:
            vars(comm)["_LOCAL_PROCESS_GROUP"] = local  # 0.6 has no function for it
    if group.on_cpu:
        # Detectron2 passes the rank as GPU, which DistributedDataParallel refuses on a CPU.
        vars(defaults)["create_ddp_model"] = functools.partial(create_ddp_model, device_ids=None)
        torch.set_num_threads(max(1, torch.get_num_threads() // group.local_size))
    else:
        torch.cuda.set_device(local_rank)
    comm.synchronize()
