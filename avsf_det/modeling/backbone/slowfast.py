"""SlowFast and AVSlowFast (Xiao et al. 2020, "Audiovisual SlowFast Networks for Video
Recognition") as Detectron2 backbones; and Slow or Audio alone.

Shorthands: N clips; C channels; T frames of the Fast pathway; T_a columns and F mel bins of the
spectrogram. alpha_F is Fast frames per Slow frame, alpha_A columns per Slow frame. A junction is a
place between two stages where pathways meet: pool1 (after the stem), res2, res3, res4. After the
last stage, pool5, they are pooled and concatenated by the head.
"""

import torch
from detectron2.layers import ShapeSpec
from detectron2.modeling import Backbone
from torch import nn

from ...layers import freeze
from .lateral import DropPathway

JUNCTIONS = ("pool1", "res2", "res3", "res4")
# A stage and the place that follows it.
STAGES = tuple(zip(("stem", "res2", "res3", "res4", "res5"), (*JUNCTIONS, "pool5"), strict=True))


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

    def forward(self, x: dict[str, torch.Tensor | None]) -> dict[str, torch.Tensor]:
        """
        Args:
            x: "frames" (N, 3, T, H, W) float, normalised, for the visual pathways. For the Audio
                pathway "audio" (N, 1, T_a, F) float, normalised, T_a = alpha_A * T / alpha_F, and
                "has_audio" (N,) bool, False for clips whose audio must have no effect; an "audio"
                of None is the same as none having audio.

        Returns:
            of the pathways that there are: "slow_res5" (N, C, T / alpha_F, H / stride, W /
            stride), "fast_res5" (N, C, T, H / stride, W / stride), "audio_res5" (N, C, T_a / 8, F
            / 8), which stands behind the gate.

        Raises:
            ValueError: if T or T_a does not fit.
        """
        maps, gate = self._enter(x)
        for stage, place in STAGES:
            for name, stages in self.pathways.items():
                if stage in stages:
                    maps[name] = stages[stage](maps[name])
            if self.audio_into == "fast":
                self._add_audio(maps, gate, place)
            if self.f2s is not None and place in self.f2s:
                maps["slow"] = torch.cat([maps["slow"], self.f2s[place](maps["fast"])], dim=1)
            if self.audio_into == "slow":
                self._add_audio(maps, gate, place)
        outputs = {name: maps[name.removesuffix("_res5")] for name in self.output_shape()}
        if "audio_res5" in outputs:
            outputs["audio_res5"] = self.drop_pathway(maps["audio"], gate["pool5"], "pool5")
        return outputs

    def _add_audio(
        self, maps: dict[str, torch.Tensor], gate: dict[str, torch.Tensor], place: str
    ) -> None:
        """Sum the audio lateral at ``place``, if there is one, onto the map it goes to."""
        if self.a2fs is not None and place in self.a2fs:
            visual = maps[self.audio_into]
            term = self.a2fs[place](maps["audio"], visual)
            maps[self.audio_into] = visual + self.drop_pathway(term, gate["laterals"], place)

    def _enter(
        self, x: dict[str, torch.Tensor | None]
    ) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
        """Returns: what each pathway sees; and the gates, see :meth:`DropPathway.draw`."""
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
        return maps, {"laterals": laterals, "pool5": pool5}

    def _pick_slow_frames(self, frames: torch.Tensor) -> torch.Tensor:
        """(N, 3, T, H, W) to (N, 3, T / alpha_F, H, W), from the first frame to the last."""
        num_frames = frames.shape[2]
        if num_frames % self.alpha:
            raise ValueError(f"{num_frames} frames are not a multiple of alpha_F = {self.alpha}")
        # On the CPU: CUDA rounds it otherwise, and a whole number must not fall below itself.
        index = torch.linspace(0, num_frames - 1, num_frames // self.alpha)
        return frames.index_select(2, index.long().to(frames.device))

    def _pick_audio(
        self, x: dict[str, torch.Tensor | None], num_columns: int | None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Returns: what the Audio pathway sees (N, 1, T_a, F), and which clips have sound (N,)."""
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
        if self.training:
            donor = has_audio.int().argmax(dim=0, keepdim=True)
            audio = torch.where(has_audio.view(-1, 1, 1, 1), audio, audio.index_select(0, donor))
        return audio, has_audio
