"""Loaders that resume exactly, and whose workers end with their process and cannot hang unseen."""

import ctypes
import os
import random
import re
import signal
import sys
import time
import weakref
from collections.abc import Callable, Iterable, Iterator
from dataclasses import KW_ONLY, dataclass, field
from itertools import islice
from multiprocessing import active_children
from multiprocessing.util import Finalize
from typing import Any

import numpy as np
import torch
from detectron2.config import CfgNode
from detectron2.data import DatasetFromList, build_detection_train_loader
from detectron2.utils import comm
from torch.utils.data import DataLoader, Dataset, IterableDataset, get_worker_info

from ..structures import AVSFError

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
    """Memory in which the workers of a loader (0: the process itself) write what they read."""

    def __init__(self, num_workers: int) -> None:
        self.numbers = torch.zeros(num_workers, 3, dtype=torch.int64).share_memory_()
        self.names = torch.zeros(num_workers, MAX_NAME_BYTES, dtype=torch.uint8).share_memory_()
        self.closing = torch.zeros(1, dtype=torch.bool).share_memory_()
        _boards.add(self)

    def start_worker(self, worker_id: int) -> None:
        """Prepare a worker process: it ends when its parent ends or says so, and not before."""
        if sys.platform.startswith("linux"):
            ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
        # Job schedulers signal all processes. A training still needs its workers for a moment.
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
        self.numbers[worker.id].numpy()[:] = os.getpid(), 1, time.monotonic_ns()

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


def _hide_broken_connections(kind: type[BaseException], error: Any, traceback: Any) -> None:
    if not issubclass(kind, ConnectionError | EOFError):
        sys.__excepthook__(kind, error, traceback)


def explain_dead_worker(error: RuntimeError) -> LoaderError | None:
    """Return the error with the clip, if torch says that a loader worker has died; else None."""
    # torch raises it in a signal handler: wherever the main thread is. The cause names the signal.
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


@dataclass(eq=False)
class _Clips:
    """Dataset dicts, the mapper that reads them, and the board."""

    dicts: Any  # a sequence
    mapper: Callable[[dict], dict | list[dict]]
    board: WorkerBoard

    def read(self, index: int) -> dict | list[dict] | Exception:
        """Return the model input of a dataset dict, or a list of them, or the error."""
        dataset_dict = self.dicts[index]
        self.board.begin(dataset_dict)
        try:
            return self.mapper(dataset_dict)
        except (AVSFError, OSError) as error:
            return error  # raised in a worker, it would bring the worker's traceback
        finally:
            self.board.end()


class ClipItems(_Clips, Dataset):
    """Model inputs by dataset index; or by (position, index), then with draws of that position."""

    seed = 0  # of the draws

    def __len__(self) -> int:
        return len(self.dicts)

    def __getitem__(self, item: int | tuple[int, int]) -> dict | list[dict] | Exception:
        if not isinstance(item, int):
            position, item = item
            seed_draws(self.seed, CLIP_DRAWS, position)
        return self.read(item)


@dataclass(eq=False)
class ClipStream(_Clips, IterableDataset):
    """Batches of model inputs in the order of a sampler that is iterated in the workers."""

    sampler: Any  # of lists of indices

    def __len__(self) -> int:
        return len(self.sampler)

    def __iter__(self) -> Iterator[list]:
        return ([self.read(index) for index in batch] for batch in self.sampler)


def _flatten(items: list) -> list:
    """Join the model inputs of a batch, of which an item may be a list of several."""
    return [x for item in items for x in (item if isinstance(item, list) else [item])]


class ClipLoader(DataLoader):
    """torch's loader, which ends with an error that names the clip if a worker hangs or dies.

    A :class:`ClipStream` needs ``batch_size`` None. After ``timeout`` seconds without any batch a
    worker counts as hung; 0 for no limit. ``kwargs`` are other arguments of torch's loader.
    """

    def __init__(
        self, dataset: ClipItems | ClipStream, *, num_workers: int, timeout: float, **kwargs: Any
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
        """Start the workers, and return an iterator over lists of model inputs.

        It raises a LoaderError if a worker hangs or has died, and the errors of the mapper.
        """
        return self._watch(super().__iter__())

    def _watch(self, iterator: Any) -> Iterator[list]:
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
                        failure = LoaderError(
                            f"{self.board.find_clip()}: nothing for {self.timeout:g} s (DATALOADER."
                            "TIMEOUT_SEC; 0 for no limit). Check that the file can be read"
                        )
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


@dataclass(eq=False)
class TrainLoader(Iterable[list[dict]]):
    """Endless training batches that depend on the seed and the iteration only.

    A loader that starts at iteration i gives the batches that a loader from 0 gives from its i-th
    on, bit for bit, with any number of workers. The random state of the process is set before each
    batch is given, so that the draws of the model resume, too.
    """

    clips: ClipItems
    build_sampler: Callable[[int], Iterable[int]]  # from a seed, endless indices of this process
    _: KW_ONLY
    seed: int  # of the order and of all draws; a new one counts from the next __iter__ on
    batch_size: int  # clips of a batch of this process
    num_workers: int
    timeout: float  # see ClipLoader
    groups: np.ndarray | None = None  # see training_batches
    start_iter: int = 0  # training iteration of the first batch, for the next __iter__
    batch: list[dict] = field(default_factory=list)  # the last one that was given

    def __iter__(self) -> Iterator[list[dict]]:
        # A generator: nothing is read, and no worker started, before the first batch is asked for.
        self.clips.seed = seed = self.seed
        start = self.start_iter
        indices = self.build_sampler(seed)
        batches = training_batches(indices, self.batch_size, start=start, groups=self.groups)
        options: dict = {"num_workers": self.num_workers, "timeout": self.timeout}
        loader = ClipLoader(self.clips, batch_sampler=batches, **options)
        for iteration, batch in enumerate(loader, start):
            self.batch = batch
            # After the batch is read: without workers this process has drawn for its clips.
            seed_draws(seed, MODEL_DRAWS, iteration, comm.get_rank())
            yield batch


def build_training_sampler(cfg: CfgNode, dataset: DatasetFromList, seed: int) -> Iterable[int]:
    """Build the sampler DATALOADER.SAMPLER_TRAIN of Detectron2 with a seed."""
    cfg = cfg.clone()
    cfg.defrost()
    # Releases of Detectron2 after 0.6 seed some samplers with SEED, 0.6 and the other samplers
    # with a draw of NumPy.
    cfg.SEED, cfg.DATALOADER.ASPECT_RATIO_GROUPING, cfg.DATALOADER.NUM_WORKERS = seed, False, 0
    state = np.random.get_state()
    np.random.seed(seed)
    try:
        loader = build_detection_train_loader(cfg, dataset=dataset, mapper=dict)
    except (ValueError, KeyError, AssertionError) as error:
        name = cfg.DATALOADER.SAMPLER_TRAIN
        raise AVSFError(
            f"DATALOADER.SAMPLER_TRAIN '{name}' cannot be used with this dataset: {error!r}"
        ) from None
    finally:
        np.random.set_state(state)
    return loader.dataset.sampler


def training_batches(
    indices: Iterable[int], batch_size: int, *, start: int = 0, groups: np.ndarray | None = None
) -> Iterator[list[tuple[int, int]]]:
    """Yield the batches of this process from the ``start``-th on, of (position, dataset index).

    The position counts the clips of all processes. ``indices`` are the endless dataset indices of
    this process from the first on, ``batch_size`` counts its clips. With ``groups``, 0 or 1 for
    each dataset index, a batch has clips of one group (wide or tall images).
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
    """Set the random states of Python, NumPy and torch from a key, e.g. (seed, iteration, rank)."""
    seed = derive_seed(*key)
    random.seed(seed)
    np.random.seed(seed)
    # torch.manual_seed formats a traceback for CUDA, which loader workers never use.
    torch.default_generator.manual_seed(seed)
    if torch.cuda.is_initialized():
        torch.cuda.manual_seed_all(seed)
