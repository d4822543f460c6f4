"""Processes of a training: one, several on the CPU, those of torchrun."""

import functools
import os
import sys

import pytest
import torch
import torch.multiprocessing as mp
from detectron2.engine import defaults
from detectron2.utils import comm

from avsf_det.engine.launch import launch
from avsf_det.engine.ranks import SLURM, TORCHRUN, Ranks, read_ranks
from avsf_det.structures import AVSFError, ConfigError


def record(folder, fail=""):
    rank = comm.get_rank()
    total = torch.tensor([rank + 1.0])
    torch.distributed.all_reduce(total)
    if fail == "error" and rank == 1:
        raise AVSFError("a.csv:3: is bad")
    if fail == "exit" and rank == 1:
        sys.exit(143)
    if fail == "signal" and rank == 1:
        os.kill(os.getpid(), 9)
    text = f"{comm.get_world_size()} {comm.get_local_rank()} {comm.get_local_size()} {total.item()}"
    (folder / str(rank)).write_text(text)
    assert defaults.create_ddp_model(torch.nn.Linear(1, 1), broadcast_buffers=False)


get_context = mp.get_context


@pytest.fixture
def forks(monkeypatch):
    """Fork the processes: new interpreters would import torch again, which takes seconds."""
    start = functools.partial(mp.start_processes, start_method="fork")
    monkeypatch.setattr(mp, "spawn", start)
    monkeypatch.setattr(mp, "get_context", lambda method: get_context("fork"))


def test_one_process_is_this_one(tmp_path):
    for number in (0, 1):
        seen = []
        launch(seen.append, "x", num_gpus=number)
        assert seen == ["x"]


def test_several_processes_on_the_cpu_are_one_group(tmp_path, forks):
    launch(record, tmp_path, num_gpus=2, on_cpu=True)
    assert [(tmp_path / str(rank)).read_text() for rank in range(2)] == ["2 0 2 3.0", "2 1 2 3.0"]


def test_an_error_of_one_process_is_the_error_of_the_run(tmp_path, forks):
    with pytest.raises(AVSFError, match=r"^a\.csv:3: is bad$"):
        launch(record, tmp_path, "error", num_gpus=2, on_cpu=True)
    with pytest.raises(AVSFError, match="process 1 of 2 was ended by SIGKILL"):
        launch(record, tmp_path, "signal", num_gpus=2, on_cpu=True)
    with pytest.raises(SystemExit) as end:
        launch(record, tmp_path, "exit", num_gpus=2, on_cpu=True)
    assert end.value.code == 143


@pytest.mark.parametrize("names", [TORCHRUN, SLURM])
def test_processes_of_torchrun_or_srun_join_one_group(tmp_path, monkeypatch, names):
    def run(rank):
        os.environ |= dict(zip(names, (str(rank), str(rank), "2", "2"), strict=True))
        os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
        launch(record, tmp_path, num_gpus=1, on_cpu=True)

    store = torch.distributed.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    port = str(store.port)
    if names == TORCHRUN:  # whose store is there already
        monkeypatch.setenv("TORCHELASTIC_USE_AGENT_STORE", "True")
    else:
        del store
    mp.start_processes(run, nprocs=2, start_method="fork")
    assert (tmp_path / "1").read_text() == "2 1 2 3.0"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"num_gpus": 2}, "2 processes on this machine need 2 GPUs; it has 0"),
        ({"num_gpus": 2, "num_machines": 2, "machine_rank": 2}, "--machine-rank is 2"),
        ({"num_gpus": 1, "num_machines": 2, "on_cpu": True}, "needs --dist-url"),
    ],
)
def test_bad_numbers_of_processes_are_named(monkeypatch, arguments, message):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ConfigError, match=message):
        launch(print, **arguments)


@pytest.mark.parametrize(
    ("numbers", "arguments", "message"),
    [
        ("0 0 2 2", {"num_gpus": 2}, "leave out --num-gpus"),
        ("x 0 2 2", {"num_gpus": 1}, "RANK is 'x'"),
        ("1 0 2 2", {"num_gpus": 1}, "process 1 of 2 is number 0 of 2 on its machine"),
        ("0 0 3 2", {"num_gpus": 1}, "each machine needs as many processes"),
    ],
)
def test_torchrun_excludes_num_gpus_and_bad_numbers(monkeypatch, numbers, arguments, message):
    for name, number in zip(TORCHRUN, numbers.split(), strict=True):
        monkeypatch.setenv(name, number)
    with pytest.raises(ConfigError, match=message):
        launch(print, **arguments)


@pytest.mark.parametrize(
    ("nodes", "first"),
    [
        ("gpu[003-005,9],gpu2", "gpu003"),
        ("gpu[7,9]", "gpu7"),
        ("a-1.cluster,b", "a-1.cluster"),
        ("rack[1-2]-x", "rack1-x"),
    ],
)
def test_numbers_and_address_of_srun(monkeypatch, nodes, first):
    for name, number in zip(SLURM, ("9", "1", "16", "8(x2)"), strict=True):
        monkeypatch.setenv(name, number)
    monkeypatch.setenv("SLURM_STEP_NODELIST", nodes)
    monkeypatch.setenv("SLURM_JOB_ID", "12345")
    monkeypatch.setenv("SLURM_STEP_ID", "2")
    assert read_ranks() == Ranks(9, 1, 16, 8, f"tcp://{first}:20539")
    monkeypatch.setenv("SLURM_STEP_TASKS_PER_NODE", "8(x2),4")
    with pytest.raises(ConfigError, match=r"TASKS_PER_NODE is '8\(x2\),4'"):
        read_ranks()


def test_a_batch_script_without_srun_is_one_process(monkeypatch):
    for name in ("SLURM_PROCID", "SLURM_LOCALID", "SLURM_NTASKS"):
        monkeypatch.setenv(name, "0")
    assert read_ranks() == Ranks()


def test_one_process_of_srun_on_each_machine_may_start_the_others(monkeypatch, tmp_path):
    for name, number in zip(SLURM, ("0", "0", "2", "1(x2)"), strict=True):
        monkeypatch.setenv(name, number)
    with pytest.raises(ConfigError, match="needs --dist-url"):
        launch(print, num_gpus=2, num_machines=2, on_cpu=True)
    with pytest.raises(ConfigError, match="leave out --num-gpus"):
        launch(print, num_gpus=2, on_cpu=True)
