"""A training that is killed and resumed ends bit for bit as one that was not."""

import json

import pytest

from . import actions
from .training import MAX_ITER, RaiseAt, differences, make_training, read_state, run


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("resume")
    actions.make_dataset(folder)
    yield folder
    actions.forget()


@pytest.fixture(scope="module")
def unbroken(folder):
    """State of a run in one go, which reads in this process."""
    cfg = make_training(folder, "OUTPUT_DIR", str(folder / "unbroken"))
    run(cfg)
    return read_state(cfg)


@pytest.mark.parametrize("kill_at, workers", [(3, (0, 2)), (5, (1, 0))])
def test_resuming_changes_no_bit(folder, unbroken, kill_at, workers):
    options = ("OUTPUT_DIR", str(folder / f"broken_{kill_at}"), "DATALOADER.NUM_WORKERS")
    with pytest.raises(KeyboardInterrupt):
        run(make_training(folder, *options, workers[0]), RaiseAt(kill_at, KeyboardInterrupt()))
    cfg = make_training(folder, *options, workers[1])
    run(cfg, resume=True)
    assert differences(read_state(cfg), unbroken) == []
    lines = (folder / f"broken_{kill_at}" / "metrics.json").read_text().splitlines()
    iterations = [json.loads(line)["iteration"] for line in lines]
    assert len(iterations) == len(set(iterations))
    assert max(iterations) == MAX_ITER - 1
