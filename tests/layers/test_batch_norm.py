import copy

import pytest
import torch
import torch.nn.functional as F
from detectron2.layers import Conv2d
from detectron2.solver.build import get_default_optimizer_params
from fvcore.nn.precise_bn import get_bn_modules, update_bn_stats
from torch import nn

from avsf_det.layers import (
    BatchNormBase,
    Conv3d,
    FrozenBatchNorm3d,
    SubBatchNorm,
    fold_batch_norms,
    freeze,
    get_norm,
)
from avsf_det.layers.cpu_norm import is_partwise


def random_batchnorm(norm: nn.Module) -> nn.Module:
    for values in (norm.weight.data, norm.bias.data, norm.running_mean, norm.running_var):
        values.uniform_(0.5, 2)
    return norm.eval()


@pytest.mark.parametrize("requires_grad", [False, True])
@pytest.mark.parametrize(
    "make, shape", [(nn.BatchNorm3d, (2, 3, 3, 4, 5)), (nn.BatchNorm2d, (2, 3, 4, 5))]
)
def test_frozen_equals_batchnorm_in_eval(make, shape, requires_grad):
    norm = random_batchnorm(make(3))
    frozen = FrozenBatchNorm3d.convert_frozen_batchnorm(norm)
    x = torch.randn(shape, requires_grad=requires_grad)
    for mode in (True, False):
        assert torch.allclose(frozen.train(mode)(x), norm(x), atol=1e-6)
    assert frozen(x.bfloat16()).dtype == torch.bfloat16
    assert not list(frozen.parameters())


def test_freeze_converts_every_norm_inside():
    module = nn.Sequential(
        Conv3d(3, 3, 1, norm=random_batchnorm(nn.BatchNorm3d(3))),
        nn.Sequential(random_batchnorm(nn.SyncBatchNorm(3))),
    )
    x = torch.randn(2, 3, 2, 2, 2)
    expected = module(x)
    freeze(module)
    assert isinstance(module[0].norm, FrozenBatchNorm3d)
    assert isinstance(module[1][0], FrozenBatchNorm3d)
    assert not any(p.requires_grad for p in module.parameters())
    assert torch.allclose(module.train()(x), expected, atol=1e-6)


@pytest.mark.parametrize("channels", [3, 8, 64])
@pytest.mark.parametrize("groups", [1, 2])
def test_sums_of_large_maps_are_exact_channels_last(channels, groups):
    """PyTorch's own batch norm is off by 1e-6 and more here, and by 1e-4 at a clip's full size."""
    torch.manual_seed(0)
    norm = SubBatchNorm(channels, clips=2 // groups)
    random_batchnorm(norm).train()
    expected = copy.deepcopy(norm).double()
    x = (torch.randn(2, channels, 16, 32, 36) + 3).to(memory_format=torch.channels_last_3d)
    direction = torch.randn_like(x) + 1
    assert all(is_partwise(part, norm.weight) for part in x.chunk(groups))
    results = []
    # PyTorch's own batch norm takes contiguous maps; it needs a gradient that lies like them.
    exact_x, exact_direction = (t.double().contiguous() for t in (x, direction))
    for layer, y, grad in ((norm, x, direction), (expected, exact_x, exact_direction)):
        z = layer(y.requires_grad_())
        gradients = torch.autograd.grad(z, [y, layer.weight, layer.bias], grad)
        results.append([z, *gradients, layer.running_mean, layer.running_var])
    for ours, exact, tolerance in zip(*results, (5e-7, 5e-6, 1e-4, 1e-5, 1e-6, 1e-6), strict=True):
        error = ((ours - exact).abs().max() / exact.abs().max()).item()
        assert error <= tolerance
    assert norm.num_batches_tracked == 1
    half = norm(x.bfloat16())
    assert half.dtype == torch.bfloat16
    torch.testing.assert_close(half.float(), norm(x), rtol=0.02, atol=0.02)


def test_get_norm():
    assert get_norm("", 4) is None
    assert isinstance(get_norm("BN", 4), nn.BatchNorm3d)
    assert isinstance(get_norm("SyncBN", 4), nn.SyncBatchNorm)
    assert isinstance(get_norm("FrozenBN", 4), FrozenBatchNorm3d)
    with pytest.raises(ValueError, match="norm is 'LN'"):
        get_norm("LN", 4)


@pytest.mark.parametrize("shape", [(6, 3, 2, 4, 5), (6, 3, 4, 5)])
def test_sub_batch_norm_normalises_each_group_alone(shape):
    torch.manual_seed(0)
    x = torch.randn(shape) * torch.arange(1.0, 7).view(6, *[1] * (len(shape) - 1))
    norm = SubBatchNorm(3, clips=2)
    norm.weight.data, norm.bias.data = torch.rand(3), torch.rand(3)
    affine = [p.detach().view(-1, *[1] * (len(shape) - 2)) for p in (norm.weight, norm.bias)]
    axes = [0, *range(2, len(shape))]
    expected = [
        (g - g.mean(axes, keepdim=True)) / (g.var(axes, unbiased=False, keepdim=True) + 1e-5).sqrt()
        for g in x.split(2)
    ]
    assert torch.allclose(norm(x), torch.cat(expected) * affine[0] + affine[1], atol=1e-5)


def test_sub_batch_norm_keeps_the_statistics_of_the_whole_batch():
    torch.manual_seed(0)
    x = torch.randn(8, 3, 4, 16, 16) * 2 + 1
    norm = SubBatchNorm(3, clips=2)
    norm(x)
    assert torch.allclose(norm.running_mean, 0.1 * x.mean((0, 2, 3, 4)), atol=1e-5)
    variance = 0.9 + 0.1 * x.var((0, 2, 3, 4))
    assert torch.allclose(norm.running_var, variance, rtol=1e-3)
    assert norm.num_batches_tracked == 1


def test_sub_batch_norm_of_one_group_or_in_eval_is_batch_norm():
    sub, plain = SubBatchNorm(3, clips=8), nn.BatchNorm3d(3)
    x = torch.randn(4, 3, 2, 3, 3)
    assert torch.equal(sub(x), plain(x))
    assert torch.equal(sub.eval()(x), plain.eval()(x))
    assert isinstance(FrozenBatchNorm3d.convert_frozen_batchnorm(sub), FrozenBatchNorm3d)


def test_sub_batch_norm_names_a_batch_that_has_no_such_groups():
    with pytest.raises(ValueError, match="a batch of 5 clips has no groups of 2"):
        SubBatchNorm(3, clips=2)(torch.randn(5, 3, 2, 3, 3))


def test_groups_hold_clips_and_their_negatives():
    """Eight maps of four clips and their negatives, as two processes of two clips each."""
    torch.manual_seed(0)
    x = torch.randn(8, 3, 4, 5) * torch.arange(1.0, 9).view(8, 1, 1, 1)
    order = [0, 1, 4, 5], [2, 3, 6, 7]  # clips, then their negatives
    expected = torch.empty_like(x)
    for rows in order:
        expected[rows] = nn.BatchNorm2d(3)(x[rows])
    norm = SubBatchNorm(3, clips=2, stacked=2)
    assert torch.allclose(norm(x), expected, atol=1e-6)
    assert torch.allclose(norm(x[:6]), SubBatchNorm(3, clips=2)(x[:6]))  # without negatives


def test_precise_statistics_and_optimizer_find_every_norm():
    """fvcore's precise BN and Detectron2's weight decay know norms by their class."""
    torch.manual_seed(0)
    norms = [nn.BatchNorm3d(3), SubBatchNorm(3, clips=2), nn.BatchNorm2d(3), nn.SyncBatchNorm(3)]
    model = nn.Sequential(*norms)
    assert get_bn_modules(model) == norms
    groups = get_default_optimizer_params(model, weight_decay=0.1, weight_decay_norm=0.0)
    assert sum(len(group["params"]) for group in groups) == 8
    assert {group["weight_decay"] for group in groups} == {0.0}

    x = torch.randn(8, 3, 4, 16, 16) * 2 + 1
    update_bn_stats(norm := SubBatchNorm(3, clips=2), [x, x], 2)
    assert torch.allclose(norm.running_mean, x.mean((0, 2, 3, 4)), atol=1e-5)
    assert torch.allclose(norm.running_var, x.var((0, 2, 3, 4)), rtol=1e-3)


def test_folded_batch_norms_give_the_same():
    torch.manual_seed(0)
    model = nn.Sequential(
        Conv3d(3, 4, 3, bias=False, norm=random_batchnorm(nn.BatchNorm3d(4)), activation=F.relu_),
        Conv3d(4, 4, 1, norm=random_batchnorm(SubBatchNorm(4, clips=2))),
        Conv3d(4, 4, 1, norm=FrozenBatchNorm3d.convert_frozen_batchnorm(nn.BatchNorm3d(4))),
        nn.Sequential(nn.Flatten(2), nn.Unflatten(2, (-1, 3))),
        Conv2d(4, 5, 3, bias=False, norm=random_batchnorm(nn.BatchNorm2d(5))),
        Conv2d(5, 5, 1),
    ).eval()
    x = torch.randn(2, 3, 5, 6, 7)
    expected = model(x)
    fold_batch_norms(model)
    assert not any(isinstance(x, BatchNormBase) for x in model.modules())
    assert torch.allclose(model(x), expected, atol=1e-5)


def test_batch_norms_do_not_fold_in_training():
    with pytest.raises(ValueError, match="evaluation mode"):
        fold_batch_norms(Conv3d(3, 4, 3, norm=nn.BatchNorm3d(4)))
