import pytest
import torch
import torch.nn.functional as F
from detectron2.layers import Conv2d
from torch import nn

from avsf_det.layers import (
    Conv3d,
    FrozenBatchNorm3d,
    SubBatchNorm,
    fold_batch_norms,
    freeze,
    get_norm,
    max_pool3d,
)
from avsf_det.layers.wrappers import BATCH_NORMS


def random_batchnorm(norm: nn.Module) -> nn.Module:
    for values in (norm.weight.data, norm.bias.data, norm.running_mean, norm.running_var):
        values.uniform_(0.5, 2)
    return norm.eval()


def test_conv3d_applies_norm_then_activation():
    conv = Conv3d(1, 1, 1, bias=False, norm=get_norm("BN", 1), activation=torch.relu).eval()
    conv.weight.data.fill_(2)
    conv.norm.running_mean.fill_(4)
    conv.norm.running_var.fill_(1 - conv.norm.eps)
    x = torch.tensor([1.0, 2, 3]).view(1, 1, 3, 1, 1)
    assert torch.allclose(conv(x).flatten(), torch.tensor([0.0, 0, 2]))


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


CONVS = [  # and whether they run as 2-D: contiguous, and channels last
    ({"kernel_size": (1, 3, 3), "padding": (0, 1, 1), "stride": (1, 2, 2)}, True, True),
    ({"kernel_size": (1, 3, 3), "padding": (0, 2, 2), "dilation": (1, 2, 2)}, True, True),
    ({"kernel_size": (1, 3, 3), "groups": 3, "out_channels": 6}, True, True),
    ({"kernel_size": (3, 1, 1), "padding": (1, 0, 0), "bias": False}, True, False),
    ({"kernel_size": (5, 1, 1), "padding": (2, 0, 0), "stride": (4, 1, 1)}, True, False),
    ({"kernel_size": (3, 1, 1), "padding": (2, 0, 0), "dilation": (2, 1, 1)}, True, False),
    ({"kernel_size": (1, 1, 1), "stride": (1, 2, 2), "out_channels": 40}, True, False),
    ({"kernel_size": (5, 7, 7), "padding": (2, 3, 3), "stride": (1, 2, 2)}, True, True),
    ({"kernel_size": (3, 3, 3), "padding": (1, 1, 1), "bias": False}, True, True),
    ({"kernel_size": (5, 7, 7), "padding": (2, 3, 3), "out_channels": 40}, False, False),
    ({"kernel_size": (3, 3, 3), "padding": (0, 1, 1)}, False, False),
    ({"kernel_size": (1, 3, 3), "padding": (0, 1, 1), "stride": (2, 1, 1)}, False, False),
    ({"kernel_size": (1, 1, 1), "padding": (0, 1, 1)}, False, False),
]
FORMATS = (torch.contiguous_format, torch.channels_last_3d)


@pytest.mark.parametrize("memory_format", FORMATS)
@pytest.mark.parametrize("options", CONVS)
def test_two_dimensional_convolutions_give_the_same(monkeypatch, options, memory_format):
    torch.manual_seed(0)
    options, *in_2d = options
    conv = Conv3d(3, **{"out_channels": 2, **options}).double()
    x = torch.randn(2, 3, 6, 9, 11, dtype=torch.float64).contiguous(memory_format=memory_format)
    x.requires_grad_()
    in_3d = []
    plain = nn.Conv3d.forward
    monkeypatch.setattr(nn.Conv3d, "forward", lambda *args: in_3d.append(1) or plain(*args))
    result = conv(x)
    assert bool(in_3d) != in_2d[FORMATS.index(memory_format)]
    expected = plain(conv, x)
    torch.testing.assert_close(result, expected)
    direction = torch.randn_like(expected)
    inputs = [x, *conv.parameters()]
    for ours, theirs in zip(
        torch.autograd.grad(result, inputs, direction),
        torch.autograd.grad(expected, inputs, direction),
        strict=True,
    ):
        torch.testing.assert_close(ours, theirs)
    with torch.no_grad():
        torch.testing.assert_close(conv(x), expected)


SHORT = [  # kernels, and numbers of frames below their depth
    ({"kernel_size": (2, 1, 1), "padding": (1, 0, 0)}, (1,)),
    ({"kernel_size": (3, 1, 1), "padding": (1, 0, 0)}, (1, 2)),
    ({"kernel_size": (3, 3, 3), "padding": (1, 1, 1)}, (1, 2)),
    ({"kernel_size": (5, 1, 1), "padding": (2, 0, 0), "stride": (2, 1, 1)}, (1, 3, 4)),
    ({"kernel_size": (5, 7, 7), "padding": (2, 3, 3), "stride": (1, 2, 2)}, (1, 2, 4)),
    ({"kernel_size": (7, 1, 1), "padding": (3, 0, 0), "stride": (2, 1, 1)}, (1, 4, 6)),
]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("memory_format", FORMATS)
@pytest.mark.parametrize(
    ("options", "num_frames"), [(kernel, n) for kernel, numbers in SHORT for n in numbers]
)
@pytest.mark.parametrize("out_channels", [16, 32])
def test_fewer_frames_than_taps(options, num_frames, out_channels, memory_format, dtype):
    """Output and gradients of float32 and bfloat16 against those of float64, on any CPU."""
    torch.manual_seed(0)
    conv = Conv3d(8, out_channels, bias=False, **options).to(dtype, memory_format=memory_format)
    x = torch.randn(2, 8, num_frames, 7, 7).to(dtype, memory_format=memory_format).requires_grad_()
    exact_weight, exact_x = (v.detach().double().requires_grad_() for v in (conv.weight, x))
    strides, padding = options.get("stride", 1), options["padding"]
    exact = F.conv3d(exact_x, exact_weight, None, strides, padding)
    direction = torch.randn(exact.shape, dtype=dtype).to(memory_format=memory_format)
    result = conv(x)
    found = [result, *torch.autograd.grad(result, [x, conv.weight], direction)]
    expected = [exact, *torch.autograd.grad(exact, [exact_x, exact_weight], direction.double())]
    with torch.no_grad():
        found.append(conv(x))
        expected.append(exact)
    # Sums are kept in float32, so that each result has one rounding of its own format.
    tolerance = 2 * torch.finfo(dtype).eps if dtype == torch.bfloat16 else 1e-5
    for ours, theirs in zip(found, expected, strict=True):
        assert (ours.double() - theirs).norm() <= tolerance * theirs.norm()


@pytest.mark.parametrize("memory_format", FORMATS)
def test_max_pool_gives_the_same_in_the_same_memory_format(memory_format):
    torch.manual_seed(0)
    x = torch.randn(2, 3, 4, 9, 11).contiguous(memory_format=memory_format).requires_grad_()
    window = {"kernel_size": (1, 3, 3), "stride": (1, 2, 2), "padding": (0, 1, 1)}
    pooled, expected = max_pool3d(x, **window), F.max_pool3d(x, **window)
    assert torch.equal(pooled, expected)
    assert pooled.is_contiguous(memory_format=memory_format)
    direction = torch.randn_like(expected)
    ours, theirs = (torch.autograd.grad(y, x, direction)[0] for y in (pooled, expected))
    assert torch.equal(ours, theirs)


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
    assert not any(isinstance(x, BATCH_NORMS) for x in model.modules())
    assert torch.allclose(model(x), expected, atol=1e-5)


def test_batch_norms_do_not_fold_in_training():
    with pytest.raises(ValueError, match="evaluation mode"):
        fold_batch_norms(Conv3d(3, 4, 3, norm=nn.BatchNorm3d(4)))
