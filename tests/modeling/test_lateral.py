"""Laterals with weights of one, and the gate."""

import pytest
import torch
from detectron2.modeling import build_backbone

from avsf_det.modeling.backbone.lateral import AudioToVisual, DropPathway, FastToSlow

from .builders import make_cfg, make_features, randomize


def test_fast_to_slow_sums_a_window_of_frames():
    lateral = FastToSlow(2, 3, kernel=5, stride=4, norm="")
    torch.nn.init.ones_(lateral.conv.weight)
    fast = torch.arange(8.0).view(1, 1, 8, 1, 1).expand(1, 2, 8, 2, 3)
    expected = torch.tensor([2.0 * (0 + 1 + 2), 2.0 * (2 + 3 + 4 + 5 + 6)])
    out = lateral(fast)
    assert out.shape == (1, 3, 2, 2, 3)
    assert torch.equal(out, expected.view(1, 1, 2, 1, 1).expand_as(out))


def test_audio_to_visual_averages_frequency_then_sums_two_windows_of_columns():
    lateral = AudioToVisual(1, 2, inner_channels=3, kernel=5, stride=4, norm="")
    for conv in (lateral.conv1, lateral.conv2):
        torch.nn.init.ones_(conv.weight)
    column_means = torch.arange(8.0)
    audio = column_means.view(1, 1, 8, 1) + torch.tensor([-1.0, 0, 1])

    padded = torch.nn.functional.pad(column_means, (2, 2))
    once = torch.stack([padded[i : i + 5].sum() for i in range(8)])
    padded = torch.nn.functional.pad(3 * once, (2, 2))
    twice = torch.stack([padded[i : i + 5].sum() for i in (0, 4)])
    out = lateral(audio)
    assert out.shape == (1, 2, 2, 1, 1)
    assert torch.allclose(out, twice.view(1, 1, 2, 1, 1).expand_as(out))


@pytest.mark.parametrize("rate, kept", [(0.0, 1.0), (1.0, 0.0)])
def test_drop_pathway_gates_the_batch_in_training_and_silent_clips_always(rate, kept):
    drop = DropPathway(rate)
    has_audio = torch.tensor([True, False, True])
    assert drop.eval()(has_audio).tolist() == [1, 0, 1]
    assert drop.train()(has_audio).tolist() == [kept, 0, kept]


def test_drop_pathway_draws_once_per_batch_with_the_rate():
    torch.manual_seed(0)
    drop = DropPathway(0.8)
    gates = torch.stack([drop(torch.ones(3, dtype=torch.bool)) for _ in range(2000)])
    assert (gates == gates[:, :1]).all()
    assert gates.mean().item() == pytest.approx(0.2, abs=0.03)  # 3 standard deviations


@pytest.mark.parametrize("gate", [0.0, 1.0])
def test_slow_gets_gated_audio_on_top_of_fast(gate):
    backbone = randomize(build_backbone(make_cfg(audio=True))).train()
    backbone.drop_pathway.rate = 1 - gate
    seen = {}

    def keep(name):
        return lambda _, args, out: seen.update({name: out, f"{name} in": args[0]})

    for name in ("slow.res3", "slow.res4", "f2s.res3", "a2fs.res3"):
        backbone.get_submodule(name).register_forward_hook(keep(name))
    with torch.no_grad():
        backbone(make_features())
    visual = torch.cat([seen["slow.res3"], seen["f2s.res3"]], dim=1)
    assert torch.equal(seen["slow.res4 in"], visual + gate * seen["a2fs.res3"])
    assert seen["a2fs.res3"].abs().max() > 0
