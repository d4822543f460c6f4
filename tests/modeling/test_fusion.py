"""Laterals with weights of one, DropPathway, and the order of fusion."""

import math

import pytest
import torch
from detectron2.modeling import build_backbone

from avsf_det.modeling.backbone.lateral import (
    AudioToVisual,
    AudioVisualNonLocal,
    DropPathway,
    FastToSlow,
)

from .builders import make_cfg, make_features, randomize


def test_fast_to_slow_sums_a_window_of_frames():
    lateral = FastToSlow(2, 3, kernel=5, stride=4, norm="")
    torch.nn.init.ones_(lateral.conv.weight)
    fast = torch.arange(8.0).view(1, 1, 8, 1, 1).expand(1, 2, 8, 2, 3)
    expected = torch.tensor([2.0 * (0 + 1 + 2), 2.0 * (2 + 3 + 4 + 5 + 6)])
    out = lateral(fast)
    assert out.shape == (1, 3, 2, 2, 3)
    assert torch.equal(out, expected.view(1, 1, 2, 1, 1).expand_as(out))


def test_audio_to_visual_averages_frequency_then_sums_two_windows_of_time_steps():
    lateral = AudioToVisual(1, 2, inner_channels=3, kernel=5, stride=4, norm="")
    for conv in (lateral.conv1, lateral.conv2):
        torch.nn.init.ones_(conv.weight)
    means = torch.arange(8.0)
    audio = means.view(1, 1, 8, 1) + torch.tensor([-1.0, 0, 1])

    padded = torch.nn.functional.pad(means, (2, 2))
    once = torch.stack([padded[i : i + 5].sum() for i in range(8)])
    padded = torch.nn.functional.pad(3 * once, (2, 2))
    twice = torch.stack([padded[i : i + 5].sum() for i in (0, 4)])
    out = lateral(audio)
    assert out.shape == (1, 2, 2, 1, 1)
    assert torch.allclose(out, twice.view(1, 1, 2, 1, 1).expand_as(out))


@pytest.mark.parametrize("attention", ["dot_product", "softmax"])
def test_audio_attends_to_two_pooled_positions(attention):
    """One query, the mean of two time steps and two bins; two keys, maxima of 1 x 2 positions."""
    a, b, c, d = 0.5, 2.0, 3.0, 0.25  # weights of theta, phi, g and out
    lateral = AudioVisualNonLocal(
        1, 1, inner_channels=1, stride=2, pool=(1, 1, 2), attention=attention, norm=""
    )
    for conv, weight in zip(
        (lateral.theta, lateral.phi, lateral.g, lateral.out), (a, b, c, d), strict=True
    ):
        conv.weight.data.fill_(weight)
        conv.bias.data.zero_()
    audio = torch.tensor([[0.0, 1], [2, 3]]).view(1, 1, 2, 2)  # mean 1.5
    visual = torch.tensor([1.0, -4, 3, 2]).view(1, 1, 1, 1, 4)  # maxima 1 and 3
    if attention == "softmax":
        first = 1 / (1 + math.exp(a * 1.5 * b * (3 - 1)))
        expected = d * c * (first * 1 + (1 - first) * 3)
    else:
        expected = d * sum((a * 1.5) * (b * y) / 2 * (c * y) for y in (1, 3))
    out = lateral(audio, visual)
    assert out.shape == (1, 1, 1, 1, 1)
    assert out.item() == pytest.approx(expected)


def test_audiovisual_nonlocal_gives_features_for_each_frame_and_starts_at_zero():
    lateral = AudioVisualNonLocal(3, 4, inner_channels=2, stride=4)
    audio, visual = torch.randn(2, 3, 8, 5), torch.randn(2, 4, 2, 6, 6)
    out = lateral(audio, visual)
    assert out.shape == (2, 4, 2, 1, 1) and not out.any()
    torch.nn.init.ones_(lateral.out.norm.weight)
    lateral.eval()
    later = audio.clone()
    later[:, :, 4:] += 1  # time steps of the second frame
    before, after = lateral(audio, visual), lateral(later, visual)
    assert torch.equal(before[:, :, 0], after[:, :, 0])
    assert not torch.equal(before[:, :, 1], after[:, :, 1])


@pytest.mark.parametrize("rate, kept", [(0.0, 1.0), (1.0, 0.0)])
@pytest.mark.parametrize("scope", ["all", "laterals"])
def test_drop_pathway_masks_the_batch_in_training_and_clips_without_audio_always(rate, kept, scope):
    drop = DropPathway(rate, scope=scope)
    has_audio = torch.tensor([True, False, True])
    assert [mask.tolist() for mask in drop.eval().draw(has_audio)] == [[1, 0, 1]] * 2
    laterals, pool5 = drop.train().draw(has_audio)
    assert laterals.tolist() == [kept, 0, kept]
    assert pool5.tolist() == ([kept, 0, kept] if scope == "all" else [1, 0, 1])


def test_drop_pathway_draws_once_per_batch_with_the_rate():
    torch.manual_seed(0)
    drop = DropPathway(0.8)
    masks = torch.stack([drop.draw(torch.ones(3, dtype=torch.bool))[0] for _ in range(2000)])
    assert (masks == masks[:, :1]).all()
    assert masks.mean().item() == pytest.approx(0.2, abs=0.03)  # 3 std


def test_mask_0_gives_zeros():
    x = torch.tensor([1.0, 2, 3, 4]).view(2, 2, 1, 1, 1)
    out = DropPathway(0.5)(x, torch.tensor([0.0, 1]), "res3")
    assert out.flatten().tolist() == [0, 0, 3, 4]


def test_mask_0_gives_the_running_mean_of_kept_features():
    drop = DropPathway(0.5, means={"res3": 2, "pool5": 1})
    drop.momentum = 0.5
    x = torch.tensor([[[1.0, 3], [10, 10]], [[5, 7], [0, 0]]])  # clip, channel, position
    mask = torch.tensor([0.0, 1])
    out = drop(x, mask, "res3")
    mean = [0.5 * 6, 0.0]  # of the clip with mask 1 only, halfway from zero
    assert drop.mean_res3.tolist() == mean
    assert out.tolist() == [[[3, 3], [0, 0]], [[5, 7], [0, 0]]]
    assert drop.mean_pool5.tolist() == [0]
    drop(x, torch.zeros(2), "res3")  # a dropped step leaves the mean as it is
    assert drop.mean_res3.tolist() == mean
    drop.eval()(x, torch.ones(2), "res3")
    assert drop.mean_res3.tolist() == mean


def test_unknown_scope():
    with pytest.raises(ValueError, match="scope is 'some'"):
        DropPathway(0.5, scope="some")


@pytest.mark.parametrize("mask", [0.0, 1.0])
def test_slow_gets_masked_audio_on_top_of_fast(mask):
    backbone = randomize(build_backbone(make_cfg(audio=True))).train()
    backbone.drop_pathway.rate = 1 - mask
    maps = {}

    def keep(name):
        return lambda _, args, out: maps.update({name: out, f"{name} in": args[0]})

    for name in ("slow.res3", "slow.res4", "f2s.res3", "a2fs.res3"):
        backbone.get_submodule(name).register_forward_hook(keep(name))
    with torch.no_grad():
        backbone(make_features())
    visual = torch.cat([maps["slow.res3"], maps["f2s.res3"]], dim=1)
    assert torch.equal(maps["slow.res4 in"], visual + mask * maps["a2fs.res3"])
    assert maps["a2fs.res3"].abs().max() > 0


@pytest.mark.parametrize("mask", [0.0, 1.0])
def test_fast_gets_masked_audio_before_it_goes_to_slow(mask):
    """A->F->S: audio is added at the frame rate of Fast, and reaches Slow through Fast alone."""
    cfg = make_cfg(audio=True)
    cfg.MODEL.AUDIO.FUSION_TYPE, cfg.MODEL.AUDIO.DROP_PATHWAY = "a_f_s", 1 - mask
    backbone = randomize(build_backbone(cfg)).train()
    maps = {}
    for name in ("fast.res3", "fast.res4", "f2s.res3", "a2fs.res3", "slow.res3", "slow.res4"):
        backbone.get_submodule(name).register_forward_hook(
            lambda _, args, out, name=name: maps.update({name: out, f"{name} in": args[0]})
        )
    with torch.no_grad():
        backbone(make_features())
    assert maps["a2fs.res3"].shape == (2, 8, 8, 1, 1)  # Fast's channels and frames
    assert maps["a2fs.res3"].abs().max() > 0
    fused = maps["fast.res3"] + mask * maps["a2fs.res3"]
    assert torch.equal(maps["fast.res4 in"], fused)
    assert torch.equal(maps["f2s.res3 in"], fused)
    slow = torch.cat([maps["slow.res3"], maps["f2s.res3"]], dim=1)
    assert torch.equal(maps["slow.res4 in"], slow)


def test_slow_attends_to_itself_and_its_fast_channels():
    cfg = make_cfg(audio=True)
    cfg.MODEL.AUDIO.FUSION_TYPE, cfg.MODEL.AUDIO.DROP_PATHWAY = "av_nonlocal", 0.0
    backbone = randomize(build_backbone(cfg)).train()
    maps = {}
    for name in ("f2s.res3", "a2fs.res3", "slow.res3", "slow.res4"):
        backbone.get_submodule(name).register_forward_hook(
            lambda _, args, out, name=name: maps.update({name: out, f"{name} in": args})
        )
    with torch.no_grad():
        backbone(make_features())
    visual = torch.cat([maps["slow.res3"], maps["f2s.res3"]], dim=1)
    assert torch.equal(maps["a2fs.res3 in"][1], visual)
    assert torch.equal(maps["slow.res4 in"][0], visual + maps["a2fs.res3"])
