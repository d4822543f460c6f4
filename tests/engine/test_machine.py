"""Devices, shared memory."""

import shutil
from types import SimpleNamespace

import pytest
import torch

from avsf_det.engine import machine
from avsf_det.engine.defaults import load_config
from avsf_det.structures import ConfigError

MINI = "configs/mini/avsf_mini.yaml"


def give_gpus(monkeypatch, number):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: number > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: number)


@pytest.mark.parametrize(("gpus", "used"), [(0, "cpu"), (1, "cuda")])
def test_the_cpu_replaces_the_default_device_and_says_so(monkeypatch, gpus, used):
    give_gpus(monkeypatch, gpus)
    notes = []
    assert load_config(notes=notes).MODEL.DEVICE == used
    assert notes == ([] if gpus else ["There is no CUDA device: MODEL.DEVICE is cpu"])


@pytest.mark.parametrize(("gpus", "asked"), [(1, "cuda"), (1, "cuda:0"), (8, "cuda:7"), (0, "cpu")])
def test_a_device_that_is_there_is_used(monkeypatch, gpus, asked):
    give_gpus(monkeypatch, gpus)
    assert load_config(options=["MODEL.DEVICE", asked]).MODEL.DEVICE == asked


@pytest.mark.parametrize(
    ("gpus", "asked", "message"),
    [
        (0, "cuda", "machine lacks; it has cpu. Give"),
        (0, "mps", "machine lacks"),
        (0, "cuda:0", "machine lacks"),
        (2, "cuda:7", "machine lacks; it has cpu, 2 of cuda"),
        (2, "gpu", "PyTorch does not know"),
        (2, "", "PyTorch does not know"),
        (2, "CUDA", "PyTorch does not know"),
        (2, "meta", "runs on cpu, cuda or mps"),
    ],
)
def test_a_device_that_is_not_there_is_named(monkeypatch, gpus, asked, message):
    give_gpus(monkeypatch, gpus)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    with pytest.raises(ConfigError, match=f"MODEL.DEVICE is '{asked}'.*{message}"):
        load_config(options=["MODEL.DEVICE", asked])


def test_little_shared_memory_is_named_with_the_remedy(monkeypatch):
    # 8 clips of 8 frames of 96 x 96 and of 64 x 40 audio values: 1.85 MB.
    batch = 8 * (3 * 8 * 96 * 96 + 4 * 64 * 40)

    def check(free, **keys):
        monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=free))
        monkeypatch.setattr(machine.os.path, "isdir", lambda path: True)
        cfg = load_config(MINI)
        cfg.DATALOADER.merge_from_list([x for pair in keys.items() for x in pair])
        return machine.check_shared_memory(cfg, 1)

    assert check(64e9) == []
    assert check(4 * batch, NUM_WORKERS=2) == []
    (note,) = check(4 * batch - 1, NUM_WORKERS=2)
    assert "--shm-size" in note
    with pytest.raises(ConfigError, match=r"/dev/shm has 4 MB free, 2 loader workers.*--shm-size"):
        check(2 * batch - 1, NUM_WORKERS=2)
    assert check(0, NUM_WORKERS=0) == []
