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
from typing import Any, NamedTuple, Protocol

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


class FusionStage(Protocol):
    """Interface of :class:`VisualFusion` and :class:`AudioVisualFusion`."""

    def __call__(self, maps: Maps, masks: Any) -> tuple[Maps, SyncTap | None]:
        """Return the fused maps, and what met if that includes audio."""

    def tap_channels(self, channels: Mapping[str, int]) -> tuple[int, int] | None:
        """Return the visual and the audio channels of the tap, from those of the pathways."""


class AudioFusion(Protocol):
    """Interface of a fusion stage's part that handles the Audio pathway."""

    def __call__(self, maps: Maps, masks: DropMasks) -> tuple[Maps, Features]:
        """Return the fused maps, and the features that met."""

    def tap_channels(self, channels: Mapping[str, int]) -> tuple[int, int]:
        """Return the visual and the audio channels of the tap, from those of the pathways."""


@dataclass(frozen=True, eq=False)
class VisualFusion:
    """Fusion stage without an Audio pathway: Fast-to-Slow, if there is such a lateral."""

    f2s: FastToSlow | None = None

    def __call__(self, maps: Maps, masks: Any) -> tuple[Maps, None]:
        """Return the fused maps; there are no audio features to tap."""
        return _concatenate_fast(maps, self.f2s), None

    def tap_channels(self, channels: Mapping[str, int]) -> None:
        """Return None."""


@dataclass(frozen=True, eq=False)
class AudioVisualFusion:
    """Fusion stage with an Audio pathway.

    Attributes:
        audio: part that handles the Audio pathway.
        f2s_before: Fast-to-Slow lateral that runs before audio is fused.
        f2s_after: Fast-to-Slow lateral that runs after audio is fused.
        is_first: whether no audio was fused at an earlier stage.
    """

    audio: AudioFusion
    f2s_before: FastToSlow | None = None
    f2s_after: FastToSlow | None = None
    is_first: bool = True

    def __call__(self, maps: Maps, masks: DropMasks) -> tuple[Maps, SyncTap]:
        """Run the laterals in order; return the fused maps and what met."""
        maps = _concatenate_fast(maps, self.f2s_before)
        maps, met = self.audio(maps, masks)
        maps = _concatenate_fast(maps, self.f2s_after)
        # One mask holds for all laterals of a step: dropped clips have audio in no visual map.
        mask = masks.laterals
        return maps, SyncTap(*met, torch.ones_like(mask) if self.is_first else 1 - mask)

    def tap_channels(self, channels: Mapping[str, int]) -> tuple[int, int]:
        """Return the visual and the audio channels of the tap, from those of the pathways."""
        if self.f2s_before is not None:
            joined = channels["slow"] + self.f2s_before.out_channels
            channels = {**channels, "slow": joined}
        return self.audio.tap_channels(channels)


@dataclass(frozen=True, eq=False)
class NoAudioFusion:
    """The Audio pathway runs on beside the visual ones."""

    def __call__(self, maps: Maps, masks: DropMasks) -> tuple[Maps, Features]:
        """Return the maps as they are."""
        return maps, _all_features(maps)

    def tap_channels(self, channels: Mapping[str, int]) -> tuple[int, int]:
        """Return the channels of all visual pathways together, and those of Audio."""
        return _all_channels(channels)


@dataclass(frozen=True, eq=False)
class AddAudio:
    """Add audio features to each position of a visual map: A->FS and A->F->S.

    Attributes:
        lateral: audio features at the frame rate of the visual map.
        target: pathway that they are added to.
        drop_pathway: module that masks them.
        name: name of the fusion stage.
    """

    lateral: AudioToVisual
    target: str
    drop_pathway: DropPathway
    name: str

    def __call__(self, maps: Maps, masks: DropMasks) -> tuple[Maps, Features]:
        """Return the fused maps, and the two summands before DropPathway."""
        visual = maps[self.target]  # (N, C, T, H, W)
        audio = self.lateral(maps["audio"])  # (N, C, T, 1, 1), or (2N, ...) with negatives
        added = self.drop_pathway(audio[: visual.shape[0]], masks.laterals, self.name)
        return {**maps, self.target: visual + added}, ((visual,), audio)

    def tap_channels(self, channels: Mapping[str, int]) -> tuple[int, int]:
        """Return the channels of the target, which the audio features have too."""
        return channels[self.target], channels[self.target]


@dataclass(frozen=True, eq=False)
class AttendToVisual:
    """Add what audio finds in a visual map by attention to that map: non-local fusion.

    Attributes:
        lateral: attention of audio to the visual map.
        target: pathway that its result is added to.
        drop_pathway: module that masks the result.
        name: name of the fusion stage.
    """

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
        return {**maps, self.target: visual + added}, _all_features(maps)

    def tap_channels(self, channels: Mapping[str, int]) -> tuple[int, int]:
        """Return the channels of all visual pathways together, and those of Audio."""
        return _all_channels(channels)


@dataclass(frozen=True, eq=False)
class MaskAudio:
    """Drop the negatives from the last audio map and mask it, for the heads that pool it.

    Attributes:
        drop_pathway: module that masks the map.
        name: name of the fusion stage.
    """

    drop_pathway: DropPathway
    name: str = "pool5"

    def __call__(self, maps: Maps, masks: DropMasks) -> tuple[Maps, Features]:
        """Return the maps with (N, C, T_a, F) masked audio, and the maps before."""
        audio = maps["audio"][: masks.pooled.shape[0]]
        masked = self.drop_pathway(audio, masks.pooled, self.name)
        return {**maps, "audio": masked}, _all_features(maps)

    def tap_channels(self, channels: Mapping[str, int]) -> tuple[int, int]:
        """Return the channels of all visual pathways together, and those of Audio."""
        return _all_channels(channels)


def _concatenate_fast(maps: Maps, f2s: FastToSlow | None) -> Maps:
    if f2s is None:
        return maps
    return {**maps, "slow": torch.cat([maps["slow"], f2s(maps["fast"])], dim=1)}


def _all_features(maps: Maps) -> Features:
    return tuple(x for name, x in maps.items() if name != "audio"), maps["audio"]


def _all_channels(channels: Mapping[str, int]) -> tuple[int, int]:
    visual = (n for name, n in channels.items() if name != "audio")
    return sum(visual), channels["audio"]
