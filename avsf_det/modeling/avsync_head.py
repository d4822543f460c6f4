"""Hierarchical audiovisual synchronisation, AVS (paper, section 3.5; docs/paper.md).

Shorthands: N clips; D dimensions of an embedding. A level is a stage after which sight and sound
are compared.
"""

import math
from collections.abc import Mapping

import torch
import torch.nn.functional as F
from detectron2.config import CfgNode, configurable
from detectron2.utils.events import get_event_storage
from torch import nn

from .backbone.build import build_sync_laterals
from .backbone.lateral import AudioToVisual, FastToSlow
from .backbone.slowfast import Junction, SlowFast
from .losses import margin_contrastive_loss, pair_distances, sync_classification_loss, tell_apart

LOSSES = ("contrastive", "bce")


class AVSyncHead(nn.Module):
    """Is this the sound of this clip? Asked at each level, of its own sound and of a negative.

    A negative is hard, sound of the same video at another time, or easy, sound of another video:
    then it is the hard negative of the previous clip in the batch, or its own sound if that has no
    hard one.

    A level counts only for clips whose sight has no audio in it already, and only where two sounds
    can be told apart; a factor of 0 takes the others out, so that every parameter is in every
    step's graph.

    It is for training: models for inference have none. The attribute ``easy_ratio``, the share of
    a batch, from its start, that gets easy negatives (rounded down), is there to be changed.
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
    ):
        """
        Args:
            channels: level ("res3", ...) to channels of sight and of sound.
            dim: D.
            loss: "contrastive", or "bce": a binary classification of the cosine similarity.
            margin: of the contrastive loss. Distances are at most 1.
            weight: of the loss of each level.
            min_variance, max_similarity: see :func:`avsf_det.modeling.losses.tell_apart`.
            f2s, a2fs: laterals at res5, for the comparison alone. Without them the pooled maps of
                the pathways are compared.

        Raises:
            ValueError: if there is no such loss.
        """
        super().__init__()
        if loss not in LOSSES:
            raise ValueError(f"MODEL.AVSYNC.LOSS is '{loss}'; it can be {' or '.join(LOSSES)}")
        self.levels = tuple(channels)
        self.margin, self.weight = margin, weight
        self.min_variance, self.max_similarity = min_variance, max_similarity
        self.easy_ratio = 1.0
        self.f2s, self.a2fs = f2s, a2fs
        for level, (visual, audio) in channels.items():
            layers = nn.ModuleDict(
                {"visual": nn.Linear(visual, dim), "audio": nn.Linear(audio, dim)}
            )
            for layer in layers.values():
                nn.init.normal_(layer.weight, std=0.01)
                nn.init.zeros_(layer.bias)
            if loss == "bce":
                layers["sync"] = nn.Linear(1, 1)
                nn.init.constant_(layers["sync"].weight, 5.0)  # certain (0.993) is within reach
                nn.init.zeros_(layers["sync"].bias)
            self.add_module(level, layers)

    @classmethod
    def from_config(cls, cfg: CfgNode, backbone: SlowFast) -> dict:
        """
        Raises:
            ValueError: if one of MODEL.AVSYNC.LEVELS is not a stage of ``backbone`` with audio and
                sight; or if MODEL.AUDIO.ALPHA is too small for the laterals at res5.
        """
        c = cfg.MODEL.AVSYNC
        known = backbone.junction_channels()
        if not c.LEVELS or not set(c.LEVELS) <= set(known):
            raise ValueError(
                f"MODEL.AVSYNC.LEVELS is {c.LEVELS}; stages where {cfg.MODEL.BACKBONE.NAME} has "
                f"sight and sound: {', '.join(known) or 'none'}. MODEL.AUDIO.FUSION_STAGES "
                f"{cfg.MODEL.AUDIO.FUSION_STAGES} says how far the Audio pathway goes"
            )
        channels = {level: known[level] for level in known if level in c.LEVELS}
        laterals = {}
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

    def is_easy(self, num_clips: int) -> torch.Tensor:
        """Which of N clips have easy negatives: (N,) bool. A clip that is alone has none."""
        num_easy = math.floor(self.easy_ratio * num_clips) if num_clips > 1 else 0
        return torch.arange(num_clips) < num_easy

    def choose_negatives(self, x: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """
        Args:
            x: a backbone's input; "audio_negative" and "has_audio_negative" are hard.

        Returns:
            the same, some of them easy.
        """
        easy = self.is_easy(len(x["audio"])).to(x["audio"].device)
        hard, has_hard = x["audio_negative"], x["has_audio_negative"]
        # A file that is too short for a hard negative lends its own sound.
        lent = torch.where(has_hard.view(-1, 1, 1, 1), hard, x["audio"])
        has_lent = has_hard | x["has_audio"]
        return {
            **x,
            "audio_negative": torch.where(easy.view(-1, 1, 1, 1), lent.roll(1, 0), hard),
            "has_audio_negative": torch.where(easy, has_lent.roll(1, 0), has_hard),
        }

    def embed(
        self, junctions: Mapping[str, Junction]
    ) -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
        """
        Args:
            junctions: stage to N clips, with or without negatives; see :class:`SlowFast`.

        Returns:
            level to embeddings of sight (N, D) and of sound (N, D), or (2N, D) with the negatives
            behind. They are float32 and of length 0.5.
        """
        embeddings = {}
        for level in self.levels:
            visual, audio, _ = junctions[level]
            if level == "res5" and self.f2s is not None:
                slow, fast = visual
                visual = (torch.cat([slow, self.f2s(fast)], dim=1),)
                audio = self.a2fs(audio, slow)
            layers = getattr(self, level)
            embeddings[level] = (
                _embed(layers["visual"], torch.cat([x.flatten(2).mean(dim=2) for x in visual], 1)),
                _embed(layers["audio"], audio.flatten(2).mean(dim=2)),
            )
        return embeddings

    def valid(self, x: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """Which clips of a backbone's input have two sounds that can be told apart: (N,) bool."""
        return (
            x["has_audio"]
            & x["has_audio_negative"]
            & tell_apart(
                x["audio"],
                x["audio_negative"],
                min_variance=self.min_variance,
                max_similarity=self.max_similarity,
            )
        )

    def forward(
        self, junctions: Mapping[str, Junction], x: Mapping[str, torch.Tensor]
    ) -> dict[str, torch.Tensor]:
        """The losses. Into Detectron2's event storage go "avs/<level>_acc_easy" and "_acc_hard":
        the share of clips, of those that count, which are nearer to their own sound than to that
        negative.

        Args:
            junctions: of N clips with negatives; see :class:`SlowFast`.
            x: what the backbone made them of.

        Returns:
            "loss_avs_<level>" of each level.
        """
        valid = self.valid(x)
        easy = self.is_easy(len(valid)).to(valid.device)
        losses = {}
        for level, (visual, audio) in self.embed(junctions).items():
            own, other = (pair_distances(visual, sound) for sound in audio.chunk(2))
            counts = valid * junctions[level].unfused
            layers = getattr(self, level)
            if "sync" in layers:
                # Of two vectors of length 0.5 the cosine is 1 - 2 * distance^2.
                logits = [
                    layers["sync"](1 - 2 * distance.square().unsqueeze(1)).squeeze(1).float()
                    for distance in (own, other)
                ]
                loss = sync_classification_loss(*logits, counts)
            else:
                loss = margin_contrastive_loss(own, other, counts, self.margin)
            losses[f"loss_avs_{level}"] = self.weight * loss
            for kind, mask in (("easy", easy), ("hard", ~easy)):
                _log_share(f"avs/{level}_acc_{kind}", own < other, counts * mask)
        return losses


def _embed(layer: nn.Linear, pooled: torch.Tensor) -> torch.Tensor:
    return 0.5 * F.normalize(layer(pooled).float(), dim=1)


def _log_share(name: str, correct: torch.Tensor, counts: torch.Tensor) -> None:
    """Of what ``counts`` (N,), the share that is ``correct`` (N,); nothing if nothing counts."""
    total = counts.sum().item()
    if total:
        get_event_storage().put_scalar(name, (counts * correct).sum().item() / total)
