"""Detectors of MMAction2: scores of their files against their forward pass, written out again."""

from itertools import count

import pytest
import torch
import torch.nn.functional as F
from detectron2.modeling import build_model
from detectron2.structures import Boxes, Instances
from torchvision.ops import roi_align

from avsf_det.checkpoint import AVSFCheckpointer, CheckpointError
from avsf_det.engine.defaults import load_config
from avsf_det.layers import fold_batch_norms

from .test_public_weights import file_of
from .test_pytorchvideo import randomise

State = dict[str, torch.Tensor]
SIZE = 64  # pixels
MEAN, STD = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)
OPTIONS = ["MODEL.SLOWFAST.WIDTH", 8, "MODEL.DEVICE", "cpu"]


def conv(x: torch.Tensor, state: State, name: str, stride=1, time_stride=1, relu=True):
    """mmcv's ConvModule: convolution, norm if there is one, ReLU."""
    weight = state[f"{name}.conv.weight"]
    padding = [side // 2 for side in weight.shape[2:]]
    x = F.conv3d(x, weight, stride=(time_stride, stride, stride), padding=padding)
    if f"{name}.bn.weight" in state:
        keys = ("running_mean", "running_var", "weight", "bias")
        x = F.batch_norm(x, *(state[f"{name}.bn.{key}"] for key in keys))
    return x.relu() if relu else x


def stage(x: torch.Tensor, state: State, name: str, stride: int) -> torch.Tensor:
    for i in count():
        block = f"{name}.{i}"
        if f"{block}.conv1.conv.weight" not in state:
            return x
        s = stride if i == 0 else 1
        y = conv(conv(x, state, f"{block}.conv1"), state, f"{block}.conv2", s)
        y = conv(y, state, f"{block}.conv3", relu=False)
        if f"{block}.downsample.conv.weight" in state:
            x = conv(x, state, f"{block}.downsample", s, relu=False)
        x = (x + y).relu()


def stem(x: torch.Tensor, state: State, name: str) -> torch.Tensor:
    return F.max_pool3d(conv(x, state, f"{name}.conv1", 2), (1, 3, 3), (1, 2, 2), (0, 1, 1))


def their_scores(state: State, frames: torch.Tensor, boxes: torch.Tensor, alpha: int):
    """Return the scores (R, 80) of boxes in one clip (3, T, H, W), uint8."""
    mean, std = (torch.tensor(x).view(3, 1, 1, 1) for x in (MEAN, STD))
    x = ((frames - mean) / std)[None]
    strides = (1, 2, 2, 1)
    if "backbone.fast_path.conv1.conv.weight" not in state:
        slow = stem(x, state, "backbone")
        for i, s in enumerate(strides, 1):
            slow = stage(slow, state, f"backbone.layer{i}", s)
        maps = [slow]
    else:
        slow_path, fast_path = "backbone.slow_path", "backbone.fast_path"
        slow, fast = stem(x[:, :, ::alpha], state, slow_path), stem(x, state, fast_path)
        lateral = f"{slow_path}.conv1_lateral"
        for i, s in enumerate(strides, 1):
            # Neither norm nor ReLU.
            across = conv(fast, state, lateral, time_stride=alpha, relu=False)
            slow = stage(torch.cat([slow, across], 1), state, f"{slow_path}.layer{i}", s)
            fast = stage(fast, state, f"{fast_path}.layer{i}", s)
            lateral = f"{slow_path}.layer{i}_lateral"
        maps = [slow, fast]
    pooled = torch.cat([x.mean(dim=2) for x in maps], 1)
    rois = F.pad(boxes, (1, 0))
    pooled = roi_align(pooled, rois, 8, spatial_scale=1 / 16, sampling_ratio=0, aligned=True)
    head = (state[f"roi_head.bbox_head.fc_cls.{x}"] for x in ("weight", "bias"))
    return F.linear(pooled.amax(dim=(2, 3)), *head).sigmoid()[:, 1:]


@pytest.mark.parametrize(
    "name", ["slowfast_r50_8x8", "slowfast_r50_4x16", "slow_r50_4x16", "slow_r101_8x8"]
)
@torch.no_grad()
def test_a_file_of_mmaction2_gives_their_scores(name, tmp_path):
    cfg = load_config(f"zoo/AVA/{name}_mma.yaml", OPTIONS)
    model = build_model(cfg).eval()
    randomise(model)
    state = file_of(cfg, model, "mmaction2")
    torch.save({"meta": {"epoch": 20}, "state_dict": state}, tmp_path / "theirs.pth")
    ours = build_model(cfg).eval()
    checkpointer = AVSFCheckpointer(ours, required="model")
    checkpointer.load(str(tmp_path / "theirs.pth"))
    assert not checkpointer.report.unexpected and not checkpointer.report.adapted
    fold_batch_norms(ours)

    shape = (3, cfg.INPUT.CLIP.NUM_FRAMES, SIZE, SIZE)
    generator = torch.Generator().manual_seed(1)
    frames = torch.randint(256, shape, generator=generator, dtype=torch.uint8)
    boxes = torch.tensor([[3.0, 5.0, 40.0, 61.0], [0.0, 0.0, 64.0, 64.0], [20.0, 9.0, 29.0, 31.0]])
    persons = Instances((SIZE, SIZE), proposal_boxes=Boxes(boxes), objectness_logits=torch.ones(3))
    (output,) = ours([{"frames": frames, "proposals": persons}])
    expected = their_scores(state, frames, boxes, cfg.MODEL.SLOWFAST.ALPHA)
    assert expected.logit().std() > 0.02  # scores that say something
    scores = output["instances"].action_scores
    torch.testing.assert_close(scores, expected, atol=1e-6, rtol=1e-4)


def test_what_differs_is_named(tmp_path):
    cfg = load_config("zoo/AVA/slowfast_r50_8x8_mma.yaml", OPTIONS)
    state = file_of(cfg, build_model(cfg), "mmaction2")
    path = str(tmp_path / "theirs.pth")
    torch.save({"state_dict": state}, path)
    cfg.MODEL.SLOWFAST.FUSION_NORM = True
    with pytest.raises(CheckpointError, match=r"backbone\.f2s\.pool1\.conv\.norm\..* not in the f"):
        AVSFCheckpointer(build_model(cfg), required="model").load(path)
    for other in (
        "backbone.layer2.1.non_local_block.g.conv.weight",  # SlowOnly with non-local blocks
        "roi_head.shared_head.convs.0.conv.weight",  # ACRN
    ):
        torch.save({"state_dict": {**state, other: torch.zeros(1)}}, path)
        with pytest.raises(CheckpointError, match=f"layer {other} has no counterpart here"):
            AVSFCheckpointer(build_model(cfg), required="model").load(path)
