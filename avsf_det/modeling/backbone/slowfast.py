"""SlowFast and AVSlowFast (Xiao et al. 2020, "Audiovisual SlowFast Networks for Video
Recognition") as Detectron2 backbones.

Shorthands: N clips; C channels; T frames of the Fast pathway; T_a columns and F mel bins of the
spectrogram. alpha_F is Fast frames per Slow frame, alpha_A columns per Slow frame. A junction is a
place between two stages where pathways meet: pool1 (after the stem), res2, res3, res4.
"""

import math
from functools import partial

import torch
from detectron2.config import CfgNode
from detectron2.layers import ShapeSpec
from detectron2.modeling import BACKBONE_REGISTRY, Backbone
from torch import nn

from ...layers import NonLocalBlock, freeze
from .audio_resnet import make_audio_pathway
from .lateral import AudioToVisual, DropPathway, FastToSlow
from .resnet3d import make_visual_pathway

JUNCTIONS = ("pool1", "res2", "res3", "res4")
# A stage and the junction that follows it.
STAGES = (("stem", "pool1"), ("res2", "res2"), ("res3", "res3"), ("res4", "res4"), ("res5", None))
SLOW_KERNELS = (1, 1, 1, 3, 3)  # temporal, of the stages
FAST_KERNELS = (5, 3, 3, 3, 3)


class SlowFast(Backbone):
    """Pathways that run stage by stage and meet at junctions; AVSlowFast if there is an Audio one.

    In training, the place of a clip without sound in the batch of the Audio pathway is taken by
    one with sound, so that silence does not enter the statistics of its batch norms; the gate
    makes this invisible elsewhere. A batch without any sound goes through as it is.

    Args:
        slow, fast: the stages of the visual pathways, see :func:`make_visual_pathway`.
        f2s: junction to Fast-to-Slow lateral.
        alpha: alpha_F.
        stride: of res5, in pixels.
        audio: the stages of the Audio pathway, see :func:`make_audio_pathway`; None for SlowFast.
        a2fs: junction to Audio-to-visual lateral.
        audio_alpha: alpha_A.
        drop_pathway: probability that a training step does without the Audio pathway.
        freeze_at: freeze this many stages (1: the stem, 2: also res2, ...) of all pathways, and
            the laterals that leave them.
    """

    def __init__(
        self,
        *,
        slow: nn.ModuleDict,
        fast: nn.ModuleDict,
        f2s: nn.ModuleDict,
        alpha: int,
        stride: int,
        audio: nn.ModuleDict | None = None,
        a2fs: nn.ModuleDict | None = None,
        audio_alpha: int = 0,
        drop_pathway: float = 0.0,
        freeze_at: int = 0,
    ):
        super().__init__()
        self.slow, self.fast, self.audio = slow, fast, audio
        self.f2s, self.a2fs = f2s, a2fs
        self.alpha, self.audio_alpha = alpha, audio_alpha
        self.stride = stride
        self.drop_pathway = DropPathway(drop_pathway)
        for stage, junction in STAGES[:freeze_at]:
            for pathway in filter(None, (slow, fast, audio)):
                freeze(pathway[stage])
            for laterals in filter(None, (f2s, a2fs)):
                if junction in laterals:
                    freeze(laterals[junction])

    def output_shape(self) -> dict[str, ShapeSpec]:
        pathways = {"slow": self.slow, "fast": self.fast, "audio": self.audio}
        return {
            f"{name}_res5": ShapeSpec(
                channels=pathway["res5"][-1].conv3.out_channels,
                stride=None if name == "audio" else self.stride,
            )
            for name, pathway in pathways.items()
            if pathway is not None
        }

    def forward(self, x: dict[str, torch.Tensor | None]) -> dict[str, torch.Tensor]:
        """
        Args:
            x: "frames" (N, 3, T, H, W) float, normalised. For AVSlowFast also "audio"
                (N, 1, T_a, F) float, normalised, T_a = alpha_A * T / alpha_F, and "has_audio" (N,)
                bool, False for clips whose audio must have no effect; an "audio" of None is the
                same as none having audio.

        Returns:
            "slow_res5" (N, C, T / alpha_F, H / stride, W / stride), "fast_res5" (N, C, T, H /
            stride, W / stride) and, for AVSlowFast, "audio_res5" (N, C, T_a / 8, F / 8), which is
            zero for clips without audio and in dropped steps.

        Raises:
            ValueError: if T or T_a does not fit.
        """
        fast = x["frames"]
        slow = self._pick_slow_frames(fast)
        if self.audio is not None:
            audio, gate = self._gated_audio(x.get("audio"), x.get("has_audio"), slow)
        for stage, junction in STAGES:
            slow, fast = self.slow[stage](slow), self.fast[stage](fast)
            if self.audio is not None:
                audio = self.audio[stage](audio)
            if junction in self.f2s:
                slow = torch.cat([slow, self.f2s[junction](fast)], dim=1)
            if self.audio is not None and junction in self.a2fs:
                slow = slow + _scale(self.a2fs[junction](audio), gate)
        features = {"slow_res5": slow, "fast_res5": fast}
        if self.audio is not None:
            features["audio_res5"] = _scale(audio, gate)
        return features

    def _pick_slow_frames(self, frames: torch.Tensor) -> torch.Tensor:
        """(N, 3, T, H, W) to (N, 3, T / alpha_F, H, W), from the first frame to the last."""
        num_frames = frames.shape[2]
        if num_frames % self.alpha:
            raise ValueError(f"{num_frames} frames are not a multiple of alpha_F = {self.alpha}")
        # On the CPU: CUDA rounds it otherwise, and a whole number must not fall below itself.
        index = torch.linspace(0, num_frames - 1, num_frames // self.alpha)
        return frames.index_select(2, index.long().to(frames.device))

    def _gated_audio(
        self, audio: torch.Tensor | None, has_audio: torch.Tensor | None, slow: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Returns: what the Audio pathway sees (N, 1, T_a, F), and the gate (N,)."""
        num_clips, _, num_slow = slow.shape[:3]
        num_columns = self.audio_alpha * num_slow
        if audio is None:  # one mel bin is enough to run the pathway, and the cheapest
            audio = slow.new_zeros(num_clips, 1, num_columns, 1)
            has_audio = slow.new_zeros(num_clips, dtype=torch.bool)
        if audio.shape[2] != num_columns:
            raise ValueError(
                f"the spectrogram has {audio.shape[2]} columns; expected {num_columns}: alpha_A = "
                f"{self.audio_alpha} times {num_slow} Slow frames"
            )
        if self.training:
            donor = has_audio.int().argmax(dim=0, keepdim=True)
            audio = torch.where(has_audio.view(-1, 1, 1, 1), audio, audio.index_select(0, donor))
        return audio, self.drop_pathway(has_audio)


def _scale(x: torch.Tensor, gate: torch.Tensor) -> torch.Tensor:
    """Multiply the clips of (N, ...) by (N,); in the dtype of ``x``, which may be half."""
    return x * gate.to(x.dtype).view(-1, *[1] * (x.dim() - 1))


def _junction_channels(width: int) -> dict[str, int]:
    """Channels of a pathway at the junctions; ``width`` is its stem's."""
    return {"pool1": width, "res2": 4 * width, "res3": 8 * width, "res4": 16 * width}


def _check_junctions(key: str, names: list[str]) -> None:
    unknown = set(names) - set(JUNCTIONS)
    if unknown:
        raise ValueError(f"{key} has {sorted(unknown)}; junctions are {', '.join(JUNCTIONS)}")


def _visual_part(cfg: CfgNode, input_shape: ShapeSpec) -> dict:
    """The arguments of :class:`SlowFast` that both backbones share."""
    c = cfg.MODEL.SLOWFAST
    _check_junctions("MODEL.SLOWFAST.FUSION_STAGES", c.FUSION_STAGES)
    if c.WIDTH % c.BETA_INV:
        raise ValueError(
            f"MODEL.SLOWFAST.WIDTH {c.WIDTH} is not a multiple of BETA_INV {c.BETA_INV}"
        )
    fast_width = c.WIDTH // c.BETA_INV
    fast_channels = _junction_channels(fast_width)
    common = dict(
        depth=c.DEPTH,
        in_channels=input_shape.channels,
        num_temporal_blocks=c.NUM_TEMPORAL_BLOCKS,
        strides=c.SPATIAL_STRIDES,
        dilations=c.SPATIAL_DILATIONS,
        norm=c.NORM,
    )
    f2s = {
        junction: FastToSlow(
            channels,
            channels * c.FUSION_RATIO,
            kernel=c.FUSION_KERNEL,
            stride=c.ALPHA,
            norm=c.NORM,
        )
        for junction, channels in fast_channels.items()
        if junction in c.FUSION_STAGES
    }
    slow = make_visual_pathway(
        width=c.WIDTH,
        temporal_kernels=SLOW_KERNELS,
        lateral_channels=[f2s[j].conv.out_channels if j in f2s else 0 for j in JUNCTIONS],
        nonlocal_after={"res3": c.NONLOCAL.RES3, "res4": c.NONLOCAL.RES4},
        nonlocal_block=partial(
            NonLocalBlock, pool=c.NONLOCAL.POOL, attention=c.NONLOCAL.TYPE, norm=c.NORM
        ),
        **common,
    )
    fast = make_visual_pathway(width=fast_width, temporal_kernels=FAST_KERNELS, **common)
    return dict(
        slow=slow,
        fast=fast,
        f2s=nn.ModuleDict(f2s),
        alpha=c.ALPHA,
        stride=4 * math.prod(c.SPATIAL_STRIDES),
        freeze_at=cfg.MODEL.BACKBONE.FREEZE_AT,
    )


@BACKBONE_REGISTRY.register()
def build_slowfast_backbone(cfg: CfgNode, input_shape: ShapeSpec) -> SlowFast:
    """Slow and Fast pathways, from MODEL.SLOWFAST."""
    return SlowFast(**_visual_part(cfg, input_shape))


@BACKBONE_REGISTRY.register()
def build_avslowfast_backbone(cfg: CfgNode, input_shape: ShapeSpec) -> SlowFast:
    """Slow, Fast and Audio pathways, from MODEL.SLOWFAST and MODEL.AUDIO.

    Raises:
        ValueError: if alpha_A is not a multiple of the time stride of the Audio pathway at a
            junction where audio is fused.
    """
    visual = _visual_part(cfg, input_shape)
    c, norm = cfg.MODEL.AUDIO, cfg.MODEL.SLOWFAST.NORM
    _check_junctions("MODEL.AUDIO.FUSION_STAGES", c.FUSION_STAGES)
    width = cfg.MODEL.SLOWFAST.WIDTH // c.BETA_INV
    audio_channels = _junction_channels(width)
    slow_channels = _junction_channels(cfg.MODEL.SLOWFAST.WIDTH)
    a2fs = {}
    for i, junction in enumerate(JUNCTIONS):
        if junction not in c.FUSION_STAGES:
            continue
        time_stride = math.prod(c.STRIDES[:i])
        if c.ALPHA % time_stride:
            raise ValueError(
                f"MODEL.AUDIO.ALPHA {c.ALPHA} is not a multiple of {time_stride}, the time stride "
                f"that MODEL.AUDIO.STRIDES {c.STRIDES} give the Audio pathway at {junction}"
            )
        lateral = visual["f2s"][junction].conv.out_channels if junction in visual["f2s"] else 0
        a2fs[junction] = AudioToVisual(
            audio_channels[junction],
            slow_channels[junction] + lateral,
            inner_channels=c.FUSION_WIDTH,
            kernel=c.FUSION_KERNEL,
            stride=c.ALPHA // time_stride,
            norm=norm,
        )
    return SlowFast(
        **visual,
        audio=make_audio_pathway(
            depth=cfg.MODEL.SLOWFAST.DEPTH, width=width, strides=c.STRIDES, norm=norm
        ),
        a2fs=nn.ModuleDict(a2fs),
        audio_alpha=c.ALPHA,
        drop_pathway=c.DROP_PATHWAY,
    )
