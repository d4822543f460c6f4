"""Models on a GPU that is not there: no two devices meet, and a training step waits for none.

Fake tensors know shape and device and no values. An operation on tensors of two devices raises, and
so does one whose result or shape depends on values, for which a GPU would have to be waited for.
"""

import pytest
import torch
from detectron2.modeling import META_ARCH_REGISTRY, build_model
from detectron2.utils.events import EventStorage
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode

from .builders import make_cfg, make_inputs


class HostReads(TorchDispatchMode):
    """Record what brings values from the GPU to the host."""

    def __init__(self):
        super().__init__()
        self.found = []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        devices = {x.device.type for x in args if isinstance(x, torch.Tensor)}
        if isinstance(result, torch.Tensor) and "cuda" in devices and result.device.type == "cpu":
            self.found.append(function.name())
        return result


def make_model_cfg(name: str):
    cfg = make_cfg(audio=True, SPATIAL_STRIDES=[1, 2, 2, 2], SPATIAL_DILATIONS=[1, 1, 1, 1])
    cfg.MODEL.META_ARCHITECTURE, cfg.MODEL.DEVICE = name, "cuda"
    cfg.MODEL.SLOWFAST.NONLOCAL.RES4 = [1]
    cfg.MODEL.CLIP_HEAD.NUM_CLASSES = [5]
    cfg.MODEL.AVSYNC.ENABLED = True
    return cfg


def to_fake(mode: FakeTensorMode, clips: list[dict]) -> list[dict]:
    """Return the clips with fake tensors on the CPU, as a loader gives them; boxes stay."""
    return [
        {k: mode.from_tensor(v) if isinstance(v, torch.Tensor) else v for k, v in clip.items()}
        for clip in clips
    ]


def make_clips(name: str) -> list[dict]:
    clips = make_inputs()
    for clip in clips:
        clip["labels"] = {"action": torch.tensor(3)}
        if name == "AVPretrainer":
            clip["frames"] = clip["frames"][..., :48].contiguous()  # rotated: square
    return clips


@pytest.fixture(params=["ActionDetector", "ClipClassifier", "AVPretrainer"])
def name(request) -> str:
    return request.param


@pytest.mark.parametrize("dtype, fill", [("", "mean"), ("bfloat16", "zeros")])
def test_training_step(name, dtype, fill, monkeypatch):
    cfg, clips = make_model_cfg(name), make_clips(name)
    cfg.MODEL.AUTOCAST_DTYPE, cfg.MODEL.AUDIO.DROP_FILL = dtype, fill
    mode = FakeTensorMode(allow_non_fake_inputs=True)
    rotations = torch.tensor([1, 3])  # drawn on the CPU, where values may be read
    monkeypatch.setattr(torch, "randint", lambda *args: rotations)
    with EventStorage():
        if name == "ActionDetector":
            # Boxes are matched on the CPU, where values may be read.
            cpu = cfg.clone()
            cpu.MODEL.DEVICE = "cpu"
            heads = build_model(cpu).roi_heads
            labelled = heads.label_and_sample_proposals(
                [clip["proposals"] for clip in clips], [clip["instances"] for clip in clips]
            )
        with mode, torch.device("cuda"):
            model = META_ARCH_REGISTRY.get(name)(cfg).train()
        if name == "ActionDetector":
            monkeypatch.setattr(
                model.roi_heads, "label_and_sample_proposals", lambda *args: labelled
            )
        with mode, HostReads() as reads:
            losses = model(to_fake(mode, clips))
    assert losses and all(loss.device.type == "cuda" for loss in losses.values())
    assert reads.found == []


def test_inference(name):
    cfg = make_model_cfg(name)
    mode = FakeTensorMode(allow_non_fake_inputs=True)
    with mode, torch.device("cuda"):
        model = META_ARCH_REGISTRY.get(name)(cfg).eval()
    if name == "AVPretrainer":
        model.avsync_head.is_valid = lambda x: [True] * len(x["audio"])  # read by the caller
    with mode, torch.no_grad():
        results = model(to_fake(mode, make_clips(name)))
    assert len(results) == 2
