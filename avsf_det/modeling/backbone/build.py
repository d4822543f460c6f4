"""The backbones of the configuration: Slow, SlowFast, Audio, AVSlowFast."""

import math
from collections.abc import Callable, Mapping
from functools import partial

from detectron2.config import CfgNode
from detectron2.layers import ShapeSpec
from detectron2.modeling import BACKBONE_REGISTRY
from torch import nn

from ...layers import NonLocalBlock, Norm, SubBatchNorm
from .audio_resnet import make_audio_pathway
from .lateral import AudioToVisual, AudioVisualNonLocal, DropPathway, FastToSlow
from .resnet3d import make_visual_pathway
from .slowfast import JUNCTIONS, STAGES, SlowFast

SLOW_KERNELS = (1, 1, 1, 3, 3)  # temporal, of the stem and of res2..res5
FAST_KERNELS = (5, 3, 3, 3, 3)
AUDIO_FUSION_TYPES = ("a_fs", "a_f_s", "av_nonlocal")
PLACES = tuple(place for _, place in STAGES)


def _place_channels(width: int) -> dict[str, int]:
    """Channels of a pathway at the places between and after stages; ``width`` is its stem's."""
    return {place: width * factor for place, factor in zip(PLACES, (1, 4, 8, 16, 32), strict=True)}


def _check_places(key: str, names: list[str], known: tuple[str, ...]) -> None:
    unknown = set(names) - set(known)
    if unknown:
        raise ValueError(f"{key} has {sorted(unknown)}; it can have {', '.join(known)}")


def _norm(cfg: CfgNode) -> Norm:
    """MODEL.SLOWFAST.NORM, as the layers take it."""
    c = cfg.MODEL.SLOWFAST
    return partial(SubBatchNorm, clips=c.SUBBN_CLIPS) if c.NORM == "SubBN" else c.NORM


def _divided_width(cfg: CfgNode, key: str, beta_inv: int) -> int:
    width = cfg.MODEL.SLOWFAST.WIDTH
    if width % beta_inv:
        raise ValueError(f"MODEL.SLOWFAST.WIDTH {width} is not a multiple of {key} {beta_inv}")
    return width // beta_inv


def _make_slow(cfg: CfgNode, input_shape: ShapeSpec, lateral_channels: list[int]) -> dict:
    c = cfg.MODEL.SLOWFAST
    slow = make_visual_pathway(
        **_visual_args(cfg, input_shape),
        width=c.WIDTH,
        temporal_kernels=SLOW_KERNELS,
        lateral_channels=lateral_channels,
        nonlocal_after={"res3": c.NONLOCAL.RES3, "res4": c.NONLOCAL.RES4},
        nonlocal_block=partial(
            NonLocalBlock, pool=c.NONLOCAL.POOL, attention=c.NONLOCAL.TYPE, norm=_norm(cfg)
        ),
    )
    return {
        "slow": slow,
        "alpha": c.ALPHA,
        "stride": 4 * math.prod(c.SPATIAL_STRIDES),
        "freeze_at": cfg.MODEL.BACKBONE.FREEZE_AT,
    }


def _visual_args(cfg: CfgNode, input_shape: ShapeSpec) -> dict:
    c = cfg.MODEL.SLOWFAST
    return {
        "depth": c.DEPTH,
        "in_channels": input_shape.channels,
        "num_temporal_blocks": c.NUM_TEMPORAL_BLOCKS,
        "strides": c.SPATIAL_STRIDES,
        "dilations": c.SPATIAL_DILATIONS,
        "norm": _norm(cfg),
    }


def _make_slow_and_fast(cfg: CfgNode, input_shape: ShapeSpec) -> dict:
    c = cfg.MODEL.SLOWFAST
    _check_places("MODEL.SLOWFAST.FUSION_STAGES", c.FUSION_STAGES, JUNCTIONS)
    width = _divided_width(cfg, "BETA_INV", c.BETA_INV)
    f2s = {
        junction: _fast_lateral(cfg, junction)
        for junction in JUNCTIONS
        if junction in c.FUSION_STAGES
    }
    lateral_channels = [_lateral_channels(f2s, junction) for junction in JUNCTIONS]
    fast = make_visual_pathway(
        **_visual_args(cfg, input_shape), width=width, temporal_kernels=FAST_KERNELS
    )
    return {
        **_make_slow(cfg, input_shape, lateral_channels),
        "fast": fast,
        "f2s": nn.ModuleDict(f2s),
    }


def _fast_lateral(cfg: CfgNode, place: str) -> FastToSlow:
    c = cfg.MODEL.SLOWFAST
    channels = _place_channels(_divided_width(cfg, "BETA_INV", c.BETA_INV))[place]
    return FastToSlow(
        channels,
        channels * c.FUSION_RATIO,
        kernel=c.FUSION_KERNEL,
        stride=c.ALPHA,
        norm=_norm(cfg),
    )


def _lateral_channels(f2s: Mapping[str, FastToSlow], junction: str) -> int:
    return f2s[junction].conv.out_channels if junction in f2s else 0


def _make_audio(cfg: CfgNode, last_stage: str) -> nn.ModuleDict:
    c = cfg.MODEL.AUDIO
    return make_audio_pathway(
        depth=cfg.MODEL.SLOWFAST.DEPTH,
        width=_divided_width(cfg, "MODEL.AUDIO.BETA_INV", c.BETA_INV),
        strides=c.STRIDES,
        block=c.BLOCK,
        last_stage=last_stage,
        norm=_norm(cfg),
    )


def _audio_lateral(
    cfg: CfgNode, place: str, visual_channels: int, fusion_type: str
) -> AudioToVisual | AudioVisualNonLocal:
    """
    Args:
        place: where it is.
        visual_channels: of what its term is summed onto.
        fusion_type: as MODEL.AUDIO.FUSION_TYPE.

    Raises:
        ValueError: if the type is unknown, or the columns of the Audio pathway at the place are
            not a multiple of the frames that they are summed onto.
    """
    c, alpha = cfg.MODEL.AUDIO, cfg.MODEL.SLOWFAST.ALPHA
    if fusion_type not in AUDIO_FUSION_TYPES:
        raise ValueError(
            f"MODEL.AUDIO.FUSION_TYPE is '{fusion_type}'; it can be {', '.join(AUDIO_FUSION_TYPES)}"
        )
    reduction = math.prod(c.STRIDES[: PLACES.index(place)])
    reduction *= alpha if fusion_type == "a_f_s" else 1
    if c.ALPHA % reduction:
        raise ValueError(
            f"MODEL.AUDIO.ALPHA {c.ALPHA} is not a multiple of {reduction}: by then "
            f"MODEL.AUDIO.STRIDES {c.STRIDES} leave the Audio pathway too few columns at "
            f"{place} for {fusion_type}"
        )
    channels = _place_channels(_divided_width(cfg, "MODEL.AUDIO.BETA_INV", c.BETA_INV))
    lateral: Callable[..., nn.Module] = partial(
        AudioToVisual, inner_channels=c.FUSION_WIDTH, kernel=c.FUSION_KERNEL
    )
    if fusion_type == "av_nonlocal":
        lateral = partial(
            AudioVisualNonLocal,
            inner_channels=c.FUSION_WIDTH,
            pool=c.NONLOCAL_POOL,
            attention=c.NONLOCAL_TYPE,
        )
    return lateral(channels[place], visual_channels, stride=c.ALPHA // reduction, norm=_norm(cfg))


def build_sync_laterals(cfg: CfgNode) -> dict[str, nn.Module]:
    """Laterals after res5, Fast-to-Slow "f2s" and A->FS "a2fs": nothing is fused there, but sight
    and sound can be compared as they are at the other stages (:class:`AVSyncHead`).

    Raises:
        ValueError: see :func:`_audio_lateral`.
    """
    f2s = _fast_lateral(cfg, "pool5")
    slow_channels = _place_channels(cfg.MODEL.SLOWFAST.WIDTH)["pool5"]
    a2fs = _audio_lateral(cfg, "pool5", slow_channels + f2s.conv.out_channels, "a_fs")
    return {"f2s": f2s, "a2fs": a2fs}


@BACKBONE_REGISTRY.register()
def build_slow_backbone(cfg: CfgNode, input_shape: ShapeSpec) -> SlowFast:
    """The Slow pathway alone, from MODEL.SLOWFAST."""
    return SlowFast(**_make_slow(cfg, input_shape, [0] * len(JUNCTIONS)))


@BACKBONE_REGISTRY.register()
def build_slowfast_backbone(cfg: CfgNode, input_shape: ShapeSpec) -> SlowFast:
    """Slow and Fast pathways, from MODEL.SLOWFAST."""
    return SlowFast(**_make_slow_and_fast(cfg, input_shape))


@BACKBONE_REGISTRY.register()
def build_audio_backbone(cfg: CfgNode, input_shape: ShapeSpec) -> SlowFast:
    """The Audio pathway alone, from MODEL.AUDIO and the depth, width and norm of MODEL.SLOWFAST."""
    return SlowFast(
        audio=_make_audio(cfg, "res5"),
        drop_pathway=DropPathway(0.0),
        freeze_at=cfg.MODEL.BACKBONE.FREEZE_AT,
    )


@BACKBONE_REGISTRY.register()
def build_avslowfast_backbone(cfg: CfgNode, input_shape: ShapeSpec) -> SlowFast:
    """Slow, Fast and Audio pathways, from MODEL.SLOWFAST and MODEL.AUDIO.

    Raises:
        ValueError: if the Audio pathway would lead nowhere; see also :func:`_audio_lateral`.
    """
    c = cfg.MODEL.AUDIO
    _check_places("MODEL.AUDIO.FUSION_STAGES", c.FUSION_STAGES, PLACES)
    if not c.FUSION_STAGES:
        raise ValueError("MODEL.AUDIO.FUSION_STAGES is empty: use build_slowfast_backbone")
    if c.DROP_FILL not in ("zeros", "mean"):
        raise ValueError(f"MODEL.AUDIO.DROP_FILL is '{c.DROP_FILL}'; it can be 'zeros' or 'mean'")
    visual = _make_slow_and_fast(cfg, input_shape)
    into_fast = c.FUSION_TYPE == "a_f_s"
    stem = visual["fast"]["stem"] if into_fast else visual["slow"]["stem"]
    visual_channels = _place_channels(stem.conv1.out_channels)
    a2fs = {}
    for junction in JUNCTIONS:
        if junction in c.FUSION_STAGES:
            joined = 0 if into_fast else _lateral_channels(visual["f2s"], junction)
            a2fs[junction] = _audio_lateral(
                cfg, junction, visual_channels[junction] + joined, c.FUSION_TYPE
            )
    means = {place: lateral.out_channels for place, lateral in a2fs.items()}
    last_stage, _ = max(
        (stage for stage in STAGES if stage[1] in c.FUSION_STAGES), key=STAGES.index
    )
    audio = _make_audio(cfg, last_stage)
    if last_stage == "res5":
        means["pool5"] = audio["res5"][-1].conv3.out_channels
    return SlowFast(
        **visual,
        audio=audio,
        a2fs=nn.ModuleDict(a2fs),
        audio_into="fast" if into_fast else "slow",
        audio_alpha=c.ALPHA,
        drop_pathway=DropPathway(
            c.DROP_PATHWAY, scope=c.DROP_SCOPE, means=means if c.DROP_FILL == "mean" else None
        ),
    )
