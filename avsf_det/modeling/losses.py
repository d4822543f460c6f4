"""Losses of audiovisual synchronisation (paper, section 3.5; docs/paper.md), as pure functions.

Shorthands: N clips; D dimensions of an embedding. Each clip has a positive pair, its sight and its
own sound, and a negative pair, its sight and a sound that is not in sync with it. Both losses are
sums over the clips that count, divided by the 2N pairs of all clips. So a clip weighs the same
whatever it shares the batch with, and several processes have the gradients of one.
"""

import torch
import torch.nn.functional as F


def pair_distances(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """Euclidean distances of two (N, D), row by row: (N,). The gradient is finite at 0 too."""
    return (a - b).square().sum(dim=1).clamp(min=1e-12).sqrt()


def margin_contrastive_loss(
    positive: torch.Tensor, negative: torch.Tensor, mask: torch.Tensor, margin: float
) -> torch.Tensor:
    """Positive pairs are drawn together, negative ones driven apart up to ``margin``:
    sum of mask * (positive^2 + max(0, margin - negative)^2), over 2N.

    Args:
        positive, negative: (N,) distances.
        mask: (N,) float, 1 for clips that count, 0 for others.
    """
    pairs = positive.square() + (margin - negative).clamp(min=0).square()
    return (mask * pairs).sum() / (2 * len(mask))


def sync_classification_loss(
    positive: torch.Tensor, negative: torch.Tensor, mask: torch.Tensor
) -> torch.Tensor:
    """Binary cross-entropy of "in sync": of positive pairs 1, of negative ones 0.

    Args:
        positive, negative: (N,) logits.
        mask: (N,) float, 1 for clips that count, 0 for others.
    """
    pairs = F.softplus(-positive) + F.softplus(negative)
    return (mask * pairs).sum() / (2 * len(mask))


def tell_apart(
    audio: torch.Tensor, negative: torch.Tensor, *, min_variance: float, max_similarity: float
) -> torch.Tensor:
    """Which clips have two sounds that can be told apart: neither is silent nor monotonous, and
    they are not the same.

    Args:
        audio, negative: (N, 1, T_a, F) normalised spectrograms.
        min_variance: what the variance of each must exceed.
        max_similarity: what their cosine similarity must fall short of.

    Returns:
        (N,) bool.
    """
    audio, negative = audio.flatten(1), negative.flatten(1)
    varied = [x.var(dim=1, correction=0) > min_variance for x in (audio, negative)]
    return varied[0] & varied[1] & (F.cosine_similarity(audio, negative) < max_similarity)
