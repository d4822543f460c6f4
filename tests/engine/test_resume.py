"""A training that is killed and resumed ends bit for bit as one that was not."""

import json

import pytest

from . import actions
from .training import MAX_ITER, RaiseAt, differences, make_training, read_state, run

pytestmark = [pytest.mark.usefixtures("few_blocks"), pytest.mark.xdist_group("long")]


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


def test_resuming_changes_no_bit(folder, unbroken):
    """Broken off before iteration 3; 0 and 1 are saved. Other numbers of workers."""
    options = ("OUTPUT_DIR", str(folder / "broken"), "DATALOADER.NUM_WORKERS")
    with pytest.raises(KeyboardInterrupt):
        run(make_training(folder, *options, 1), RaiseAt(3, KeyboardInterrupt()))
    cfg = make_training(folder, *options, 2)
    run(cfg, resume=True)
    assert differences(read_state(cfg), unbroken) == []
    lines = (folder / "broken" / "metrics.json").read_text().splitlines()
    iterations = [json.loads(line)["iteration"] for line in lines]
    assert len(iterations) == len(set(iterations))
    assert max(iterations) == MAX_ITER - 1


def test_resuming_audio_on_a_fixed_slowfast_changes_no_bit(folder):
    """The optimizer has the gains, and nothing of what is fixed."""
    graft = ("MODEL.AUDIO.LATERAL_GAIN", True, "MODEL.SLOWFAST.FREEZE", True)
    whole, broken = ((*graft, "OUTPUT_DIR", str(folder / name)) for name in ("whole", "parts"))
    trainer = run(make_training(folder, *whole))
    with pytest.raises(KeyboardInterrupt):
        run(make_training(folder, *broken), RaiseAt(3, KeyboardInterrupt()))
    cfg = make_training(folder, *broken)
    run(cfg, resume=True)
    state = read_state(cfg)
    assert differences(state, read_state(make_training(folder, *whole))) == []
    learned = [p for group in trainer.optimizer.param_groups for p in group["params"]]
    assert all(p.requires_grad for p in learned)
    gains = [x for name, x in state["model"].items() if name.endswith(".gain")]
    assert gains and all(x.any() for x in gains)
