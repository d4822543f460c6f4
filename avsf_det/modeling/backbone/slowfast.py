"""SlowFast and AVSlowFast (Xiao et al. 2020, "Audiovisual SlowFast Networks for Video
Recognition") as Detectron2 backbones; and Slow or Audio alone.

Shorthands: N clips; C channels; T frames of the Fast pathway; T_a columns and F mel bins of the
spectrogram. alpha_F is Fast frames per Slow frame, alpha_A columns per Slow frame. A junction is a
place between two stages where pathways meet: pool1 (after the stem), res2, res3, res4. After the
last stage, pool5, they are pooled and concatenated by the head.
"""

from typing import NamedTuple

import torch
from detectron2.layers import ShapeSpec
from detectron2.modeling import Backbone
from torch import nn

from ...layers import freeze, is_channels_last
from .lateral import AudioToVisual, DropPathway

JUNCTIONS = ("pool1", "res2", "res3", "res4")
# A stage and the place that follows it.
STAGES = tuple(zip(("stem", "res2", "res3", "res4", "res5"), (*JUNCTIONS, "pool5"), strict=True))


class Junction(NamedTuple):
    """What is seen and what is heard after a stage, before the two are fused there.

    Where a lateral makes a term of the audio alone, these are the map that the term is summed onto
    and the term; elsewhere Slow (with what has joined it) and Fast, and the Audio map.
    """

    visual: tuple[torch.Tensor, ...]  # each (N, C, T, H, W)
    audio: torch.Tensor  # (N, C, T, F) or (N, C, T, 1, 1); (2N, ...) with the negatives, behind
    unfused: torch.Tensor  # (N,) float32: 1 where no audio is in ``visual``, else 0


class SlowFast(Backbone):
    """Pathways that run stage by stage and meet at junctions. With all three it is AVSlowFast.

    In training, the place of a clip without sound in the batch of the Audio pathway is taken by
    one with sound, so that silence does not enter the statistics of its batch norms; the gate
    makes this invisible elsewhere. A batch without any sound goes through as it is.

    Args:
        slow, fast: the stages of the visual pathways, see :func:`make_visual_pathway`.
        audio: the stages of the Audio pathway, see :func:`make_audio_pathway`. Those up to res5
            make "pool5" one of its outputs.
        f2s: junction to Fast-to-Slow lateral.
        a2fs: junction to audio lateral.
        audio_into: "slow" (with its Fast channels) or "fast" (before Fast-to-Slow): what the terms
            of the audio laterals are summed onto.
        alpha: alpha_F.
        audio_alpha: alpha_A.
        stride: of the visual res5, in pixels.
        drop_pathway: the gate of the Audio pathway.
        freeze_at: freeze this many stages (1: the stem, 2: also res2, ...) of all pathways, and
            the laterals that leave them.
    """

    def __init__(
        self,
        *,
        slow: nn.ModuleDict | None = None,
        fast: nn.ModuleDict | None = None,
        audio: nn.ModuleDict | None = None,
        f2s: nn.ModuleDict | None = None,
        a2fs: nn.ModuleDict | None = None,
        audio_into: str = "slow",
        alpha: int = 1,
        audio_alpha: int = 1,
        stride: int = 32,
        drop_pathway: DropPathway | None = None,
        freeze_at: int = 0,
    ):
        super().__init__()
        self.slow, self.fast, self.audio = slow, fast, audio
        self.f2s, self.a2fs = f2s, a2fs
        self.audio_into = audio_into
        self.alpha, self.audio_alpha = alpha, audio_alpha
        self.stride = stride
        self.drop_pathway = drop_pathway
        for stage, place in STAGES[:freeze_at]:
            for part in filter(None, (slow, fast, audio, f2s, a2fs)):
                for name in {stage, place}.intersection(part):
                    freeze(part[name])

    @property
    def pathways(self) -> dict[str, nn.ModuleDict]:
        """Name to stages of the pathways that there are."""
        pathways = {"slow": self.slow, "fast": self.fast, "audio": self.audio}
        return {name: stages for name, stages in pathways.items() if stages is not None}

    def output_shape(self) -> dict[str, ShapeSpec]:
        return {
            f"{name}_res5": ShapeSpec(
                channels=stages["res5"][-1].conv3.out_channels,
                stride=None if name == "audio" else self.stride,
            )
            for name, stages in self.pathways.items()
            if "res5" in stages
        }

    def junction_channels(self) -> dict[str, tuple[int, int]]:
        """Stage to the channels of sight (of all maps together) and of sound of its
        :class:`Junction`; of the stages from res2 on that have both."""
        channels = {}
        if self.audio is None or self.slow is None:
            return channels
        for stage, place in STAGES[1:]:
            lateral = self._audio_lateral(place)
            if isinstance(lateral, AudioToVisual):
                channels[stage] = (lateral.out_channels, lateral.out_channels)
            elif stage in self.audio:
                maps = {
                    p: stages[stage][0].conv3.out_channels for p, stages in self.pathways.items()
                }
                if self.audio_into == "slow" and self.f2s is not None and place in self.f2s:
                    maps["slow"] += self.f2s[place].conv.out_channels
                audio = maps.pop("audio")
                channels[stage] = (sum(maps.values()), audio)
        return channels

    def forward(
        self, x: dict[str, torch.Tensor | None], *, junctions: bool = False
    ) -> dict[str, torch.Tensor | dict[str, Junction]]:
        """
        Args:
            x: "frames" (N, 3, T, H, W) float, normalised, for the visual pathways. For the Audio
                pathway "audio" (N, 1, T_a, F) float, normalised, T_a = alpha_A * T / alpha_F, and
                "has_audio" (N,) bool, False for clips whose audio must have no effect; an "audio"
                of None is the same as none having audio. Of the same form "audio_negative" and
                "has_audio_negative", which go through the Audio pathway and its laterals in one
                batch with the others, but are fused nowhere: they are for the junctions.
            junctions: whether to return "junctions".

        Returns:
            of the pathways that there are: "slow_res5" (N, C, T / alpha_F, H / stride, W /
            stride), "fast_res5" (N, C, T, H / stride, W / stride), "audio_res5" (N, C, T_a / 8, F
            / 8), which stands behind the gate. And "junctions", stage ("res2", ...) to
            :class:`Junction`, of the stages of the Audio pathway.

        Raises:
            ValueError: if T or T_a does not fit.
        """
        maps, gate = self._enter(x)
        met = {}
        for stage, place in STAGES:
            for name, stages in self.pathways.items():
                if stage in stages:
                    maps[name] = stages[stage](maps[name])
            if self.audio_into == "fast":
                junction = self._add_audio(maps, gate, place)
            if self.f2s is not None and place in self.f2s:
                maps["slow"] = torch.cat([maps["slow"], self.f2s[place](maps["fast"])], dim=1)
            if self.audio_into == "slow":
                junction = self._add_audio(maps, gate, place)
            if junctions and stage in self.audio:
                met[stage] = junction
        # Without output_shape(): older PyTorch cannot trace the construction of a ShapeSpec.
        outputs = {
            f"{name}_res5": maps[name] for name, stages in self.pathways.items() if "res5" in stages
        }
        if "audio_res5" in outputs:
            audio = maps["audio"][: gate["pool5"].shape[0]]
            outputs["audio_res5"] = self.drop_pathway(audio, gate["pool5"], "pool5")
        return {**outputs, "junctions": met} if junctions else outputs

    def _audio_lateral(self, place: str) -> nn.Module | None:
        return self.a2fs[place] if self.a2fs is not None and place in self.a2fs else None

    def _add_audio(
        self, maps: dict[str, torch.Tensor], gate: dict[str, torch.Tensor], place: str
    ) -> Junction:
        """Sum the audio lateral at ``place``, if there is one, onto the map it goes to.

        Returns:
            what met there; from then on, gate["unfused"] knows of it.
        """
        visual = tuple(maps[name] for name in ("slow", "fast") if name in maps)
        junction = Junction(visual, maps.get("audio"), gate.get("unfused"))
        lateral = self._audio_lateral(place)
        if lateral is None:
            return junction
        target = maps[self.audio_into]
        if isinstance(lateral, AudioToVisual):
            term = lateral(maps["audio"], target)
            junction = Junction((target,), term, junction.unfused)
        else:  # it looks at the clip, whose negatives are not to be seen with it
            term = lateral(maps["audio"][: target.shape[0]], target)
        term = self.drop_pathway(term[: target.shape[0]], gate["laterals"], place)
        maps[self.audio_into] = target + term
        gate["unfused"] = gate["unfused"] * (1 - gate["laterals"])
        return junction

    def _enter(
        self, x: dict[str, torch.Tensor | None]
    ) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
        """Returns: what each pathway sees; and the gates, "laterals" and "pool5" of
        :meth:`DropPathway.draw`, and "unfused" of :class:`Junction`."""
        maps = {}
        if self.fast is not None:
            maps["fast"] = x["frames"]
        if self.slow is not None:
            maps["slow"] = self._pick_slow_frames(x["frames"])
        if self.audio is None:
            return maps, {}
        num_columns = self.audio_alpha * maps["slow"].shape[2] if "slow" in maps else None
        maps["audio"], has_audio = self._pick_audio(x, num_columns)
        laterals, pool5 = self.drop_pathway.draw(has_audio)
        unfused = torch.ones_like(laterals)
        return maps, {"laterals": laterals, "pool5": pool5, "unfused": unfused}

    def _pick_slow_frames(self, frames: torch.Tensor) -> torch.Tensor:
        """(N, 3, T, H, W) to (N, 3, T / alpha_F, H, W), from the first frame to the last."""
        num_frames = frames.shape[2]
        if num_frames % self.alpha:
            raise ValueError(f"{num_frames} frames are not a multiple of alpha_F = {self.alpha}")
        # On the CPU: CUDA rounds it otherwise, and a whole number must not fall below itself.
        index = torch.linspace(0, num_frames - 1, num_frames // self.alpha)
        picked = frames.index_select(2, index.long().to(frames.device))
        if is_channels_last(frames):
            picked = picked.contiguous(memory_format=torch.channels_last_3d)
        return picked

    def _pick_audio(
        self, x: dict[str, torch.Tensor | None], num_columns: int | None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Returns: what the Audio pathway sees (N, 1, T_a, F), or (2N, ...) with the negatives
        behind, and which clips have sound (N,)."""
        audio, has_audio = x.get("audio"), x.get("has_audio")
        if audio is None:
            if num_columns is None:
                raise ValueError("the Audio pathway alone needs 'audio'")
            frames = x["frames"]  # one mel bin is enough to run the pathway, and the cheapest
            has_audio = frames.new_zeros(len(frames), dtype=torch.bool)
            return frames.new_zeros(len(frames), 1, num_columns, 1), has_audio
        if num_columns not in (None, audio.shape[2]):
            raise ValueError(
                f"the spectrogram has {audio.shape[2]} columns; expected {num_columns}: alpha_A = "
                f"{self.audio_alpha} times {num_columns // self.audio_alpha} Slow frames"
            )
        heard = has_audio
        if x.get("audio_negative") is not None:
            audio = torch.cat([audio, x["audio_negative"]])
            heard = torch.cat([has_audio, x["has_audio_negative"]])
        if self.training:
            donor = heard.int().argmax(dim=0, keepdim=True)
            audio = torch.where(heard.view(-1, 1, 1, 1), audio, audio.index_select(0, donor))
        return audio, has_audio
