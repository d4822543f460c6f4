"""Share the videos of a tool among the processes that torchrun or srun has started.

Each process handles its share, and all get the merged results::

    rows = gather([check(video) for video in take_share(videos, size_of)])

With a single process, a share is everything. A log from which a killed run resumes is written per
process (:func:`own_log`) and read from all (:func:`all_logs`): the number of processes may change.
"""

import glob
import os
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from detectron2.utils import comm

Item = TypeVar("Item")


def take_share(items: Sequence[Item], size_of: Callable[[Item], float]) -> list[Item]:
    """Return the items of this process, in their order.

    The largest item first, each goes to the process with the least work so far. The assignment
    depends on the items, their sizes and the number of processes only.

    Args:
        items: the same in all processes.
        size_of: work of an item, such as the bytes of a file.
    """
    loads, mine = [0.0] * comm.get_world_size(), []
    for i in sorted(range(len(items)), key=lambda i: -size_of(items[i])):
        rank = loads.index(min(loads))
        loads[rank] += max(size_of(items[i]), 1)  # empty files are shared out, too
        if rank == comm.get_rank():
            mine.append(i)
    return [items[i] for i in sorted(mine)]


def gather(items: list[Item]) -> list[Item]:
    """Return the items of all processes, in all of them."""
    return [item for part in comm.all_gather(items) for item in part]


def print_once(*values: object, **options: Any) -> None:
    """Print what all processes know in the first one."""
    if comm.is_main_process():
        print(*values, **options)


def file_size(path: str | None) -> int:
    """Return the size of a file in bytes; 0 where it is missing."""
    try:
        return os.path.getsize(path) if path else 0
    except OSError:  # a link to a missing file
        return 0


def own_log(path: str) -> str:
    """Return the log of this process: ``path`` itself in the first one."""
    return f"{path}.rank{comm.get_rank()}" if comm.get_rank() else path


def all_logs(path: str) -> list[str]:
    """Return the logs that exist, of all processes of this run and of earlier ones."""
    return [
        p for p in (path, *sorted(glob.glob(f"{glob.escape(path)}.rank*"))) if os.path.exists(p)
    ]
