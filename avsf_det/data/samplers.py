"""Sampler of keyframes in the order in which videos are decoded."""

from collections.abc import Iterator, Sequence

from detectron2.utils import comm
from torch.utils.data import Sampler, get_worker_info


class VideoOrderSampler(Sampler[int]):
    """Sampler of keyframe indices, one video after the other, each in time order.

    Every process, and every loader worker of a process, gets an equal contiguous part: whole
    videos, and a part of a video at its two ends at most. Over all of them each index occurs once.

    The sampler distributes indices over workers itself, since a torch ``DataLoader`` would deal
    them out one by one. Wrap the dataset in Detectron2's
    ``ToIterableDataset(dataset, sampler, shard_sampler=False)``.

    Args:
        dicts: dataset dicts with ``file_name`` and ``timestamp`` (seconds).
    """

    def __init__(self, dicts: Sequence[dict]) -> None:
        order = sorted(
            range(len(dicts)), key=lambda i: (dicts[i]["file_name"], dicts[i]["timestamp"])
        )
        self._indices = _part(order, comm.get_rank(), comm.get_world_size())

    def __iter__(self) -> Iterator[int]:
        worker = get_worker_info()  # None in the process that has no workers
        if worker is None:
            return iter(self._indices)
        return iter(_part(self._indices, worker.id, worker.num_workers))

    def __len__(self) -> int:
        """Return the number of indices of this process, over all its workers."""
        return len(self._indices)


def _part(items: list[int], i: int, n: int) -> list[int]:
    """Return the i-th of n contiguous parts; their lengths differ by one at most."""
    return items[len(items) * i // n : len(items) * (i + 1) // n]
