"""Two processes with DropPathway on give the gradients of one."""

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from detectron2.engine import create_ddp_model
from detectron2.modeling import build_model
from detectron2.utils.events import EventStorage

from .builders import make_cfg, randomize
from .test_clip_classifier import make_clips

pytestmark = pytest.mark.usefixtures("few_blocks")
KEPT, DROPPED = 1, 0  # seeds whose first draw is above and below the rate
CASES = ((KEPT, KEPT), (DROPPED, DROPPED), (DROPPED, KEPT))  # seeds of the two processes
SETTINGS = (("a_fs",), ("a_f_s",), ("a_fs", True), ("a_fs", False, True))  # arguments of make_model


def make_model(fusion_type: str, avsync: bool = False, is_fixed: bool = False) -> torch.nn.Module:
    """Batch norms over 2 clips: those of a process of two, or of half a process of four."""
    cfg = make_cfg(audio=True, NORM="SubBN", SUBBN_CLIPS=2, FREEZE=is_fixed)
    cfg.MODEL.AUDIO.LATERAL_GAIN = is_fixed  # audio on a SlowFast, phase 1
    cfg.MODEL.META_ARCHITECTURE = "ClipClassifier"
    cfg.MODEL.CLIP_HEAD.NUM_CLASSES, cfg.MODEL.CLIP_HEAD.DROPOUT = [5], 0.0
    cfg.MODEL.AUDIO.FUSION_TYPE, cfg.MODEL.AUDIO.DROP_PATHWAY = fusion_type, 0.6
    cfg.MODEL.AVSYNC.ENABLED = avsync
    torch.manual_seed(5)
    model = randomize(build_model(cfg)).train()
    if avsync:
        model.avsync_head.easy_ratio = 0.0  # an easy negative is of another clip of the process
    return model


def gradients(model: torch.nn.Module, clips: list[dict], drop_seed: int) -> dict[str, torch.Tensor]:
    model.zero_grad()
    torch.manual_seed(drop_seed)
    with EventStorage():
        sum(model(clips).values()).backward()
    learned = ((n.removeprefix("module."), p) for n, p in model.named_parameters())
    return {name: p.grad.clone() for name, p in learned if p.requires_grad}


def run_rank(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", f"file://{folder}/rendezvous", rank=rank, world_size=2)
    clips = make_clips(4)[2 * rank : 2 * rank + 2]
    results = {}
    for settings in SETTINGS:
        # No search for unused parameters: a step whose graph lacks one would hang or fail.
        model = create_ddp_model(make_model(*settings), broadcast_buffers=False, device_ids=None)
        results[settings] = [gradients(model, clips, seeds[rank]) for seeds in CASES]
    if rank == 0:
        torch.save(results, f"{folder}/gradients.pth")
    dist.destroy_process_group()


@pytest.fixture(scope="module")
def results(tmp_path_factory, few_blocks) -> dict[tuple, list[dict[str, torch.Tensor]]]:
    """Gradients of two processes, which are started once: settings -> those of each case."""
    folder = tmp_path_factory.mktemp("ranks")
    # New interpreters would import torch again, which takes seconds.
    mp.start_processes(run_rank, args=(str(folder),), nprocs=2, start_method="fork")
    return torch.load(folder / "gradients.pth")


@pytest.mark.parametrize("settings", SETTINGS)
def test_two_processes_give_the_gradients_of_one(results, settings):
    model, clips = make_model(*settings), make_clips(4)
    for (first, second), ours in zip(CASES, results[settings], strict=True):
        if first == second:
            expected = gradients(model, clips, first)
        else:  # each process draws for itself
            pair = gradients(model, clips[:2], first), gradients(model, clips[2:], second)
            expected = {name: (pair[0][name] + pair[1][name]) / 2 for name in pair[0]}
        for name, gradient in expected.items():
            difference = (ours[name] - gradient).norm()
            assert difference <= 2e-3 * gradient.norm() + 1e-6, name  # rounding
        audio = max(x.abs().max() for name, x in expected.items() if ".audio." in name)
        assert (audio > 0) == (KEPT in (first, second) or settings[1:2] == (True,))
