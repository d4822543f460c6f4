"""The backbones of the configuration: Slow, SlowFast, Audio, AVSlowFast."""

import math
from collections.abc import Callable, Collection, Mapping
from functools import partial
from typing import Any, NamedTuple

from detectron2.config import CfgNode
from detectron2.layers import ShapeSpec
from detectron2.modeling import BACKBONE_REGISTRY
from torch import nn

from ...layers import NonLocalBlock, Norm, SubBatchNorm
from ...structures import ConfigError
from .audio_resnet import make_audio_pathway
from .fusion import (
    FUSION_STAGES,
    STAGES,
    AddAudio,
    AttendToVisual,
    AudioFusion,
    FusionStage,
    MaskAudio,
)
from .lateral import AudioToVisual, AudioVisualNonLocal, DropPathway, FastToSlow
from .resnet3d import make_visual_pathway
from .slowfast import SlowFast

SLOW_KERNELS = (1, 1, 1, 3, 3)  # temporal, of the stem and of res2..res5
FAST_KERNELS = (5, 3, 3, 3, 3)
POOLED = FUSION_STAGES["res5"]  # "pool5", where the heads pool the maps
LATERAL_STAGES = tuple(name for name in FUSION_STAGES.values() if name != POOLED)


@BACKBONE_REGISTRY.register()
def build_slow_backbone(cfg: CfgNode, input_shape: ShapeSpec) -> SlowFast:
    """Build the Slow pathway alone, from MODEL.SLOWFAST."""
    slow = _make_slow(cfg, input_shape, f2s={})
    return SlowFast(
        pathways={"slow": slow}, fusion={s: FusionStage() for s in STAGES}, **_shared_args(cfg)
    )


@BACKBONE_REGISTRY.register()
def build_slowfast_backbone(cfg: CfgNode, input_shape: ShapeSpec) -> SlowFast:
    """Build Slow and Fast pathways, from MODEL.SLOWFAST."""
    pathways, f2s = _make_slow_and_fast(cfg, input_shape)
    fusion = {stage: FusionStage(f2s.get(name)) for stage, name in FUSION_STAGES.items()}
    return SlowFast(pathways=pathways, fusion=fusion, f2s=f2s, **_shared_args(cfg))


@BACKBONE_REGISTRY.register()
def build_audio_backbone(cfg: CfgNode, input_shape: ShapeSpec) -> SlowFast:
    """Build the Audio pathway alone, from MODEL.AUDIO and the depth, width, norm of SLOWFAST."""
    drop_pathway = DropPathway(0.0)
    fusion = {stage: FusionStage() for stage in STAGES[:-1]}
    fusion["res5"] = FusionStage(audio=MaskAudio(drop_pathway))
    return SlowFast(
        pathways={"audio": _make_audio(cfg, "res5")},
        fusion=fusion,
        drop_pathway=drop_pathway,
        **_shared_args(cfg),
    )


@BACKBONE_REGISTRY.register()
def build_avslowfast_backbone(cfg: CfgNode, input_shape: ShapeSpec) -> SlowFast:
    """Build Slow, Fast and Audio pathways, from MODEL.SLOWFAST and MODEL.AUDIO.

    Raises:
        ConfigError: a name in MODEL.AUDIO is unknown, the Audio pathway would lead nowhere, or its
            time steps at a fusion stage are not a multiple of the frames that they are added to.
    """
    c = cfg.MODEL.AUDIO
    _check_stages("MODEL.AUDIO.FUSION_STAGES", c.FUSION_STAGES, FUSION_STAGES.values())
    if not c.FUSION_STAGES:
        raise ConfigError("MODEL.AUDIO.FUSION_STAGES is empty: use build_slowfast_backbone")
    if c.DROP_FILL not in ("zeros", "mean"):
        raise ConfigError(f"MODEL.AUDIO.DROP_FILL is '{c.DROP_FILL}'; it can be 'zeros' or 'mean'")
    pathways, f2s = _make_slow_and_fast(cfg, input_shape)
    target = _get_fusion_type(c.FUSION_TYPE).target
    visual = _stage_channels(cfg, target)
    a2fs = {}
    for name in (name for name in LATERAL_STAGES if name in c.FUSION_STAGES):
        # Slow has its Fast channels when audio joins it; Fast gets audio on its own channels.
        joined = _f2s_channels(f2s, name) if target == "slow" else 0
        a2fs[name] = _make_audio_lateral(cfg, name, visual[name] + joined, c.FUSION_TYPE)
    # The Audio pathway ends where it is last used: DDP allows no parameter without a gradient.
    last_stage = [stage for stage in STAGES if FUSION_STAGES[stage] in c.FUSION_STAGES][-1]
    pathways["audio"] = _make_audio(cfg, last_stage)
    means = {name: lateral.out_channels for name, lateral in a2fs.items()}
    if last_stage == "res5":
        means[POOLED] = _stage_channels(cfg, "audio")[POOLED]
    drop_pathway = DropPathway(
        c.DROP_PATHWAY, scope=c.DROP_SCOPE, means=means if c.DROP_FILL == "mean" else None
    )
    return SlowFast(
        pathways=pathways,
        fusion=_make_fusion(c.FUSION_TYPE, f2s, a2fs, drop_pathway, last_stage),
        f2s=f2s,
        a2fs=a2fs,
        drop_pathway=drop_pathway,
        audio_alpha=c.ALPHA,
        **_shared_args(cfg),
    )


def build_sync_laterals(cfg: CfgNode) -> dict[str, Any]:
    """Build laterals after res5, Fast-to-Slow "f2s" and A->FS "a2fs", for :class:`AVSyncHead`.

    Nothing is fused there, but visual and audio features become comparable as at other stages.

    Raises:
        ConfigError: MODEL.AUDIO.ALPHA is too small for them.
    """
    f2s = _make_fast_lateral(cfg, POOLED)
    channels = _stage_channels(cfg, "slow")[POOLED] + f2s.out_channels
    # Nothing is fused, so nothing is to start at zero: no gain.
    a2fs = _make_audio_lateral(cfg, POOLED, channels, "a_fs", has_gain=False)
    return {"f2s": f2s, "a2fs": a2fs}


def _make_fusion(
    fusion_type: str,
    f2s: Mapping[str, FastToSlow],
    a2fs: Mapping[str, Any],
    drop_pathway: DropPathway,
    last_stage: str,
) -> dict[str, FusionStage]:
    """Return the fusion stages, by the stage before them, from the laterals by fusion stage."""
    target, _, _, fuse, _ = _get_fusion_type(fusion_type)
    # Audio that goes through Fast must be there before Fast goes to Slow.
    order = "f2s_after" if target == "fast" else "f2s_before"
    fusion = {}
    is_first = True  # no audio in the visual maps yet
    for i, (stage, name) in enumerate(FUSION_STAGES.items()):
        if i > STAGES.index(last_stage):  # the Audio pathway has ended
            fusion[stage] = FusionStage(f2s.get(name))
            continue
        audio = MaskAudio(drop_pathway) if name == POOLED else AudioFusion()
        if name in a2fs:
            audio = fuse(a2fs[name], target, drop_pathway, name)
        fusion[stage] = FusionStage(audio=audio, is_first=is_first, **{order: f2s.get(name)})
        is_first = is_first and name not in a2fs
    return fusion


def _make_slow_and_fast(
    cfg: CfgNode, input_shape: ShapeSpec
) -> tuple[dict[str, nn.ModuleDict], dict[str, FastToSlow]]:
    """Return the pathways, and Fast-to-Slow laterals by name of the fusion stage."""
    stages = cfg.MODEL.SLOWFAST.FUSION_STAGES
    _check_stages("MODEL.SLOWFAST.FUSION_STAGES", stages, LATERAL_STAGES)
    f2s = {name: _make_fast_lateral(cfg, name) for name in LATERAL_STAGES if name in stages}
    fast_width = _stage_channels(cfg, "fast")["pool1"]
    fast = _make_visual(cfg, input_shape, width=fast_width, temporal_kernels=FAST_KERNELS)
    slow = _make_slow(cfg, input_shape, f2s)
    return {"slow": slow, "fast": fast}, f2s


def _make_slow(
    cfg: CfgNode, input_shape: ShapeSpec, f2s: Mapping[str, FastToSlow]
) -> nn.ModuleDict:
    c = cfg.MODEL.SLOWFAST
    return _make_visual(
        cfg,
        input_shape,
        width=c.WIDTH,
        temporal_kernels=SLOW_KERNELS,
        lateral_channels=[_f2s_channels(f2s, name) for name in LATERAL_STAGES],
        nonlocal_after={"res3": c.NONLOCAL.RES3, "res4": c.NONLOCAL.RES4},
        nonlocal_block=partial(
            NonLocalBlock, pool=c.NONLOCAL.POOL, attention=c.NONLOCAL.TYPE, norm=_norm(cfg)
        ),
    )


def _make_visual(cfg: CfgNode, input_shape: ShapeSpec, **kwargs: Any) -> nn.ModuleDict:
    """Build a visual pathway, with the settings that Slow and Fast share."""
    c = cfg.MODEL.SLOWFAST
    return make_visual_pathway(
        depth=c.DEPTH,
        in_channels=input_shape.channels,
        num_temporal_blocks=c.NUM_TEMPORAL_BLOCKS,
        strides=c.SPATIAL_STRIDES,
        dilations=c.SPATIAL_DILATIONS,
        norm=_norm(cfg),
        **kwargs,
    )


def _make_audio(cfg: CfgNode, last_stage: str) -> nn.ModuleDict:
    c = cfg.MODEL.AUDIO
    return make_audio_pathway(
        depth=cfg.MODEL.SLOWFAST.DEPTH,
        width=_stage_channels(cfg, "audio")["pool1"],
        strides=c.STRIDES,
        block=c.BLOCK,
        last_stage=last_stage,
        norm=_audio_norm(cfg),
    )


def _make_fast_lateral(cfg: CfgNode, name: str) -> FastToSlow:
    c = cfg.MODEL.SLOWFAST
    channels = _stage_channels(cfg, "fast")[name]
    return FastToSlow(
        channels,
        channels * c.FUSION_RATIO,
        kernel=c.FUSION_KERNEL,
        stride=c.ALPHA,
        norm=_norm(cfg),
        has_norm=c.FUSION_NORM,
    )


def _make_audio_lateral(
    cfg: CfgNode, name: str, visual_channels: int, fusion_type: str, **options: bool
) -> Any:
    """Create the lateral at fusion stage ``name``; ``visual_channels`` are those of its result.

    ``options`` are arguments of the lateral that replace those of the config.
    """
    c, alpha = cfg.MODEL.AUDIO, cfg.MODEL.SLOWFAST.ALPHA
    target, lateral, keys, _, has_negatives = _get_fusion_type(fusion_type)
    reduction = math.prod(c.STRIDES[: list(FUSION_STAGES.values()).index(name)])
    reduction *= alpha if target == "fast" else 1  # Fast has alpha_F frames per Slow frame
    if c.ALPHA % reduction:
        raise ConfigError(
            f"MODEL.AUDIO.ALPHA {c.ALPHA} is not a multiple of {reduction}: by then "
            f"MODEL.AUDIO.STRIDES {c.STRIDES} leave the Audio pathway too few time steps at "
            f"{name} for {fusion_type}"
        )
    return lateral(
        _stage_channels(cfg, "audio")[name],
        visual_channels,
        inner_channels=c.FUSION_WIDTH,
        stride=c.ALPHA // reduction,
        norm=_audio_norm(cfg) if has_negatives else _norm(cfg),
        **{name: c[key] for name, key in keys.items()} | options,
    )


class AudioFusionType(NamedTuple):
    """Meaning of a value of MODEL.AUDIO.FUSION_TYPE."""

    target: str  # pathway that audio is added to
    lateral: type[nn.Module]
    keys: dict[str, str]  # arguments of the lateral to their keys in MODEL.AUDIO
    fuse: Callable[..., AudioFusion]  # what a fusion stage does with the lateral
    has_negatives: bool  # whether the lateral processes negatives too


KERNEL = {"kernel": "FUSION_KERNEL", "has_gain": "LATERAL_GAIN"}
ATTENTION = {"pool": "NONLOCAL_POOL", "attention": "NONLOCAL_TYPE"}
AUDIO_FUSION_TYPES = {
    "a_fs": AudioFusionType("slow", AudioToVisual, KERNEL, AddAudio, True),
    "a_f_s": AudioFusionType("fast", AudioToVisual, KERNEL, AddAudio, True),
    "av_nonlocal": AudioFusionType("slow", AudioVisualNonLocal, ATTENTION, AttendToVisual, False),
}


def _get_fusion_type(name: str) -> AudioFusionType:
    if name not in AUDIO_FUSION_TYPES:
        raise ConfigError(
            f"MODEL.AUDIO.FUSION_TYPE is '{name}'; it can be {', '.join(AUDIO_FUSION_TYPES)}"
        )
    return AUDIO_FUSION_TYPES[name]


def _check_stages(key: str, names: list[str], known: Collection[str]) -> None:
    unknown = set(names) - set(known)
    if unknown:
        raise ConfigError(f"{key} has {sorted(unknown)}; it can have {', '.join(known)}")


def _shared_args(cfg: CfgNode) -> dict[str, Any]:
    """Return the arguments that all backbones have in common."""
    c = cfg.MODEL.SLOWFAST
    return {
        "alpha": c.ALPHA,
        "span_clip": c.SPAN_CLIP,
        "stride": 4 * math.prod(c.SPATIAL_STRIDES),
        "freeze_at": cfg.MODEL.BACKBONE.FREEZE_AT,
        "freeze_visual": c.FREEZE,
    }


def _norm(cfg: CfgNode) -> Norm:
    """Return MODEL.SLOWFAST.NORM as the layers take it."""
    c = cfg.MODEL.SLOWFAST
    return partial(SubBatchNorm, clips=c.SUBBN_CLIPS) if c.NORM == "SubBN" else c.NORM


def _audio_norm(cfg: CfgNode) -> Norm:
    """Return the norm of layers whose batches hold clips and, with MODEL.AVSYNC, negatives."""
    norm = _norm(cfg)
    stacked = {"stacked": 2} if cfg.MODEL.AVSYNC.ENABLED else {}
    return norm if isinstance(norm, str) else partial(norm, **stacked)


def _stage_channels(cfg: CfgNode, pathway: str) -> dict[str, int]:
    """Return the channels of a pathway at each fusion stage; at "pool1" they are its width."""
    width, beta_inv = cfg.MODEL.SLOWFAST.WIDTH, 1
    if pathway != "slow":
        section = {"fast": "SLOWFAST", "audio": "AUDIO"}[pathway]
        beta_inv = cfg.MODEL[section].BETA_INV
        if width % beta_inv:
            raise ConfigError(
                f"MODEL.SLOWFAST.WIDTH {width} is not a multiple of MODEL.{section}.BETA_INV "
                f"{beta_inv}"
            )
    factors = (1, 4, 8, 16, 32)  # a bottleneck's output is 4 times its width
    names = FUSION_STAGES.values()
    return {name: width // beta_inv * factor for name, factor in zip(names, factors, strict=True)}


def _f2s_channels(f2s: Mapping[str, FastToSlow], name: str) -> int:
    return f2s[name].out_channels if name in f2s else 0
