import pytest
import torch
import torch.nn.functional as F

from avsf_det.layers import Conv3d, get_norm

FORMATS = (torch.contiguous_format, torch.channels_last_3d)


def test_conv3d_applies_norm_then_activation():
    conv = Conv3d(1, 1, 1, bias=False, norm=get_norm("BN", 1), activation=torch.relu).eval()
    conv.weight.data.fill_(2)
    conv.norm.running_mean.fill_(4)
    conv.norm.running_var.fill_(1 - conv.norm.eps)
    x = torch.tensor([1.0, 2, 3]).view(1, 1, 3, 1, 1)
    assert torch.allclose(conv(x).flatten(), torch.tensor([0.0, 0, 2]))


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
