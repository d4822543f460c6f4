"""SlowFast and AVSlowFast as Detectron2 backbones; and Slow or Audio alone.

The paper is Xiao et al. 2020, "Audiovisual SlowFast Networks for Video Recognition".

Shorthands: N clips; C channels; T frames of the Fast pathway; T_a time steps and F mel bins of the
spectrogram. alpha_F is Fast frames per Slow frame, alpha_A time steps per Slow frame.
"""

from collections.abc import Mapping
from typing import Any

import torch
from detectron2.layers import ShapeSpec
from detectron2.modeling import Backbone
from torch import nn

from ...layers import freeze, is_channels_last
from ...structures import ConfigError
from .fusion import FUSION_STAGES, STAGES, FusionStage, Maps, SyncTap
from .lateral import DropMasks, DropPathway

Inputs = Mapping[str, torch.Tensor | None]  # see SlowFast.forward

# Mel bins of the silence that the Audio pathway processes where there is no audio, as many as the
# smallest spectrograms of the configs: each layer then has at least as many bins as taps. With
# fewer, oneDNN's bfloat16 convolutions read uninitialised memory on processors with AMX.
SILENT_MEL_BINS = 40


class SlowFast(Backbone):
    """Pathways that run stage by stage and are fused after each; with all three, AVSlowFast.

    During training, spectrograms of clips without audio are replaced by one of a clip with audio,
    so that silence does not bias the batch-norm statistics of the Audio pathway. The DropPathway
    mask zeroes their features afterwards. A batch without any audio stays as it is.

    Args:
        pathways: "slow", "fast", "audio", as far as they exist, to their stages; see
            :func:`make_visual_pathway` and :func:`make_audio_pathway`.
        fusion: stage to the fusion stage after it.
        f2s: Fast-to-Slow laterals of ``fusion``, by name of the fusion stage.
        a2fs: audio laterals of ``fusion``, by name of the fusion stage.
        drop_pathway: DropPathway of ``fusion``; given if there is an Audio pathway.
        alpha: alpha_F.
        span_clip: whether Slow's frames span the clip, from its first to its last frame; else they
            are each alpha_F-th.
        audio_alpha: alpha_A.
        stride: stride of the visual res5, pixels.
        freeze_at: number of stages (1: the stem, 2: also res2, ...) to freeze in all pathways,
            with the laterals that leave them.
        freeze_visual: whether to freeze Slow, Fast and the laterals between them, so that audio
            alone is learned.
    """

    def __init__(
        self,
        *,
        pathways: dict[str, nn.ModuleDict],
        fusion: dict[str, FusionStage],
        f2s: Mapping[str, nn.Module] = {},
        a2fs: Mapping[str, nn.Module] = {},
        drop_pathway: DropPathway | None = None,
        alpha: int = 1,
        span_clip: bool = True,
        audio_alpha: int = 1,
        stride: int = 32,
        freeze_at: int = 0,
        freeze_visual: bool = False,
    ) -> None:
        super().__init__()
        self.pathways, self.fusion = pathways, fusion
        # Parameters are registered by pathway and by kind of lateral: their names in checkpoints.
        for name, stages in pathways.items():
            self.add_module(name, stages)
        self.f2s, self.a2fs = nn.ModuleDict(f2s), nn.ModuleDict(a2fs)
        self.drop_pathway = drop_pathway
        self.alpha, self.audio_alpha, self.span_clip = alpha, audio_alpha, span_clip
        self.stride = stride
        if freeze_visual:
            for module in (*(x for name, x in pathways.items() if name != "audio"), self.f2s):
                freeze(module)
        for stage in STAGES[:freeze_at]:
            for stages in pathways.values():
                if stage in stages:
                    freeze(stages[stage])
            for laterals in (self.f2s, self.a2fs):
                if FUSION_STAGES[stage] in laterals:
                    freeze(laterals[FUSION_STAGES[stage]])

    def output_shape(self) -> dict[str, ShapeSpec]:
        """Return channels, and for visual maps the stride, of the features."""
        strides = {"slow": self.stride, "fast": self.stride, "audio": None}
        return {
            f"{name}_res5": ShapeSpec(channels=channels, stride=strides[name])
            for name, channels in self._channels("res5").items()
        }

    def tap_channels(self) -> dict[str, tuple[int, int]]:
        """Return the visual and the audio channels of each :class:`SyncTap` that has both.

        Visual channels are those of all maps together. The stem is left out.
        """
        channels = {}
        for stage in STAGES[1:]:
            tapped = self.fusion[stage].tap_channels(self._channels(stage))
            if tapped is not None and all(tapped):
                channels[stage] = tapped
        return channels

    def forward(
        self, x: Inputs, *, with_taps: bool = False
    ) -> Maps | tuple[Maps, dict[str, SyncTap]]:
        """Compute the features of N clips.

        Args:
            x: "frames" (N, 3, T, H, W) float, normalised, for the visual pathways. For the Audio
                pathway "audio" (N, 1, T_a, F) float, normalised, T_a = alpha_A * T / alpha_F, and
                "has_audio" (N,) bool, False for clips whose audio must have no effect. An "audio"
                of None equals no clip having audio. "audio_negative" and "has_audio_negative",
                of the same shapes, are processed in one batch with them, for the taps alone.
            with_taps: whether to return taps.

        Returns:
            Features of the pathways that exist: "slow_res5" (N, C, T / alpha_F, H / stride,
            W / stride), "fast_res5" (N, C, T, H / stride, W / stride), "audio_res5" (N, C,
            T_a / 8, F / 8), masked by DropPathway. With taps: these, and stage ("res2", ...) to
            :class:`SyncTap` for the stages of the Audio pathway.

        Raises:
            ValueError: T or T_a does not fit.
        """
        maps, masks = self._prepare(x)
        taps = {}
        for stage in STAGES:
            for name, stages in self.pathways.items():
                if stage in stages:
                    maps[name] = stages[stage](maps[name])
            # Audio to Fast, Fast to Slow, audio to Slow: as far as this stage has laterals.
            maps, tap = self.fusion[stage](maps, masks)
            if tap is not None:
                taps[stage] = tap
        # Without output_shape(): older PyTorch cannot trace the construction of a ShapeSpec.
        features = {
            f"{name}_res5": maps[name] for name, stages in self.pathways.items() if "res5" in stages
        }
        return (features, taps) if with_taps else features

    def _channels(self, stage: str) -> dict[str, int]:
        """Return the output channels of a residual stage, by pathway that has it."""
        present: dict[str, Any] = {k: v[stage] for k, v in self.pathways.items() if stage in v}
        return {name: blocks[0].conv3.out_channels for name, blocks in present.items()}

    def _prepare(self, x: Inputs) -> tuple[Maps, DropMasks | None]:
        """Return the input of each pathway, and the masks if there is an Audio pathway."""
        maps: dict[str, Any] = {}
        if "slow" in self.pathways:
            maps["slow"] = self._sample_slow_frames(x["frames"])  # (N, 3, T / alpha_F, H, W)
        if "fast" in self.pathways:
            maps["fast"] = x["frames"]  # (N, 3, T, H, W)
        if self.drop_pathway is None:
            return maps, None
        time_steps = self.audio_alpha * maps["slow"].shape[2] if "slow" in maps else None
        maps["audio"], has_audio = self._prepare_audio(x, time_steps)  # ([2]N, 1, T_a, F), (N,)
        return maps, self.drop_pathway.draw(has_audio)

    def _sample_slow_frames(self, frames: Any) -> torch.Tensor:
        """Sample (N, 3, T, H, W) to (N, 3, T / alpha_F, H, W)."""
        num_frames = frames.shape[2]
        if num_frames % self.alpha:
            raise ConfigError(f"{num_frames} frames are not a multiple of alpha_F = {self.alpha}")
        count = num_frames // self.alpha
        # Integers of Python: an index tensor would have to be copied to the GPU in every step.
        index = list(range(0, num_frames, self.alpha))
        if self.span_clip:
            index = [i * (num_frames - 1) // max(count - 1, 1) for i in range(count)]
        sampled = torch.stack([frames[:, :, i] for i in index], dim=2)
        if is_channels_last(frames):
            sampled = sampled.contiguous(memory_format=torch.channels_last_3d)
        return sampled

    def _prepare_audio(
        self, x: Mapping[str, Any], time_steps: int | None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return spectrograms ([2]N, 1, T_a, F), any negatives behind, and has_audio (N,)."""
        audio = x.get("audio")
        if audio is None:
            if time_steps is None:
                raise ValueError("the Audio pathway alone needs 'audio'")
            silence = x["frames"].new_zeros(len(x["frames"]), 1, time_steps, SILENT_MEL_BINS)
            return silence, silence.new_zeros(len(silence), dtype=torch.bool)
        if time_steps not in (None, audio.shape[2]):
            raise ConfigError(
                f"the spectrogram has {audio.shape[2]} time steps; expected {time_steps}: alpha_A "
                f"= {self.audio_alpha} times {time_steps // self.audio_alpha} Slow frames"
            )
        has_audio = is_audible = x["has_audio"]
        if x.get("audio_negative") is not None:
            audio = torch.cat([audio, x["audio_negative"]])
            is_audible = torch.cat([has_audio, x["has_audio_negative"]])
        if self.training:
            donor = is_audible.int().argmax(dim=0, keepdim=True)  # first spectrogram with audio
            audio = torch.where(is_audible.view(-1, 1, 1, 1), audio, audio.index_select(0, donor))
        return audio, has_audio
