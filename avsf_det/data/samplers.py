"""In which order, and by whom, a data set is read."""

from collections.abc import Iterator, Sequence

from detectron2.utils import comm
from torch.utils.data import Sampler, get_worker_info


class MovieSampler(Sampler):
    """Indices of keyframes, a movie after the other and each in time order.

    Every process, and in it every loader worker, gets an equal part in one run: whole movies, and
    at most at its two ends a part of one. Each index comes exactly once over all of them.

    It divides by worker itself, which a torch ``DataLoader`` would do item by item: wrap the data
    set in Detectron2's ``ToIterableDataset(dataset, sampler, shard_sampler=False)``.
    """

    def __init__(self, dicts: Sequence[dict]):
        """
        Args:
            dicts: with ``file_name`` and ``timestamp`` (seconds).
        """
        order = sorted(
            range(len(dicts)), key=lambda i: (dicts[i]["file_name"], dicts[i]["timestamp"])
        )
        self._indices = _part(order, comm.get_rank(), comm.get_world_size())

    def __iter__(self) -> Iterator[int]:
        worker = get_worker_info()
        if worker is None:
            return iter(self._indices)
        return iter(_part(self._indices, worker.id, worker.num_workers))

    def __len__(self) -> int:
        """Of all workers of this process."""
        return len(self._indices)


def _part(items: list[int], i: int, n: int) -> list[int]:
    """The i-th of n parts, whose lengths differ by one at most."""
    return items[len(items) * i // n : len(items) * (i + 1) // n]
