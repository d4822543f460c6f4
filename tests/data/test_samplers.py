import itertools
from types import SimpleNamespace

import pytest
from detectron2.utils import comm

from avsf_det.data import keyframe_mapper as samplers
from avsf_det.data.keyframe_mapper import VideoOrderSampler

# Five movies of unequal length, their keyframes mixed up.
DICTS = [
    {"file_name": f"{'edbac'[i % 5]}.mp4", "timestamp": float(i * 7 % 101)}
    for i in range(100)
    if i % 5 < 4 or i > 50
]


@pytest.mark.parametrize("processes, workers, size", [(1, 0, 1), (2, 1, 4), (3, 2, 3), (2, 4, 1)])
def test_every_keyframe_once_and_movies_in_time_order(monkeypatch, processes, workers, size):
    runs = []
    monkeypatch.setattr(comm, "get_world_size", lambda: processes)
    for rank in range(processes):
        monkeypatch.setattr(comm, "get_rank", lambda rank=rank: rank)
        sampler = VideoOrderSampler(DICTS, size)
        own = []
        for i in range(max(workers, 1)):
            worker = SimpleNamespace(id=i, num_workers=workers) if workers else None
            monkeypatch.setattr(samplers, "get_worker_info", lambda worker=worker: worker)
            own.append(list(sampler))
        assert len(sampler) == sum(map(len, own))
        runs += own
    batches = list(itertools.chain(*runs))
    # Batches are of one video, and full but for its last.
    videos = [{DICTS[i]["file_name"] for i in batch} for batch in batches]
    assert all(len(names) == 1 for names in videos)
    assert all(
        len(batch) == size or names != later
        for batch, names, later in zip(batches, videos, [*videos[1:], set()], strict=True)
    )
    indices = list(itertools.chain(*batches))
    assert sorted(indices) == list(range(len(DICTS)))
    assert max(map(len, runs)) - min(map(len, runs)) <= 2
    in_order = [(DICTS[i]["file_name"], DICTS[i]["timestamp"]) for i in indices]
    assert in_order == sorted(in_order)


def test_more_processes_than_keyframes(monkeypatch):
    monkeypatch.setattr(comm, "get_world_size", lambda: 3)
    monkeypatch.setattr(comm, "get_rank", lambda: 0)
    assert list(VideoOrderSampler(DICTS[:1])) == []
