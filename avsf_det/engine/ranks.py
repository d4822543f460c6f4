"""Numbers of this process among those that torchrun or SLURM's srun has started."""

import os
import re
from dataclasses import dataclass

from avsf_det.structures import ConfigError

TORCHRUN = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE")
# Those of the step, which srun sets: a batch script without srun has SLURM_NTASKS and SLURM_PROCID
# as well, but is one process.
SLURM = ("SLURM_PROCID", "SLURM_LOCALID", "SLURM_STEP_NUM_TASKS", "SLURM_STEP_TASKS_PER_NODE")


@dataclass(frozen=True)
class Ranks:
    """Place of a process in its group.

    Attributes:
        rank: number of the process, from 0.
        local_rank: its number on its machine, from 0.
        size: number of processes on all machines.
        local_size: number of processes on each machine.
        url: where they meet, see torch.distributed.init_process_group.
    """

    rank: int = 0
    local_rank: int = 0
    size: int = 1
    local_size: int = 1
    url: str = ""


def read_ranks() -> Ranks:
    """Return what torchrun, or else srun, says in the environment; one process without both.

    Raises:
        ConfigError: a number is bad, or machines have different numbers of processes.
    """
    env = os.environ
    if all(name in env for name in TORCHRUN):
        names, local_size, url = TORCHRUN, env["LOCAL_WORLD_SIZE"], "env://"
    elif all(name in env for name in SLURM):
        # The last one is such as 8(x2), 8 on each of two machines, or 8(x2),4.
        names, local_size, url = SLURM, re.sub(r"\(x\d+\)$", "", env[SLURM[3]]), _slurm_url()
    else:
        return Ranks()
    numbers = [*(env[name] for name in names[:3]), local_size]
    for name, text in zip(names, numbers, strict=True):
        if not text.isdecimal():
            raise ConfigError(f"the environment's {name} is '{env[name]}', no whole number")
    rank, local_rank, size, each = map(int, numbers)
    ranks = Ranks(rank, local_rank, size, each, url)
    # Groups of a machine are consecutive ranks.
    if ranks.size % ranks.local_size or ranks.rank % ranks.local_size != ranks.local_rank:
        raise ConfigError(
            f"process {ranks.rank} of {ranks.size} is number {ranks.local_rank} of "
            f"{ranks.local_size} on its machine; ranks must be consecutive there, as with srun's "
            "--distribution=block, and each machine needs as many processes"
        )
    return ranks


def _slurm_url() -> str:
    """Return address and port of the first machine, the same in all processes of a step."""
    env = os.environ
    nodes = env.get("SLURM_STEP_NODELIST", env.get("SLURM_JOB_NODELIST", ""))
    # node[003-005,9]-x,other: the first one is node003-x.
    found = re.match(r"([^\[,]*)(?:\[(\w+)[^\]]*\])?([^\[,]*)", nodes)
    first = "".join(part or "" for part in found.groups()) if found else ""
    # Below the ports that systems give to clients, and different for the steps of a job.
    job, step = (int(env.get(name, "0")) for name in ("SLURM_JOB_ID", "SLURM_STEP_ID"))
    port = env.get("MASTER_PORT", str(20000 + (job + 97 * step) % 12000))
    return f"tcp://{env.get('MASTER_ADDR', first) or '127.0.0.1'}:{port}"
