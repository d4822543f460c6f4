"""Trainings that are killed at random points end bit for bit as those that were not."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ava_tools import make_mini_dataset

from ..engine.training import differences

pytestmark = pytest.mark.soak

ROOT = Path(__file__).resolve().parents[2]
CONFIG = str(ROOT / "configs" / "mini" / "avsf_mini.yaml")
NUM_KILLS = 10  # for each number of processes
# All random draws: clips, augmentations, DropPathway, dropout, negatives. Checkpoints, precise BN
# and evaluations at different periods.
OPTIONS = """
    MODEL.SLOWFAST.WIDTH 8 MODEL.ROI_ACTION_HEAD.DROPOUT 0.5 MODEL.AUDIO.DROP_PATHWAY 0.5
    MODEL.AUDIO.DROP_FILL mean MODEL.AVSYNC.ENABLED True INPUT.AUDIO.NEGATIVES True
    INPUT.MIN_SIZE_TRAIN (48,56) INPUT.CROP.SIZE [48,48] INPUT.MIN_SIZE_TEST 48
    SOLVER.IMS_PER_BATCH 4 SOLVER.BASE_LR 0.05 SOLVER.MAX_ITER 24 SOLVER.WARMUP_ITERS 10
    SOLVER.CHECKPOINT_PERIOD 2 TEST.EVAL_PERIOD 12 TEST.PRECISE_BN.ENABLED True
    TEST.PRECISE_BN.NUM_ITER 2
""".split()


@pytest.fixture(scope="module")
def environment(tmp_path_factory):
    folder = tmp_path_factory.mktemp("datasets")
    sizes = ["--num-train", "2", "--num-val", "1", "--workers", "2"]
    assert make_mini_dataset.main(["--output", str(folder / "ava_mini"), *sizes]) == 0
    return {**os.environ, "DETECTRON2_DATASETS": str(folder), "OMP_NUM_THREADS": "1"}


class Training:
    """Processes of one training, in a session of their own."""

    def __init__(self, environment, size: int, folder: Path, workers: int, resume: bool):
        self.log = folder.with_suffix(".log")
        folder.mkdir(exist_ok=True)
        meeting = folder / "meeting"
        meeting.unlink(missing_ok=True)
        options = ["--config-file", CONFIG, *["--resume"] * resume, *OPTIONS]
        options += ["OUTPUT_DIR", str(folder), "DATALOADER.NUM_WORKERS", str(workers)]
        with open(self.log, "w") as log:
            self.processes = [
                subprocess.Popen(
                    [sys.executable, "-m", "tests.robustness.rank"]
                    + [str(rank), str(size), str(meeting), *options],
                    cwd=ROOT,
                    env=environment,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                )
                for rank in range(size)
            ]

    def is_over(self) -> bool:
        return all(p.poll() is not None for p in self.processes)

    def wait_for_start(self) -> None:
        while "Starting training" not in self.log.read_text() and not self.is_over():
            time.sleep(0.05)

    def end(self, number: int | None = None) -> list[int]:
        """Send a signal, wait, and return the exit codes."""
        for process in self.processes:
            if number and process.poll() is None:
                os.killpg(process.pid, number)
        return [process.wait() for process in self.processes]


def read_state(folder: Path):
    import torch

    return torch.load(folder / "model_final.pth", weights_only=True)


@pytest.mark.parametrize("size", [1, 2])
def test_killed_trainings_end_as_unbroken_ones(environment, tmp_path, size, record_counts):
    started = time.monotonic()
    unbroken = Training(environment, size, tmp_path / "unbroken", 2, False)
    unbroken.wait_for_start()
    began = time.monotonic()
    assert unbroken.end() == [0] * size, unbroken.log.read_text()[-3000:]
    seconds = time.monotonic() - began
    expected = read_state(tmp_path / "unbroken")

    rng, kills, runs = random.Random(size), 0, 0
    while kills < NUM_KILLS:
        folder, used = tmp_path / f"run{runs}", []
        while True:
            used.append(rng.randrange(4))
            training = Training(environment, size, folder, used[-1], resume=True)
            training.wait_for_start()
            if kills < NUM_KILLS:
                time.sleep(rng.uniform(0, 0.2 * seconds))
            over = training.is_over()
            codes = training.end(signal.SIGKILL if kills < NUM_KILLS else None)
            if not over and kills < NUM_KILLS:
                kills += 1
                assert codes == [-signal.SIGKILL] * size
                continue
            assert codes == [0] * size, training.log.read_text()[-3000:]
            break
        runs += 1
        assert differences(read_state(folder), expected) == []
    took = f"{time.monotonic() - started:.0f} s"
    record_counts(f"kills of {size} processes", str(size), f"{kills} kills, all bit-equal, {took}")


@pytest.mark.parametrize("size", [1, 2])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signals_write_a_checkpoint_and_end_without_traceback(environment, tmp_path, size, number):
    training = Training(environment, size, tmp_path / "run", 2, False)
    training.wait_for_start()
    time.sleep(1)
    os.kill(training.processes[-1].pid, number)  # one of the processes alone
    assert training.end() == [128 + number] * size
    text = training.log.read_text()
    assert "Traceback" not in text
    assert text.count("--resume continues") == 1  # of the main process, which logs
    assert len(list((tmp_path / "run").glob("model_*.pth"))) >= 1


@pytest.mark.parametrize("rank", [0, 1])
def test_all_processes_end_within_a_minute_of_one(environment, tmp_path, rank):
    training = Training(environment, 2, tmp_path / "run", 1, False)
    training.wait_for_start()
    time.sleep(2)
    os.kill(training.processes[rank].pid, signal.SIGKILL)
    began = time.monotonic()
    codes = training.end()
    assert time.monotonic() - began < 60
    assert codes[rank] == -signal.SIGKILL
    assert codes[1 - rank] == 1
    text = training.log.read_text()
    assert f"Process {1 - rank} ends at iteration" in text
    assert "Traceback" not in text
