"""Fusion stages: how the pathways exchange features after a stage.

A fusion stage runs its laterals in order and returns new maps:

    A->FS      Slow = [Slow, f2s(Fast)], then Slow = Slow + a2fs(Audio)
    A->F->S    Fast = Fast + a2fs(Audio), then Slow = [Slow, f2s(Fast)]
    non-local  Slow = [Slow, f2s(Fast)], then Slow = Slow + a2fs(Audio attends to Slow)

Shorthands: N clips; maps are (N, C, T, H, W) for "slow" and "fast" and (N, C, T_a, F) for "audio".
With negatives for the synchronisation loss, the audio map is (2N, ...): the negatives follow the
clips, and are fused nowhere.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import torch

from .lateral import AudioToVisual, AudioVisualNonLocal, DropMasks, DropPathway, FastToSlow

# Stage to the fusion stage after it, by its name in configs and checkpoints. At "pool5" nothing is
# fused: the heads pool and concatenate the maps.
FUSION_STAGES = {"stem": "pool1", "res2": "res2", "res3": "res3", "res4": "res4", "res5": "pool5"}
STAGES = tuple(FUSION_STAGES)

Maps = dict[str, torch.Tensor]  # pathway to its map


class SyncTap(NamedTuple):
    """Features that meet at a fusion stage, before they are fused; for the synchronisation loss.

    At the lateral of A->FS or A->F->S these are the visual map that audio features are added to,
    and those audio features. Elsewhere they are the maps of all pathways.
    """

    visual: tuple[torch.Tensor, ...]  # each (N, C, T, H, W)
    audio: torch.Tensor  # (N, C, T, 1, 1) or (N, C, T_a, F); (2N, ...) with negatives
    unfused: torch.Tensor  # (N,) float32: 1 where ``visual`` contains no audio, else 0


Features = tuple[tuple[torch.Tensor, ...], torch.Tensor]  # visual and audio of a SyncTap


class AudioFusion:
    """Part of a fusion stage that handles the Audio pathway; this one leaves the maps alone."""

    def __call__(self, maps: Maps, masks: DropMasks) -> tuple[Maps, Features]:
        """Return the fused maps, and the features that met: here the maps of all pathways."""
        return maps, (tuple(x for name, x in maps.items() if name != "audio"), maps["audio"])

    def tap_channels(self, channels: Mapping[str, int]) -> tuple[int, int]:
        """Return the visual and the audio channels of these features, from those of the maps."""
        return sum(n for name, n in channels.items() if name != "audio"), channels["audio"]


@dataclass(frozen=True, eq=False)
class FusionStage:
    """Laterals between the pathways after a stage, as far as it has them."""

    f2s_before: FastToSlow | None = None  # runs before audio is fused
    audio: AudioFusion | None = None  # None where the Audio pathway has ended
    f2s_after: FastToSlow | None = None  # runs after audio is fused
    is_first: bool = True  # whether no audio was fused at an earlier stage

    def __call__(self, maps: Maps, masks: DropMasks | None) -> tuple[Maps, SyncTap | None]:
        """Run the laterals in order; return the fused maps, and what met if that has audio."""
        maps = _concatenate_fast(maps, self.f2s_before)
        if self.audio is None:
            return maps, None
        assert masks is not None
        maps, met = self.audio(maps, masks)
        maps = _concatenate_fast(maps, self.f2s_after)
        # One mask holds for all laterals of a step: dropped clips have audio in no visual map.
        mask = masks.laterals
        return maps, SyncTap(*met, torch.ones_like(mask) if self.is_first else 1 - mask)

    def tap_channels(self, channels: Mapping[str, int]) -> tuple[int, int] | None:
        """Return the visual and the audio channels of the tap, from those of the pathways."""
        if self.audio is None:
            return None
        if self.f2s_before is not None:
            channels = {**channels, "slow": channels["slow"] + self.f2s_before.out_channels}
        return self.audio.tap_channels(channels)


@dataclass(frozen=True, eq=False)
class AddAudio(AudioFusion):
    """Add audio features to each position of a visual map: A->FS and A->F->S."""

    lateral: AudioToVisual
    target: str  # pathway that audio is added to
    drop_pathway: DropPathway
    name: str  # of the fusion stage

    def __call__(self, maps: Maps, masks: DropMasks) -> tuple[Maps, Features]:
        """Return the fused maps, and the two summands before gain and DropPathway."""
        visual = maps[self.target]  # (N, C, T, H, W)
        audio = self.lateral(maps["audio"])  # (N, C, T, 1, 1), or (2N, ...) with negatives
        scaled = self.lateral.scale(audio[: visual.shape[0]])
        added = self.drop_pathway(scaled, masks.laterals, self.name)
        return {**maps, self.target: visual + added}, ((visual,), audio)

    def tap_channels(self, channels: Mapping[str, int]) -> tuple[int, int]:
        """Return the channels of the target, which the audio features have too."""
        return channels[self.target], channels[self.target]


@dataclass(frozen=True, eq=False)
class AttendToVisual(AudioFusion):
    """Add what audio finds in a visual map by attention to that map: non-local fusion."""

    lateral: AudioVisualNonLocal
    target: str
    drop_pathway: DropPathway
    name: str

    def __call__(self, maps: Maps, masks: DropMasks) -> tuple[Maps, Features]:
        """Return the fused maps, and the maps of all pathways before."""
        visual = maps[self.target]  # (N, C, T, H, W)
        # Negatives take no part: their features would contain the clip's own visual features.
        found = self.lateral(maps["audio"][: visual.shape[0]], visual)  # (N, C, T, 1, 1)
        added = self.drop_pathway(found, masks.laterals, self.name)
        _, met = super().__call__(maps, masks)
        return {**maps, self.target: visual + added}, met


@dataclass(frozen=True, eq=False)
class MaskAudio(AudioFusion):
    """Drop the negatives from the last audio map and mask it, for the heads that pool it."""

    drop_pathway: DropPathway
    name: str = "pool5"

    def __call__(self, maps: Maps, masks: DropMasks) -> tuple[Maps, Features]:
        """Return the maps with (N, C, T_a, F) masked audio, and the maps before."""
        audio = maps["audio"][: masks.pooled.shape[0]]
        masked = self.drop_pathway(audio, masks.pooled, self.name)
        _, met = super().__call__(maps, masks)
        return {**maps, "audio": masked}, met


def _concatenate_fast(maps: Maps, f2s: FastToSlow | None) -> Maps:
    if f2s is None:
        return maps
    return {**maps, "slow": torch.cat([maps["slow"], f2s(maps["fast"])], dim=1)}
