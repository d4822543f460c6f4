"""The losses of synchronisation, in closed form."""

import math

import pytest
import torch

from avsf_det.modeling.losses import (
    are_distinct,
    margin_contrastive_loss,
    pair_distances,
    sync_classification_loss,
)

ALL = torch.ones(2)


def test_distances():
    a, b = torch.tensor([[3.0, 0], [1, 1]]), torch.tensor([[0.0, 4], [1, 1]])
    assert pair_distances(a, b).tolist() == pytest.approx([5, 1e-6])


def test_the_gradient_at_distance_zero_is_finite():
    a = torch.ones(1, 4, requires_grad=True)
    pair_distances(a, torch.ones(1, 4)).sum().backward()
    assert a.grad.tolist() == [[0.0] * 4]


def test_contrastive_loss():
    """Pairs of 0.1^2 + 0.49^2 and of 0.3^2 + 0: the second negative is far enough."""
    own, other = torch.tensor([0.1, 0.3]), torch.tensor([0.5, 1.0])
    loss = margin_contrastive_loss(own, other, ALL, 0.99)
    assert loss.item() == pytest.approx((0.01 + 0.49**2 + 0.09) / 4)
    masked = margin_contrastive_loss(own, other, torch.tensor([0.0, 1]), 0.99)
    assert masked.item() == pytest.approx(0.09 / 4)  # over 2N pairs in any case


def test_classification_loss():
    own, other = torch.tensor([math.log(3), 0]), torch.tensor([-math.log(3), 0])
    loss = sync_classification_loss(own, other, ALL)
    assert loss.item() == pytest.approx((2 * math.log(4 / 3) + 2 * math.log(2)) / 4)
    masked = sync_classification_loss(own, other, torch.tensor([0.0, 1]))
    assert masked.item() == pytest.approx(2 * math.log(2) / 4)


@pytest.mark.parametrize(
    "loss", [sync_classification_loss, lambda *args: margin_contrastive_loss(*args, 0.99)]
)
def test_what_does_not_count_has_no_loss_and_no_gradient(loss):
    own, other = torch.rand(2, requires_grad=True), torch.rand(2, requires_grad=True)
    value = loss(own, other, torch.zeros(2))
    value.backward()
    assert value.item() == 0
    assert not own.grad.any() and not other.grad.any()


def test_processes_with_the_mean_of_their_gradients_are_one_with_all_clips():
    own, other, mask = torch.rand(6), torch.rand(6), torch.tensor([1.0, 0, 0, 1, 1, 1])
    apart = [
        margin_contrastive_loss(own[s], other[s], mask[s], 0.99) for s in (slice(3), slice(3, 6))
    ]
    together = margin_contrastive_loss(own, other, mask, 0.99)
    assert sum(apart).item() / 2 == pytest.approx(together.item())


def spectrograms(std: float) -> torch.Tensor:
    """(1, 1, 2, 8) with mean 1 and this standard deviation."""
    return 1 + std * torch.tensor([1.0, -1.0]).repeat(8).view(1, 1, 2, 8)


def test_silence_is_not_distinct():
    audio = torch.randn(1, 1, 2, 8, generator=torch.Generator().manual_seed(0))

    def differ(a, b):
        return are_distinct(a, b, min_variance=0.01, max_similarity=0.99999).tolist()

    assert differ(audio, spectrograms(0.11)) == differ(spectrograms(0.11), audio) == [True]
    assert differ(audio, spectrograms(0.09)) == differ(spectrograms(0.09), audio) == [False]
    assert differ(torch.cat([audio, audio]), torch.cat([spectrograms(1), audio])) == [True, False]


def test_duplicates_are_not_distinct():
    audio = torch.zeros(1, 1, 2, 8)
    audio[..., 0] = 1  # variance 7 / 64
    other = audio.clone()
    for change, expected in ((0.004, False), (0.005, True)):  # cosines 0.999992 and 0.9999875
        other[:, :, 0, 0], other[:, :, 1, 0] = 1 - change, 1 + change
        found = are_distinct(audio, other, min_variance=0.01, max_similarity=0.99999)
        assert found.tolist() == [expected]
