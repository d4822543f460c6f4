"""docs/slurm.sh requeues its job after a checkpoint on SIGUSR1, and only then."""

import os
import subprocess
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[1] / "docs" / "slurm.sh"


def write_command(path: Path, text: str) -> None:
    path.write_text(f'#!/bin/bash\nprintf "%s\\n" "$0" "$@" >> {path}.log\n{text}\n')
    path.chmod(0o755)


@pytest.mark.parametrize("code", [0, 1, 138, 143])
def test_job_is_requeued_after_a_checkpoint_alone(tmp_path, code):
    write_command(tmp_path / "srun", f"exit {code}")
    write_command(tmp_path / "scontrol", "")
    env = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "SLURM_JOB_ID": "7"}
    arguments = ["bash", SCRIPT, "--config-file", "a b.yaml", "SEED", "1"]
    assert subprocess.run(arguments, env=env, check=False).returncode == code
    started = (tmp_path / "srun.log").read_text().splitlines()
    training = ["python", "train_net.py", "--resume", "--config-file", "a b.yaml", "SEED", "1"]
    assert started[-len(training) :] == training and "--kill-on-bad-exit=1" in started
    requeued = tmp_path / "scontrol.log"
    assert requeued.exists() == (code == 138)
    if requeued.exists():
        assert requeued.read_text().splitlines()[1:] == ["requeue", "7"]
