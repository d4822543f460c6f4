"""Loaders on a dataset of names: draws that resume, workers that hang, die or are orphaned."""

import multiprocessing
import os
import random
import signal
import time
from itertools import islice

import numpy as np
import pytest
import torch
from detectron2.data.samplers import RepeatFactorTrainingSampler, TrainingSampler
from torch.utils.data import _utils

from avsf_det.data.loader import (
    ClipItems,
    ClipLoader,
    LoaderError,
    TrainLoader,
    WorkerBoard,
    training_batches,
)
from avsf_det.structures import AVSFError

DICTS = [{"image_id": f"video,{i}", "file_name": f"/clips/{i}.mp4"} for i in range(7)]


def draw(clip: dict) -> dict:
    """Draws of all three generators, as many as the clip's number."""
    count = int(clip["image_id"].partition(",")[2]) + 1
    draws = [random.random(), *np.random.rand(count), float(torch.rand(()))]
    return {"image_id": clip["image_id"], "draws": draws}


def make_loader(mapper=draw, *, workers=0, seed=5, timeout=0.0, sampler=TrainingSampler):
    return TrainLoader(
        ClipItems(DICTS, mapper, WorkerBoard(workers)),
        lambda seed: sampler(len(DICTS), seed=seed),
        seed=seed,
        batch_size=2,
        num_workers=workers,
        timeout=timeout,
    )


def read(loader: TrainLoader, count: int, start: int = 0) -> list:
    """Batches, each with a draw as the model makes it."""
    loader.start_iter = start
    return [(batch, float(torch.rand(()))) for batch in islice(loader, count)]


@pytest.mark.parametrize("workers", [0, 1, 3])
def test_batches_and_draws_depend_on_seed_and_iteration_alone(workers):
    expected = read(make_loader(), 9)
    torch.rand(workers)  # what happened before has no influence
    assert read(make_loader(workers=workers), 5, start=4) == expected[4:]
    assert read(make_loader(workers=workers, seed=6), 5, start=4) != expected[4:]
    draws = [clip["draws"][0] for batch, _ in expected for clip in batch]
    assert len(set(draws)) == len(draws)  # also those of the same clip in another epoch


def test_any_endless_sampler_continues_where_it_stood():
    def sampler(size, seed):
        return RepeatFactorTrainingSampler(torch.linspace(1, 2.5, size), seed=seed)

    expected = read(make_loader(sampler=sampler), 12)
    assert read(make_loader(sampler=sampler), 4, start=8) == expected[8:]


@pytest.mark.parametrize("start", range(6))
def test_batches_of_one_shape_continue_where_they_stood(start):
    order = [0, 1, 2, 2, 0, 1, 1, 2, 0, 0, 2, 1, 0, 1, 1]
    groups = np.array([0, 1, 1])
    expected = list(training_batches(order, 2, groups=groups))
    assert expected[:2] == [[(1, 1), (2, 2)], [(0, 0), (4, 0)]]
    assert list(training_batches(order, 2, start=start, groups=groups)) == expected[start:]


def stop_at_4(clip: dict) -> dict:
    if clip["image_id"] == "video,4":
        os.kill(os.getpid(), signal.SIGSTOP)
    return clip


def die_at_4(clip: dict) -> dict:
    if clip["image_id"] == "video,4":
        os.kill(os.getpid(), signal.SIGKILL)
    return clip


def fail_at_4(clip: dict) -> dict:
    if clip["image_id"] == "video,4":
        raise AVSFError("clip 4 is bad")
    return clip


@pytest.mark.parametrize(
    "mapper, timeout, message",
    [
        (stop_at_4, 1, r"reading clip video,4 \(/clips/4.mp4\): nothing for 1 s \(DATALOADER.TIME"),
        (die_at_4, 60, r"loader worker 0, reading clip video,4 .*memory"),
        (fail_at_4, 60, "^clip 4 is bad$"),
    ],
)
def test_a_worker_that_hangs_dies_or_fails_is_an_error_with_its_clip(
    mapper, timeout, message, monkeypatch
):
    monkeypatch.setattr(_utils, "MP_STATUS_CHECK_INTERVAL", 0.1)
    board = WorkerBoard(1)
    items = ClipItems(DICTS, mapper, board)
    loader = ClipLoader(
        items, batch_size=1, num_workers=1, timeout=timeout, prefetch_factor=len(DICTS)
    )
    batches = iter(loader)
    if mapper is stop_at_4:  # the worker may take longer than the limit to come that far
        assert wait_until(lambda: "reading clip video,4" in board.find_clip())
    with pytest.raises(AVSFError, match=message):
        list(batches)
    assert wait_until(lambda: not multiprocessing.active_children())
    assert issubclass(LoaderError, AVSFError)


def process_exists(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def wait_until(condition, seconds: float = 60.0) -> bool:
    """Return whether a condition comes true; a loaded machine may take its time."""
    end = time.monotonic() + seconds
    while not condition() and time.monotonic() < end:
        time.sleep(0.02)
    return bool(condition())


def read_for_ever(pids) -> None:
    """A training that never ends, with two workers in the middle of a clip."""
    loader = make_loader(lambda clip: time.sleep(600), workers=2)
    pids.put(loader.clips.board.numbers)
    next(iter(loader))


def test_workers_ignore_the_signals_of_a_group_and_die_with_their_process():
    context = multiprocessing.get_context("fork")
    queue = torch.multiprocessing.get_context("fork").SimpleQueue()
    parent = context.Process(target=read_for_ever, args=(queue,))
    parent.start()
    numbers = queue.get()
    assert wait_until(lambda: bool(numbers[:, 1].all()))  # both read
    pids = numbers[:, 0].tolist()
    for pid in pids:
        os.kill(pid, signal.SIGINT)
        os.kill(pid, signal.SIGTERM)
    time.sleep(0.2)
    assert all(process_exists(pid) for pid in pids)
    parent.kill()
    parent.join()
    assert wait_until(lambda: not any(process_exists(pid) for pid in pids))
