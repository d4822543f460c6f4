"""The non-local block on two positions, where attention is arithmetic."""

import math

import pytest
import torch

from avsf_det.layers import NonLocalBlock

A, B, C, D = 0.5, 2.0, 3.0, 0.25  # weights of theta, phi, g and out
X = torch.tensor([1.0, 3.0])


def make_block(attention: str, pool: tuple[int, int, int]) -> NonLocalBlock:
    block = NonLocalBlock(1, 1, pool=pool, attention=attention, norm="")
    for conv, weight in zip(
        (block.theta, block.phi, block.g, block.out), (A, B, C, D), strict=True
    ):
        conv.weight.data.fill_(weight)
    return block


def test_dot_product():
    out = make_block("dot_product", (1, 1, 1))(X.view(1, 1, 1, 1, 2)).flatten().tolist()
    expected = [
        x + D * sum((A * x) * (B * y) / 2 * (C * y) for y in (1.0, 3.0)) for x in (1.0, 3.0)
    ]
    assert out == pytest.approx(expected)


def test_softmax():
    out = make_block("softmax", (1, 1, 1))(X.view(1, 1, 1, 1, 2)).flatten().tolist()
    expected = []
    for x in (1.0, 3.0):
        first = 1 / (1 + math.exp(A * x * B * (3.0 - 1.0)))
        expected.append(x + D * C * (first * 1.0 + (1 - first) * 3.0))
    assert out == pytest.approx(expected)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_keys_and_values_are_max_pooled(axis):
    pool, shape = [1, 1, 1], [1, 1, 1, 1, 1]
    pool[axis] = shape[2 + axis] = 2
    out = make_block("dot_product", tuple(pool))(X.view(shape)).flatten().tolist()
    assert out == pytest.approx([x + D * (A * x) * (B * 3.0) * (C * 3.0) for x in (1.0, 3.0)])


def test_starts_as_identity():
    x = torch.randn(2, 4, 2, 4, 4)
    assert torch.equal(NonLocalBlock(4)(x), x)


def test_softmax_is_scaled_by_the_inner_width():
    torch.manual_seed(0)
    block = NonLocalBlock(4, 9, pool=(1, 1, 1), attention="softmax", norm="")
    x = torch.randn(1, 4, 1, 1, 5)
    q, k, v = (conv(x).flatten(2)[0] for conv in (block.theta, block.phi, block.g))  # (9, 5)
    attended = torch.einsum("ts,ds->dt", torch.softmax(torch.einsum("dt,ds->ts", q, k) / 3, 1), v)
    assert torch.allclose(block(x), x + block.out(attended.view(1, 9, 1, 1, 5)), atol=1e-6)


def test_unknown_attention():
    with pytest.raises(ValueError, match="attention is 'gaussian'"):
        NonLocalBlock(4, attention="gaussian")
