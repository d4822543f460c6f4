"""Order in which clips are read, and the random draws that belong to each."""

import random
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby, islice

import numpy as np
import torch
from detectron2.utils import comm
from torch.utils.data import Sampler, get_worker_info


class VideoOrderSampler(Sampler[list[int]]):
    """Sampler of batches of keyframe indices, one video after the other, each in time order.

    A batch is of one video, so its frames have one size: padding would change the scores. Every
    process, and every loader worker of a process, gets a contiguous part of the batches, equal but
    for one. Over all of them each index occurs once.

    The sampler distributes batches over workers itself, since a torch ``DataLoader`` would deal
    them out one by one. Iterate it in the workers, as :class:`.loader.ClipStream` does.

    Args:
        dicts: dataset dicts with ``file_name`` and ``timestamp`` (seconds).
        batch_size: largest number of keyframes of a batch.
    """

    def __init__(self, dicts: Sequence[dict], batch_size: int = 1) -> None:
        order = sorted(
            range(len(dicts)), key=lambda i: (dicts[i]["file_name"], dicts[i]["timestamp"])
        )
        batches: list[list[int]] = []
        for _, indices in groupby(order, key=lambda i: dicts[i]["file_name"]):
            video = iter(indices)
            while batch := [*islice(video, batch_size)]:
                batches.append(batch)
        self._batches = _part(batches, comm.get_rank(), comm.get_world_size())

    def __iter__(self) -> Iterator[list[int]]:
        worker = get_worker_info()  # None in the process that has no workers
        part = (worker.id, worker.num_workers) if worker else (0, 1)
        return iter(_part(self._batches, *part))

    def __len__(self) -> int:
        """Return the number of batches of this process, over all its workers."""
        return len(self._batches)


def _part(items: list[list[int]], i: int, n: int) -> list[list[int]]:
    """Return the i-th of n contiguous parts; their lengths differ by one at most."""
    return items[len(items) * i // n : len(items) * (i + 1) // n]


def training_batches(
    indices: Iterable[int], batch_size: int, *, start: int = 0, groups: np.ndarray | None = None
) -> Iterator[list[tuple[int, int]]]:
    """Yield the batches of this process from the ``start``-th on.

    Args:
        indices: endless dataset indices of this process, from the first.
        batch_size: clips of a batch of this process.
        start: number of batches that are left out.
        groups: group 0 or 1 of each dataset index. If given, a batch has clips of one group
            (wide or tall images), and is yielded when it is full.

    Yields:
        pairs of position and dataset index. The position counts the clips of all processes.
    """
    rank, world_size = comm.get_rank(), comm.get_world_size()
    # Groups fill at different speeds: which batches come later depends on all earlier clips.
    skipped = 0 if groups is not None else start * batch_size
    order = enumerate(islice(indices, skipped, None), skipped)
    buckets: tuple[list, list] = ([], [])
    for i, index in order:
        bucket = buckets[0 if groups is None else groups[index]]
        bucket.append((i * world_size + rank, index))
        if len(bucket) < batch_size:
            continue
        if groups is not None and start > 0:
            start -= 1
        else:
            yield bucket[:]
        bucket.clear()


def derive_seed(*key: int) -> int:
    """Return a seed, 0..2**31 - 1, that depends on all numbers of a key."""
    return int(np.random.SeedSequence(key).generate_state(1)[0] >> 1)


def seed_draws(*key: int) -> None:
    """Set the random states of Python, NumPy and torch from a key, e.g. (seed, iteration, rank).

    Draws that follow depend on nothing else, such as what was drawn before.
    """
    seed = derive_seed(*key)
    random.seed(seed)
    np.random.seed(seed)
    # torch.manual_seed formats a traceback for CUDA, which loader workers never use.
    torch.default_generator.manual_seed(seed)
    if torch.cuda.is_initialized():
        torch.cuda.manual_seed_all(seed)
