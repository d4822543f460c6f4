"""Checkpoints that a kill or a full disk damages, and results that need all weights."""

import logging
import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from torch import nn

from avsf_det.checkpoint import AVSFCheckpointer, CheckpointError, SafeCheckpointer

from .test_avsf_checkpoint import load, make_classifier, make_model


@contextmanager
def full_disk(size: int) -> Iterator[None]:
    """No file can be larger than ``size`` bytes."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


@pytest.fixture
def checkpointer(tmp_path: Path) -> SafeCheckpointer:
    """Checkpoints of iterations 0, 1, 2 and the final one; the weight is the iteration."""
    checkpointer = SafeCheckpointer(nn.Linear(40, 40), str(tmp_path))
    for i, name in enumerate(["model_0000000", "model_0000001", "model_0000002", "model_final"]):
        nn.init.constant_(checkpointer.model.weight, i)
        checkpointer.save(name, iteration=i)
    nn.init.constant_(checkpointer.model.weight, -1)
    return checkpointer


def resumed(checkpointer: SafeCheckpointer) -> int:
    """Return the iteration that is resumed from."""
    iteration = checkpointer.resume_or_load("", resume=True)["iteration"]
    assert checkpointer.model.weight.eq(iteration).all()
    return iteration


def tear(path: Path, how: str) -> None:
    content = bytearray(path.read_bytes())
    if how == "flipped":
        content[len(content) // 2] ^= 1
    path.write_bytes({"torn": content[:-100], "empty": b"", "flipped": content}[how])


@pytest.mark.parametrize("how", ["torn", "empty", "flipped", "missing"])
def test_a_damaged_last_checkpoint_is_replaced_by_the_newest_whole_one(
    checkpointer, tmp_path, caplog, how
):
    caplog.set_level(logging.WARNING)
    assert resumed(checkpointer) == 3 and not caplog.records
    for name, expected in (("model_final", 2), ("model_0000002", 1)):
        path = tmp_path / f"{name}.pth"
        path.unlink() if how == "missing" else tear(path, how)
        caplog.clear()
        assert resumed(checkpointer) == expected
        (record,) = caplog.records
        assert "model_final.pth" in record.message
        assert f"from {tmp_path}/model_000000{expected}.pth, the newest whole" in record.message


@pytest.mark.parametrize("tag", [None, b"", b"model_fin", b"\xff\x00\xfe", b"other.pth"])
def test_a_missing_or_torn_name_of_the_last_checkpoint(checkpointer, tmp_path, caplog, tag):
    path = tmp_path / "last_checkpoint"
    path.unlink() if tag is None else path.write_bytes(tag)
    assert checkpointer.has_checkpoint()
    with caplog.at_level(logging.WARNING):
        assert resumed(checkpointer) == 3
    assert "model_final.pth, the newest whole checkpoint" in caplog.text


def test_later_checkpoints_of_another_training_are_not_resumed(checkpointer, tmp_path):
    checkpointer.tag_last_checkpoint("model_0000001.pth")
    tear(tmp_path / "model_0000001.pth", "torn")
    assert resumed(checkpointer) == 0


def test_no_whole_checkpoint_is_an_error_and_no_fresh_start(checkpointer, tmp_path):
    for path in tmp_path.glob("*.pth"):
        tear(path, "torn")
    with pytest.raises(
        CheckpointError, match=r"no checkpoint to resume from is whole.*_final\.pth"
    ):
        checkpointer.resume_or_load("", resume=True)
    for path in tmp_path.glob("*.pth"):
        path.unlink()  # the name of the last one is still there
    with pytest.raises((CheckpointError, OSError), match=r"no checkpoint .*model_final\.pth"):
        checkpointer.resume_or_load("", resume=True)
    (tmp_path / "last_checkpoint").unlink()
    assert checkpointer.resume_or_load("", resume=True) == {}


def test_a_full_disk_leaves_the_old_files_and_a_later_save_succeeds(checkpointer, tmp_path):
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    path = f"{tmp_path}/model_final.pth"
    with full_disk(1000), pytest.raises(OSError, match=f"File too large: '{path}'"):
        checkpointer.save("model_final", iteration=4)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before
    nn.init.constant_(checkpointer.model.weight, 4)
    checkpointer.save("model_final", iteration=4)
    assert resumed(checkpointer) == 4


def test_a_kill_while_the_checkpoint_is_written(checkpointer, tmp_path, monkeypatch):
    if (child := os.fork()) == 0:
        monkeypatch.setattr(os, "replace", lambda *_: os._exit(9))
        checkpointer.save("model_final", iteration=4)
    os.waitpid(child, 0)
    assert resumed(checkpointer) == 3


def test_results_need_all_weights(tmp_path: Path):
    model = make_model()
    state = model.state_dict()
    load(model, state, tmp_path, required="model")
    counters = {n: x for n, x in state.items() if not n.endswith("num_batches_tracked")}
    load(model, counters, tmp_path, required="model")

    backbone = {n: x for n, x in state.items() if n.startswith("backbone.")}
    load(model, backbone, tmp_path, required="backbone")
    message = r"head: roi_heads\.predictor\.weight and 1 more, not in the file\."
    with pytest.raises(CheckpointError, match=message):
        load(model, backbone, tmp_path, required="model")

    nine = {**state, "roi_heads.predictor.weight": torch.zeros(9, 352)}
    width = state["roi_heads.predictor.weight"].shape[1]
    message = rf"head: .*, \(9, 352\) in the file, \(5, {width}\) in the model\."
    with pytest.raises(CheckpointError, match=message):
        load(model, nine, tmp_path, required="model")
    load(model, nine, tmp_path, required="backbone")

    del state[next(name for name in state if name.endswith("running_var"))]
    for required in ("model", "backbone"):
        with pytest.raises(CheckpointError, match=r"backbone: .*running_var, not in the"):
            load(model, state, tmp_path, required=required)
    load(model, state, tmp_path)  # a training may start so

    for kind in (AVSFCheckpointer, SafeCheckpointer):
        with pytest.raises(CheckpointError, match=r"MODEL\.WEIGHTS is empty"):
            kind(model, required="model").resume_or_load("", resume=True)


def test_nonlocal_blocks_that_are_the_identity_are_not_needed(tmp_path: Path):
    state, model = make_model().state_dict(), make_model(nonlocal_=True)
    load(model, state, tmp_path, required="model")
    nn.init.ones_(model.backbone.slow["res4"].nonlocal1.out.norm.weight)
    with pytest.raises(CheckpointError, match=r"backbone: backbone\.slow\.res4\.nonlocal1"):
        load(model, state, tmp_path, required="model")


def test_training_says_what_starts_at_random(tmp_path: Path, caplog):
    with caplog.at_level(logging.WARNING):
        load(make_classifier({"verb": 5, "noun": 5}), make_model().state_dict(), tmp_path)
        AVSFCheckpointer(make_model()).load("")
    assert "start at random: head.* (4)" in caplog.text
    assert "MODEL.WEIGHTS is empty: all weights start at random" in caplog.text
