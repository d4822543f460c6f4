"""Hierarchical audiovisual synchronisation, AVS (paper, section 3.5; docs/paper.md).

Shorthands: N clips; D dimensions of an embedding. A level is a stage after which visual and audio
features are compared.
"""

import math
from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from detectron2.config import CfgNode, configurable
from torch import nn

from ..structures import ConfigError
from .backbone.build import build_sync_laterals
from .backbone.fusion import SyncTap
from .backbone.lateral import AudioToVisual, FastToSlow
from .backbone.slowfast import SlowFast
from .losses import (
    are_distinct,
    margin_contrastive_loss,
    pair_distances,
    sync_classification_loss,
)

LOSSES = ("contrastive", "bce")


class AVSyncHead(nn.Module):
    """Head that learns, at each level, whether audio belongs to a clip's frames; for training.

    Each clip is compared with its own audio and with a negative. A hard negative is audio of the
    same video at another time. An easy one is audio of another video: the hard negative of the
    previous clip in the batch, or that clip's own audio if it has no hard negative.

    The loss of a level is masked for clips whose visual features already contain fused audio (the
    answer would leak) and for clips whose positive and negative audio are silent or identical.
    Masking by 0 instead of indexing keeps all parameters in the graph, as DDP requires.

    Args:
        channels: level ("res3", ...) to the numbers of visual and of audio channels.
        dim: number of dimensions, D.
        loss: "contrastive", or "bce": a binary classification of the cosine similarity.
        margin: margin of the contrastive loss. Distances are at most 1.
        weight: weight of the loss of each level.
        min_variance: see :func:`avsf_det.modeling.losses.are_distinct`.
        max_similarity: see :func:`avsf_det.modeling.losses.are_distinct`.
        f2s: Fast-to-Slow lateral after res5, for the comparison alone.
        a2fs: audio lateral after res5, for the comparison alone; given if ``f2s`` is. Without
            them the pooled maps of the pathways are compared.

    Raises:
        ConfigError: ``loss`` is another name.

    Attributes:
        levels: names of the levels.
        easy_ratio: fraction of a batch, from its start, with easy negatives (rounded down). A
            curriculum may change it between steps.
        fractions: of the last training step, see :meth:`forward`: name to the number of correct
            clips and the number of clips that count, float32 scalars on the device. A hook logs
            them now and then, as reading them makes a GPU wait.
    """

    @configurable
    def __init__(
        self,
        *,
        channels: Mapping[str, tuple[int, int]],
        dim: int,
        loss: str,
        margin: float,
        weight: float,
        min_variance: float,
        max_similarity: float,
        f2s: FastToSlow | None = None,
        a2fs: AudioToVisual | None = None,
    ) -> None:
        super().__init__()
        if loss not in LOSSES:
            raise ConfigError(f"MODEL.AVSYNC.LOSS is '{loss}'; it can be {' or '.join(LOSSES)}")
        self.levels = tuple(channels)
        self.margin, self.weight = margin, weight
        self.min_variance, self.max_similarity = min_variance, max_similarity
        self.easy_ratio = 1.0
        self.fractions: dict[str, tuple[torch.Tensor, torch.Tensor]] = {}
        self.f2s, self.a2fs = f2s, a2fs
        for level, (visual, audio) in channels.items():
            layers = {"visual": nn.Linear(visual, dim), "audio": nn.Linear(audio, dim)}
            for layer in layers.values():
                nn.init.normal_(layer.weight, std=0.01)
                nn.init.zeros_(layer.bias)
            if loss == "bce":
                layers["sync"] = nn.Linear(1, 1)
                # Cosines reach from -1 to 1: a weight of 5 allows probabilities up to 0.993.
                nn.init.constant_(layers["sync"].weight, 5.0)
                nn.init.zeros_(layers["sync"].bias)
            self.add_module(level, nn.ModuleDict(layers))

    @classmethod
    def from_config(cls, cfg: CfgNode, backbone: SlowFast) -> dict[str, Any]:
        """Read MODEL.AVSYNC.

        Raises:
            ConfigError: one of the levels is not a stage of ``backbone`` with audio and visual
                features, or MODEL.AUDIO.ALPHA is too small for the laterals at res5.
        """
        c = cfg.MODEL.AVSYNC
        known = backbone.tap_channels()
        if not c.LEVELS or not set(c.LEVELS) <= set(known):
            raise ConfigError(
                f"MODEL.AVSYNC.LEVELS is {c.LEVELS}; stages where {cfg.MODEL.BACKBONE.NAME} has "
                f"visual and audio features: {', '.join(known) or 'none'}. "
                f"MODEL.AUDIO.FUSION_STAGES {cfg.MODEL.AUDIO.FUSION_STAGES} says how far the Audio "
                "pathway goes"
            )
        channels = {level: known[level] for level in known if level in c.LEVELS}
        laterals: dict[str, Any] = {}
        if c.RES5_LATERALS and "res5" in channels:
            laterals = build_sync_laterals(cfg)
            channels["res5"] = (laterals["a2fs"].out_channels,) * 2
        return {
            "channels": channels,
            "dim": c.DIM,
            "loss": c.LOSS,
            "margin": c.MARGIN,
            "weight": c.WEIGHT,
            "min_variance": c.MIN_VARIANCE,
            "max_similarity": c.MAX_SIMILARITY,
            **laterals,
        }

    def is_easy(self, num_clips: int, device: torch.device | None = None) -> torch.Tensor:
        """Return which of N clips have easy negatives, (N,) bool; a single clip has none."""
        num_easy = math.floor(self.easy_ratio * num_clips) if num_clips > 1 else 0
        return torch.arange(num_clips, device=device) < num_easy

    def choose_negatives(self, x: Mapping[str, Any]) -> dict[str, Any]:
        """Return the inputs of a backbone with easy negatives for the clips of :meth:`is_easy`."""
        easy = self.is_easy(len(x["audio"]), x["audio"].device)
        hard, has_hard = x["audio_negative"], x["has_audio_negative"]
        # A video that is too short for a hard negative gives its own audio to the next clip.
        given = torch.where(has_hard.view(-1, 1, 1, 1), hard, x["audio"])
        has_given = has_hard | x["has_audio"]
        return {
            **x,
            "audio_negative": torch.where(easy.view(-1, 1, 1, 1), given.roll(1, 0), hard),
            "has_audio_negative": torch.where(easy, has_given.roll(1, 0), has_hard),
        }

    def embed(self, taps: Mapping[str, SyncTap]) -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
        """Embed the features of each level.

        Args:
            taps: taps of N clips by stage, with or without negatives; see :class:`SlowFast`.

        Returns:
            Level to visual embeddings (N, D) and audio embeddings (N, D), or (2N, D) with the
            negatives behind. They are float32 and of length 0.5.
        """
        embeddings = {}
        for level in self.levels:
            visual, audio, _ = taps[level]
            if level == "res5" and self.f2s is not None and self.a2fs is not None:
                slow, fast = visual  # (N, C, T / alpha_F, H, W), (N, C, T, H, W)
                visual = (torch.cat([slow, self.f2s(fast)], dim=1),)
                audio = self.a2fs(audio)  # (2N, C, T / alpha_F, 1, 1)
            layers = getattr(self, level)
            pooled = torch.cat([x.flatten(2).mean(dim=2) for x in visual], 1)  # (N, C_visual)
            projected = layers["visual"](pooled), layers["audio"](audio.flatten(2).mean(dim=2))
            of_visual, of_audio = (0.5 * F.normalize(x.float(), dim=1) for x in projected)
            embeddings[level] = (of_visual, of_audio)  # (N, D), ([2]N, D)
        return embeddings

    def is_valid(self, x: Mapping[str, Any]) -> torch.Tensor:
        """Return which clips of ``x`` have audio and a negative that is distinct, (N,) bool."""
        distinct = are_distinct(
            x["audio"],
            x["audio_negative"],
            min_variance=self.min_variance,
            max_similarity=self.max_similarity,
        )
        return x["has_audio"] & x["has_audio_negative"] & distinct

    def forward(self, taps: Mapping[str, SyncTap], x: Mapping[str, Any]) -> dict[str, torch.Tensor]:
        """Compute the losses.

        ``fractions`` gets "avs/<level>_acc_easy" and "_acc_hard": the clips, of those that count,
        that are closer to their own audio than to that negative.

        Args:
            taps: taps of N clips with negatives by stage; see :class:`SlowFast`.
            x: inputs of the backbone, with negatives.

        Returns:
            "loss_avs_<level>" of each level.
        """
        valid = self.is_valid(x)
        easy = self.is_easy(len(valid), valid.device)
        losses = {}
        for level, (visual, audio) in self.embed(taps).items():
            positive, negative = (pair_distances(visual, part) for part in audio.chunk(2))  # (N,)
            mask = valid * taps[level].unfused
            layers = getattr(self, level)
            if "sync" in layers:
                logits = [
                    _sync_logits(layers["sync"], d) for d in (positive, negative)
                ]  # (N,) each
                loss = sync_classification_loss(logits[0], logits[1], mask)
            else:
                loss = margin_contrastive_loss(positive, negative, mask, self.margin)
            losses[f"loss_avs_{level}"] = self.weight * loss
            for kind, chosen in (("easy", easy), ("hard", ~easy)):
                counted = (mask * chosen).detach()
                correct = (counted * (positive < negative)).sum(), counted.sum()
                self.fractions[f"avs/{level}_acc_{kind}"] = correct
        return losses


def _sync_logits(layer: nn.Linear, distances: torch.Tensor) -> torch.Tensor:
    """Return the logits (N,) of "in sync" from the cosines of pairs of embeddings."""
    # The cosine of two vectors of length 0.5 is 1 - 2 * distance^2.
    return layer(1 - 2 * distances.square().unsqueeze(1)).squeeze(1).float()
