"""Fast paths of a CPU against the 3-D forms that they replace."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from avsf_det.layers import Conv3d, is_channels_last, max_pool3d
from avsf_det.layers.cpu_conv import (
    choose_form,
    conv_folded,
    conv_tapwise,
    conv_temporal,
    is_folded,
)

WIDE = {"in_channels": 256}
# Options, and whether another form than 3-D runs: contiguous, and channels last.
CONVS = [
    ({"kernel_size": (1, 3, 3), "padding": (0, 1, 1), "stride": (1, 2, 2)}, True, True),
    ({"kernel_size": (1, 3, 3), "padding": (0, 2, 2), "dilation": (1, 2, 2)}, True, True),
    ({"kernel_size": (1, 3, 3), "groups": 3, "out_channels": 6}, True, True),
    ({"kernel_size": (3, 1, 1), "padding": (1, 0, 0), "bias": False}, True, True),
    ({"kernel_size": (3, 1, 1), "padding": (1, 0, 0), "bias": False, **WIDE}, True, True),
    ({"kernel_size": (5, 1, 1), "padding": (2, 0, 0), "stride": (4, 1, 1)}, True, True),
    ({"kernel_size": (3, 1, 1), "padding": (2, 0, 0), "dilation": (2, 1, 1)}, True, True),
    ({"kernel_size": (1, 1, 1), "stride": (1, 2, 2), "out_channels": 40}, True, True),
    ({"kernel_size": (5, 7, 7), "padding": (2, 3, 3), "stride": (1, 2, 2)}, False, False),
    ({"kernel_size": (5, 7, 7), "padding": (2, 3, 3), "bias": False}, True, True),
    ({"kernel_size": (3, 3, 3), "padding": (0, 1, 1)}, False, False),
    ({"kernel_size": (1, 3, 3), "padding": (0, 1, 1), "stride": (2, 1, 1)}, False, False),
    ({"kernel_size": (1, 1, 1), "padding": (0, 1, 1)}, True, True),
    ({"kernel_size": (1, 1, 1), "bias": False}, True, True),
    ({"kernel_size": (1, 1, 1), "padding": (1, 0, 0)}, True, True),
]
FORMATS = (torch.contiguous_format, torch.channels_last_3d)


@pytest.mark.parametrize("memory_format", FORMATS)
@pytest.mark.parametrize("options", CONVS)
def test_faster_forms_give_the_same(monkeypatch, options, memory_format):
    torch.manual_seed(0)
    options, *in_2d = options
    conv = Conv3d(**{"in_channels": 3, "out_channels": 2, **options}).double()
    x = torch.randn(2, conv.in_channels, 6, 9, 11, dtype=torch.float64)
    x = x.contiguous(memory_format=memory_format).requires_grad_()
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


def test_tapwise_gradients_in_16_bits():
    torch.manual_seed(0)
    conv = Conv3d(256, 8, (3, 1, 1), padding=(1, 0, 0), bias=False)
    x = torch.randn(2, 256, 4, 5, 5).to(memory_format=torch.channels_last_3d).requires_grad_()
    assert choose_form(conv, x) is conv_tapwise
    with torch.autocast("cpu", torch.bfloat16):
        result = conv(x)
    assert result.dtype == torch.bfloat16
    y, weight = (z.detach().double().requires_grad_() for z in (x, conv.weight))
    expected = F.conv3d(y, weight, padding=(1, 0, 0))
    direction = torch.randn_like(expected)
    ours = torch.autograd.grad(result, [x, conv.weight], direction.bfloat16())
    theirs = torch.autograd.grad(expected, [y, weight], direction)
    for found, exact in zip((result, *ours), (expected, *theirs), strict=True):
        # 8 bits of mantissa in the two factors and in the sum.
        assert (found - exact).abs().max() < 0.02 * exact.abs().max()


@pytest.mark.parametrize("size", [(9, 12), (10, 11)])
@pytest.mark.parametrize(
    "options",
    [
        {"kernel_size": (5, 7, 7), "padding": (2, 3, 3), "stride": (1, 2, 2), "bias": False},
        {"kernel_size": (3, 3, 3), "padding": (0, 1, 1), "stride": (2, 2, 2)},
    ],
)
def test_folded_pixels_give_the_same(options, size):
    """The form of stems in 16 bits."""
    torch.manual_seed(0)
    conv = Conv3d(3, 8, **options)
    x = torch.randn(2, 3, 6, *size)
    assert is_folded(conv) and choose_form(conv, x.bfloat16()) is conv_folded
    conv, x = conv.double(), x.double()
    result, expected = conv_folded(x, conv), nn.Conv3d.forward(conv, x)
    torch.testing.assert_close(result, expected)
    direction = torch.randn_like(expected)
    ours, theirs = (torch.autograd.grad(y, conv.weight, direction) for y in (result, expected))
    torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize("learned", [False, True])
def test_maps_of_one_clip_stay_channels_last(learned):
    """Frames become so in the stem; a copy in each layer would be slow."""
    stem, *convs = (
        Conv3d(3, 8, (5, 7, 7), stride=(1, 2, 2), padding=(2, 3, 3)),
        Conv3d(8, 16, (3, 1, 1), padding=(1, 0, 0)),
        Conv3d(16, 16, (1, 3, 3), padding=(0, 1, 1)),
        Conv3d(16, 32, 1),
        Conv3d(32, 32, 1, stride=(1, 2, 2)),
        Conv3d(32, 64, (5, 1, 1), stride=(4, 1, 1), padding=(2, 0, 0)),
    )
    frames = torch.randn(1, 3, 8, 32, 32)
    with torch.set_grad_enabled(learned):
        x = stem(frames)
        for conv in convs:
            assert is_channels_last(x)
            x = conv(x)
    assert is_channels_last(x)


@pytest.mark.parametrize("memory_format", FORMATS)
def test_strides_above_the_number_of_taps_stay_in_their_memory(memory_format):
    """With AMX, the 3-D form of bfloat16 damages the heap here, which ends the process later."""
    torch.manual_seed(0)
    conv = Conv3d(128, 256, (5, 1, 1), stride=(8, 1, 1), padding=(2, 0, 0), bias=False)
    conv = conv.to(torch.bfloat16, memory_format=memory_format)
    x = torch.randn(1, 128, 32, 14, 14).to(torch.bfloat16, memory_format=memory_format)
    expected = F.conv3d(x.double(), conv.weight.double(), None, conv.stride, conv.padding)
    for learned in (True, False):
        with torch.set_grad_enabled(learned):
            assert choose_form(conv, x) is conv_temporal
            torch.testing.assert_close(conv(x).double(), expected, rtol=0.02, atol=0.5)
    program = torch.export.export(conv, (x,))  # AOTInductor runs the same kernels
    calls = {str(node.target) for node in program.graph.nodes}
    assert "aten.conv2d.default" in calls and "aten.conv3d.default" not in calls
    torch.testing.assert_close(program.module()(x).double(), expected, rtol=0.02, atol=0.5)


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
