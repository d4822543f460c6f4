"""Losses of audiovisual synchronisation (paper, section 3.5; docs/paper.md), as pure functions.

Shorthands: N clips; D dimensions of an embedding. Each clip has a positive pair, its visual and
its own audio features, and a negative pair, its visual features and audio that is not in sync with
them. Both losses are sums over the clips that count, divided by the 2N pairs of all clips. So a
clip weighs the same whatever else is in its batch, and several processes have the gradients of one.
"""

import torch
import torch.nn.functional as F


def pair_distances(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """Return the Euclidean distances (N,) of two (N, D), row by row, with finite gradients."""
    # The square root has an infinite gradient at 0, where embeddings are equal.
    return (a - b).square().sum(dim=1).clamp(min=1e-12).sqrt()


def margin_contrastive_loss(
    positive: torch.Tensor, negative: torch.Tensor, mask: torch.Tensor, margin: float
) -> torch.Tensor:
    """Pull positive pairs together, and push negative ones apart up to ``margin``.

    The loss is the sum of mask * (positive^2 + max(0, margin - negative)^2), over 2N.

    Args:
        positive: (N,) distances of the positive pairs.
        negative: (N,) distances of the negative pairs.
        mask: (N,) float, 1 for clips that count, 0 for others.
        margin: distance from which a negative pair has no loss.
    """
    pairs = positive.square() + (margin - negative).clamp(min=0).square()
    return _masked_mean(pairs, mask)


def sync_classification_loss(
    positive: torch.Tensor, negative: torch.Tensor, mask: torch.Tensor
) -> torch.Tensor:
    """Compute the binary cross-entropy of "in sync": 1 for positive pairs, 0 for negative ones.

    ``positive`` and ``negative`` are logits (N,), ``mask`` that of :func:`margin_contrastive_loss`.
    """
    pairs = F.softplus(-positive) + F.softplus(negative)
    return _masked_mean(pairs, mask)


def _masked_mean(pairs: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Return the sum of ``pairs`` (N,) with ``mask`` 1, over 2N; the others may be infinite."""
    return torch.where(mask > 0, pairs, 0).sum() / (2 * len(mask))


def are_distinct(
    audio: torch.Tensor, negative: torch.Tensor, *, min_variance: float, max_similarity: float
) -> torch.Tensor:
    """Return for which clips the own audio and the negative can be distinguished, (N,) bool.

    Neither may be silent or monotonous, and they must differ.

    Args:
        audio: (N, 1, T_a, F) normalised spectrograms.
        negative: (N, 1, T_a, F) normalised spectrograms.
        min_variance: variance that each must exceed.
        max_similarity: cosine similarity that they must stay below.
    """
    audio, negative = audio.flatten(1), negative.flatten(1)  # (N, T_a * F)
    varied = [x.var(dim=1, correction=0) > min_variance for x in (audio, negative)]
    return varied[0] & varied[1] & (F.cosine_similarity(audio, negative) < max_similarity)
