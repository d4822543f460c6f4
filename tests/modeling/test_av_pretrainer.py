"""Self-supervised training."""

import math

import pytest
import torch
from detectron2.modeling import build_model
from detectron2.utils.events import EventStorage
from torch import nn

from avsf_det.modeling.meta_arch.av_pretrainer import rotate

from .builders import make_cfg, make_inputs, randomize

pytestmark = pytest.mark.usefixtures("few_blocks")
LEVELS = ("res3", "res4", "res5")
NAMES = ("visual", "audio", "audio_negative")


@pytest.fixture(autouse=True)
def storage():
    with EventStorage() as storage:
        yield storage


def make_pretrainer_cfg(*, avsync: bool = True, rotation: bool = True, laterals: bool = False):
    cfg = make_cfg(audio=True, SPATIAL_STRIDES=[1, 2, 2, 2], SPATIAL_DILATIONS=[1, 1, 1, 1])
    cfg.MODEL.META_ARCHITECTURE = "AVPretrainer"
    cfg.MODEL.CLIP_HEAD.DROPOUT = 0.0
    cfg.MODEL.AVSYNC.ENABLED, cfg.MODEL.ROTATION.ENABLED = avsync, rotation
    cfg.MODEL.AVSYNC.RES5_LATERALS = laterals
    if not laterals:
        cfg.MODEL.SLOWFAST.FUSION_STAGES, cfg.MODEL.AUDIO.FUSION_STAGES = [], ["pool5"]
    return cfg


def make_model(cfg) -> nn.Module:
    torch.manual_seed(0)
    return randomize(build_model(cfg)).train()


def make_clips(num_clips: int = 2) -> list[dict]:
    """Square clips with frames and audio alone."""
    names = ("frames", "audio", "has_audio", "audio_negative", "has_audio_negative")
    clips = [{name: clip[name] for name in names} for clip in make_inputs(num_clips)]
    for clip in clips:
        clip["frames"] = clip["frames"][..., :48]
    return clips


@pytest.mark.parametrize("laterals", [False, True])
@pytest.mark.parametrize("avsync, rotation", [(True, True), (True, False), (False, True)])
def test_training_step(avsync, rotation, laterals):
    model = make_model(make_pretrainer_cfg(avsync=avsync, rotation=rotation, laterals=laterals))
    model.backbone.drop_pathway.rate = 1.0
    losses = model(make_clips())
    expected = [f"loss_avs_{level}" for level in LEVELS] if avsync else []
    assert list(losses) == expected + (["loss_rotation"] if rotation else [])
    assert all(loss.item() > 0 for loss in losses.values())
    sum(losses.values()).backward()
    for name, parameter in model.named_parameters():  # as DDP requires
        assert parameter.grad is not None and parameter.grad.isfinite().all(), name
    trained = {
        name for name in ("slow", "fast", "audio") if has_gradient(getattr(model.backbone, name))
    }
    assert trained == {"slow", "fast", *(["audio"] if avsync else [])}


def has_gradient(module: nn.Module) -> bool:
    return all(p.grad.any() for p in module.parameters())


def test_levels_below_the_last_one_leave_no_parameter_without_a_gradient():
    cfg = make_pretrainer_cfg(rotation=False)
    cfg.MODEL.AVSYNC.LEVELS = ["res3"]
    model = make_model(cfg)
    sum(model(make_clips()).values()).backward()
    assert has_gradient(model.backbone.audio["res3"])
    for stage in ("res4", "res5"):
        assert not any(p.grad.any() for p in model.backbone.audio[stage].parameters())


def test_rotation_needs_no_audio():
    """SlowFast (ROT)."""
    cfg = make_pretrainer_cfg(avsync=False)
    cfg.MODEL.BACKBONE.NAME = "build_slowfast_backbone"
    model = make_model(cfg)
    clips = [{"frames": clip["frames"]} for clip in make_clips()]
    losses = model(clips)
    assert losses.keys() == {"loss_rotation"}
    losses["loss_rotation"].backward()
    assert all(p.grad is not None for p in model.parameters())
    results = model.eval()(clips)
    assert [result.keys() for result in results] == [{"rotation"}] * 2


def test_rotation_loss_and_accuracy(monkeypatch):
    """The head gives rotation 1 the probability 1/2 and the others 1/6, for any clip."""
    cfg = make_pretrainer_cfg(avsync=False)
    cfg.MODEL.ROTATION.WEIGHT = 0.5
    model = make_model(cfg)
    layer = model.rotation_head.predictors["rotation"]
    layer.weight.data.zero_()
    layer.bias.data = torch.tensor([0, math.log(3), 0, 0])
    clips = make_clips(4)
    monkeypatch.setattr(torch, "randint", lambda *args: torch.tensor([1, 1, 1, 2]))
    loss = model(clips)["loss_rotation"]
    assert loss.item() == pytest.approx(0.5 * (3 * math.log(2) + math.log(6)) / 4)
    correct, total = model.fractions()["train/rotation_accuracy"]
    assert (correct.item(), total.item()) == (3, 4)


def test_each_clip_is_rotated_by_its_own_label(monkeypatch):
    """In training, the head gets the features of a clip rotated by hand."""
    model = make_model(make_pretrainer_cfg(avsync=False)).eval()
    model.backbone.train = lambda mode: model.backbone  # its norms stay as they are
    seen = []
    model.rotation_head.register_forward_hook(
        lambda module, args, out: seen.append(out["rotation"])
    )
    clips = make_clips(3)
    monkeypatch.setattr(torch, "randint", lambda *args: torch.tensor([0, 1, 3]))
    with torch.no_grad():
        model.train()(clips)
        by_hand = model.eval()(clips)
    probabilities = seen[0].mean(dim=1).softmax(dim=1)
    for row, result, k in zip(probabilities, by_hand, (0, 1, 3), strict=True):
        assert torch.allclose(row, result["rotation"][k], atol=1e-5)


def test_rotations_are_counter_clockwise():
    frame = torch.tensor([[1.0, 2], [3, 4]])
    frames = frame.expand(4, 3, 5, 2, 2)
    rotated = rotate(frames, torch.tensor([0, 1, 2, 3]))
    expected = [[[1, 2], [3, 4]], [[2, 4], [1, 3]], [[4, 3], [2, 1]], [[3, 1], [4, 2]]]
    assert rotated[:, 2, 4].tolist() == expected
    assert torch.equal(rotated, rotated[:, :1, :1].expand_as(rotated))
    with pytest.raises(ValueError, match="2 x 3 cannot be rotated"):
        rotate(torch.zeros(1, 3, 5, 2, 3), torch.tensor([0]))


@pytest.mark.parametrize("laterals", [False, True])
def test_inference_gives_what_can_be_scored(laterals):
    model = make_model(make_pretrainer_cfg(laterals=laterals)).eval()
    clips = make_clips(3)
    clips[2]["has_audio_negative"] = False
    with torch.no_grad():
        results = model(clips)
        alone = [model([clip])[0] for clip in clips]
    assert [result["valid"] for result in results] == [True, True, False]
    for result, single in zip(results, alone, strict=True):
        assert result["rotation"].shape == (4, 4)
        assert result["rotation"].sum(dim=1).tolist() == pytest.approx([1] * 4)
        assert torch.allclose(result["rotation"], single["rotation"], atol=1e-5)
        assert tuple(result["embeddings"]) == LEVELS
        for level in LEVELS:
            assert tuple(result["embeddings"][level]) == NAMES
            for name in NAMES:
                vector = result["embeddings"][level][name]
                assert vector.shape == (64,)
                assert vector.norm().item() == pytest.approx(0.5, abs=1e-5)
                assert torch.allclose(vector, single["embeddings"][level][name], atol=1e-5)


def test_visual_embeddings_of_inference_contain_no_audio():
    """Swap the two audio tracks: visual embeddings stay at all levels, audio ones are swapped."""
    model = make_model(make_pretrainer_cfg(laterals=True)).eval()
    clip = make_clips(1)[0]
    swapped = {**clip, "audio": clip["audio_negative"], "audio_negative": clip["audio"]}
    with torch.no_grad():
        (one,), (other,) = model([clip]), model([swapped])
    for level in LEVELS:
        a, b = one["embeddings"][level], other["embeddings"][level]
        assert torch.equal(a["visual"], b["visual"])
        assert torch.allclose(a["audio"], b["audio_negative"], atol=1e-5)
        assert torch.allclose(a["audio_negative"], b["audio"], atol=1e-5)


def test_inference_without_negatives():
    model = make_model(make_pretrainer_cfg()).eval()
    clip = make_clips(1)[0]
    del clip["audio_negative"], clip["has_audio_negative"]
    with torch.no_grad():
        (result,) = model([clip])
    assert result.keys() == {"rotation", "embeddings"}
    assert tuple(result["embeddings"]["res4"]) == ("visual", "audio")


def test_a_model_without_heads():
    with pytest.raises(ValueError, match="AVPretrainer needs"):
        build_model(make_pretrainer_cfg(avsync=False, rotation=False))
