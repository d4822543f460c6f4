"""Loaders that resume exactly, and whose workers end with their process and cannot hang unseen."""

import ctypes
import os
import re
import signal
import sys
import time
import weakref
from collections.abc import Callable, Iterable, Iterator, Sequence
from multiprocessing import active_children
from multiprocessing.util import Finalize
from typing import Any

import numpy as np
import torch
from detectron2.utils import comm
from torch.utils.data import DataLoader, Dataset, IterableDataset, get_worker_info

from ..structures import AVSFError
from .samplers import seed_draws, training_batches

MAX_NAME_BYTES = 400
# Columns of WorkerBoard.numbers.
PID, READING, SINCE = range(3)
# First number of the keys of seed_draws after the seed.
CLIP_DRAWS, MODEL_DRAWS = range(2)


# All boards of this process.
_boards: weakref.WeakSet["WorkerBoard"] = weakref.WeakSet()


class LoaderError(AVSFError):
    """Loader worker that hangs or has died; the message names the clip that it was reading."""


class WorkerBoard:
    """Memory in which the workers of a loader write which clip they read.

    Args:
        num_workers: number of workers; 0 if the process itself reads.
    """

    def __init__(self, num_workers: int) -> None:
        self.numbers = torch.zeros(num_workers, 3, dtype=torch.int64).share_memory_()
        self.names = torch.zeros(num_workers, MAX_NAME_BYTES, dtype=torch.uint8).share_memory_()
        self.closing = torch.zeros(1, dtype=torch.bool).share_memory_()
        _boards.add(self)

    def start_worker(self, worker_id: int) -> None:
        """Prepare a worker process: it ends when its parent ends or says so, and not before."""
        if sys.platform.startswith("linux"):
            ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
        # Ctrl-C and job schedulers signal all processes. The training still needs its workers for
        # the iteration that it finishes.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, lambda *_: os._exit(0) if self.closing else None)
        # A thread sends tensors, and fails when the process has stopped to take them.
        sys.excepthook = _hide_broken_connections
        self.numbers[worker_id, PID] = os.getpid()

    def begin(self, dataset_dict: dict) -> None:
        """Write the clip that this worker reads next."""
        if (worker := get_worker_info()) is None:
            return
        clip = dataset_dict.get("image_id", dataset_dict.get("clip_id"))
        name = f"{clip} ({dataset_dict['file_name']})".encode(errors="replace")[:MAX_NAME_BYTES]
        self.names[worker.id].numpy()[:] = np.frombuffer(name.ljust(MAX_NAME_BYTES, b"\0"), "u1")
        row = (os.getpid(), 1, time.monotonic_ns())
        self.numbers[worker.id].numpy()[:] = row

    def end(self) -> None:
        """Write that this worker has read its clip."""
        if (worker := get_worker_info()) is not None:
            self.numbers[worker.id, READING] = 0

    def find_clip(self, pid: int | None = None) -> str:
        """Describe what a worker reads: the one of ``pid``, or the one that is busy for longest."""
        rows = [r for r in self.numbers.tolist() if pid in (None, r[PID])]
        row = min(rows, key=lambda r: (not r[READING], r[SINCE]))
        i = self.numbers.tolist().index(row)
        name = bytes(self.names[i].tolist()).rstrip(b"\0").decode(errors="replace")
        if not name:
            return f"loader worker {i}, before its first clip"
        return f"loader worker {i}, {'reading' if row[READING] else 'after'} clip {name}"

    def kill_workers(self) -> None:
        """Kill the workers that are left; one that is stopped or hangs ignores other signals."""
        pids = set(self.numbers[:, PID].tolist())
        for process in active_children():
            if process.pid in pids:
                process.kill()
                process.join()

    def end_workers(self) -> None:
        """End the workers at the exit of the process, which otherwise waits for them for ever."""
        self.closing.fill_(True)
        # torch would report killed workers as an error.
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        self.kill_workers()


def _hide_broken_connections(
    kind: type[BaseException], error: BaseException, traceback: Any
) -> None:
    if not issubclass(kind, ConnectionError | EOFError):
        sys.__excepthook__(kind, error, traceback)


def explain_dead_worker(error: RuntimeError) -> LoaderError | None:
    """Return the error with the clip, if torch says that a loader worker has died; else None.

    torch raises its error in a signal handler: wherever the main thread is, also in the model.
    """
    # The cause names the signal.
    texts = [str(error.__cause__), str(error)]
    text = next((x for x in texts if x.startswith("DataLoader worker ")), "")
    pid = re.search(r"\(pid(?:\(s\))? (\d+)", text)
    if not pid:
        return None
    boards = [b for b in _boards if int(pid[1]) in b.numbers[:, PID]]
    clip = boards[0].find_clip(int(pid[1])) if boards else "unknown clip"
    remedy = "Check the memory of the machine (fewer DATALOADER.NUM_WORKERS need less)"
    if "Bus error" in text:
        remedy = "Enlarge /dev/shm (docker run --shm-size 8g), or set DATALOADER.NUM_WORKERS 0"
    return LoaderError(f"{text.split('. ')[0].strip('. ')}: {clip}. {remedy}")


class _Clips:
    """What both datasets share: dataset dicts, the mapper that reads them, and the board."""

    def __init__(
        self,
        dicts: Sequence[dict] | Dataset,
        mapper: Callable[[dict], dict | list[dict]],
        board: WorkerBoard,
    ) -> None:
        self.dicts: Any = dicts
        self.mapper, self.board = mapper, board

    def read(self, index: int) -> dict | list[dict] | Exception:
        """Return the model input of a dataset dict, or a list of them, or the error.

        A worker that raised it would add its traceback to the message.
        """
        dataset_dict = self.dicts[index]
        self.board.begin(dataset_dict)
        try:
            return self.mapper(dataset_dict)
        except (AVSFError, OSError) as error:
            return error
        finally:
            self.board.end()


class ClipItems(_Clips, Dataset):
    """Model inputs by dataset index; or by (position, index), then with draws of that position.

    Attributes:
        seed: seed of the draws.
    """

    seed = 0

    def __len__(self) -> int:
        return len(self.dicts)

    def __getitem__(self, item: int | tuple[int, int]) -> dict | list[dict] | Exception:
        if isinstance(item, int):
            return self.read(item)
        position, index = item
        seed_draws(self.seed, CLIP_DRAWS, position)
        return self.read(index)


class ClipStream(_Clips, IterableDataset):
    """Batches of model inputs in the order of a sampler that is iterated in the workers."""

    def __init__(self, sampler: Any, *args: Any) -> None:
        super().__init__(*args)
        self.sampler = sampler

    def __len__(self) -> int:
        return len(self.sampler)

    def __iter__(self) -> Iterator[list]:
        return ([self.read(index) for index in batch] for batch in self.sampler)


def _flatten(items: list) -> list:
    """Join the model inputs of a batch, of which an item may be a list of several."""
    return [x for item in items for x in (item if isinstance(item, list) else [item])]


class ClipLoader(DataLoader):
    """torch's loader, which ends with an error that names the clip if a worker hangs or dies.

    Args:
        dataset: :class:`ClipItems`, or :class:`ClipStream` with ``batch_size`` None.
        num_workers: number of workers.
        timeout: seconds without any batch after which a worker counts as hung; 0 for no limit.
            Without workers there is no limit.
        **kwargs: other arguments of torch's loader.
    """

    def __init__(
        self,
        dataset: ClipItems | ClipStream,
        *,
        num_workers: int,
        timeout: float,
        **kwargs: Any,
    ) -> None:
        self.board = dataset.board
        super().__init__(
            dataset,
            num_workers=num_workers,
            timeout=timeout if num_workers else 0,
            worker_init_fn=self.board.start_worker,
            collate_fn=_flatten,
            **kwargs,
        )

    def __iter__(self) -> Any:
        """Yield lists of model inputs.

        Raises:
            LoaderError: a worker hangs or has died.
            AVSFError: the mapper raised it.
            OSError: the mapper raised it.
        """
        return self._watch(super().__iter__())

    def _watch(self, iterator: Iterator[list]) -> Iterator[list[dict]]:
        self.board.closing.fill_(False)
        # Spawned processes run these functions at their exit, but none of atexit.
        at_exit = Finalize(None, self.board.end_workers, exitpriority=1)
        failure: LoaderError | None = None
        try:
            while not failure:
                try:
                    batch = next(iterator)
                except StopIteration:
                    return
                except RuntimeError as error:  # also what the mapper raises
                    failure = explain_dead_worker(error)
                    if str(error).startswith("DataLoader timed out"):
                        failure = self._explain_timeout()
                    if failure is None:
                        raise
                    continue
                for item in batch:
                    if isinstance(item, Exception):
                        raise item
                yield batch
            self.board.closing.fill_(True)
            iterator = iter(())
            self.board.kill_workers()
            raise failure
        finally:
            self.board.closing.fill_(True)
            iterator = iter(())  # ends the workers that obey, even while an error keeps this frame
            at_exit.cancel()

    def _explain_timeout(self) -> LoaderError:
        return LoaderError(
            f"{self.board.find_clip()}: nothing for {self.timeout:g} s "
            "(DATALOADER.TIMEOUT_SEC; 0 for no limit). Check that the file can be read"
        )


class TrainLoader(Iterable[list[dict]]):
    """Endless training batches that depend on the seed and the iteration only.

    A loader that starts at iteration i gives the batches that a loader from 0 gives from its i-th
    on, bit for bit, with any number of workers. The random state of the process is set before each
    batch is given, so that the draws of the model resume, too.

    Args:
        clips: items of the dataset.
        build_sampler: returns the endless sampler of this process for a seed.
        seed: seed of the order and of all draws.
        batch_size: clips of a batch of this process.
        num_workers: number of workers.
        timeout: see :class:`ClipLoader`.
        groups: see :func:`training_batches`.

    Attributes:
        seed: as above. A new value counts from the next iteration over the loader on.
        start_iter: training iteration of the first batch, likewise.
        batch: the last batch that was given.
    """

    def __init__(
        self,
        clips: ClipItems,
        build_sampler: Callable[[int], Iterable[int]],
        *,
        seed: int,
        batch_size: int,
        num_workers: int,
        timeout: float,
        groups: np.ndarray | None = None,
    ) -> None:
        self.clips, self.build_sampler, self.seed = clips, build_sampler, seed
        self.batch_size, self.groups = batch_size, groups
        self.num_workers, self.timeout = num_workers, timeout
        self.start_iter = 0
        self.batch: list[dict] = []

    def __iter__(self) -> Iterator[list[dict]]:
        # A generator: nothing is read, and no worker started, before the first batch is asked for.
        self.clips.seed = seed = self.seed
        start = self.start_iter
        batches = training_batches(
            self.build_sampler(seed), self.batch_size, start=start, groups=self.groups
        )
        loader = ClipLoader(
            self.clips,
            batch_sampler=batches,
            num_workers=self.num_workers,
            timeout=self.timeout,
        )
        for iteration, batch in enumerate(loader, start):
            self.batch = batch
            # After the batch is read: without workers this process has drawn for its clips.
            seed_draws(seed, MODEL_DRAWS, iteration, comm.get_rank())
            yield batch
