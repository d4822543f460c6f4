"""Blocks of the pathways with weights of one, on an impulse: what comes out is their footprint."""

import pytest
import torch
from torch import nn

from avsf_det.modeling.backbone.audio_resnet import AudioStem, TimeFrequencyBlock
from avsf_det.modeling.backbone.resnet3d import BottleneckBlock3d, VisualStem


def with_ones(block: nn.Module) -> nn.Module:
    for parameter in block.parameters():
        nn.init.ones_(parameter)
    return block


def impulse(*shape: int) -> torch.Tensor:
    """(1, 1, *shape), 1 in the middle."""
    x = torch.zeros(1, 1, *shape)
    x[(0, 0, *(n // 2 for n in shape))] = 1
    return x


def test_audio_stem_sums_nine_time_steps_and_nine_bins():
    out = with_ones(AudioStem(1, norm=""))(impulse(13, 11))[0, 0]
    expected = torch.zeros(13, 11)
    expected[2:11, 5] += 1
    expected[6, 1:10] += 1
    assert torch.equal(out, expected)


def test_time_frequency_block_concatenates_time_and_frequency():
    block = with_ones(TimeFrequencyBlock(1, 1, bottleneck_channels=1, norm=""))
    block.conv3.weight.data = torch.tensor([1.0, 10]).view(1, 2, 1, 1)
    expected = impulse(5, 7)[0, 0]
    expected[1:4, 3] += 1  # time
    expected[2, 2:5] += 10  # frequency
    assert torch.equal(block(impulse(5, 7))[0, 0], expected)


def test_time_frequency_block_strides_both_branches_on_both_axes():
    block = with_ones(TimeFrequencyBlock(1, 1, bottleneck_channels=1, stride=2, norm=""))
    block.conv3.weight.data = torch.tensor([1.0, 10]).view(1, 2, 1, 1)
    out = block(torch.ones(1, 1, 6, 8))[0, 0]
    assert torch.equal(out[1:, 1:], torch.full((2, 3), 1.0 + 3 + 30))  # shortcut, time, frequency
    assert out[0, 0] == 1 + 2 + 20  # padded on one side


def test_reduced_time_frequency_block_sums_time_and_frequency():
    """Table 1's block: 1 x 1 (weight 2), both kernels on its output, their sum, 1 x 1 (3)."""
    block = with_ones(TimeFrequencyBlock(1, 1, bottleneck_channels=1, reduce=True, norm=""))
    block.conv1.weight.data.fill_(2)
    block.conv3.weight.data.fill_(3)
    expected = impulse(5, 7)[0, 0]
    expected[1:4, 3] += 6
    expected[2, 2:5] += 6
    assert torch.equal(block(impulse(5, 7))[0, 0], expected)


def test_reduced_time_frequency_block_strides_after_the_reduction():
    block = TimeFrequencyBlock(2, 4, bottleneck_channels=1, stride=2, reduce=True, norm="")
    assert block.conv1.stride == (1, 1)
    assert block(torch.ones(1, 2, 6, 8)).shape == (1, 4, 3, 4)


@pytest.mark.parametrize("dilation", [1, 2])
def test_bottleneck_is_temporal_then_spatial(dilation):
    block = BottleneckBlock3d(
        1, 1, bottleneck_channels=1, temporal_kernel=3, dilation=dilation, norm=""
    )
    expected = impulse(5, 7, 7)[0, 0]
    expected[
        1:4, 3 - dilation : 4 + dilation : dilation, 3 - dilation : 4 + dilation : dilation
    ] += 1
    assert torch.equal(with_ones(block)(impulse(5, 7, 7))[0, 0], expected)


def test_bottleneck_strides_space_only():
    block = BottleneckBlock3d(1, 2, bottleneck_channels=1, stride=2, norm="")
    assert block(torch.ones(1, 1, 3, 6, 8)).shape == (1, 2, 3, 3, 4)


def test_visual_stem():
    stem = with_ones(VisualStem(1, 1, temporal_kernel=5, norm=""))
    out = stem(torch.ones(1, 1, 9, 32, 32))
    assert out.shape == (1, 1, 9, 8, 8)
    assert out[0, 0, :, 4, 4].tolist() == [49.0 * n for n in (3, 4, 5, 5, 5, 5, 5, 4, 3)]
