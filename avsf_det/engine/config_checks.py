"""Ranges of config keys: all of ours, and those of Detectron2 that this project reads."""

import math
from collections.abc import Callable, Collection
from typing import Any, NamedTuple

from detectron2.config import CfgNode
from detectron2.modeling import BACKBONE_REGISTRY, META_ARCH_REGISTRY

from avsf_det.structures import ConfigError

from .config_file import shorten

STAGES = ("res2", "res3", "res4", "res5")
LATERALS = ("pool1", "res2", "res3", "res4")
VISUAL = ("build_slow_backbone", "build_slowfast_backbone", "build_avslowfast_backbone")


class Rule(NamedTuple):
    """Test of a value, and its text for the error message: "it must be <text>"."""

    text: str
    holds: Callable[[Any], bool]


def _number(low: float, high: float = math.inf, *, above: bool = False) -> Rule:
    """Return the rule low <= value <= high; with ``above``, low < value."""
    text = f"in {low}..{high}" if high < math.inf else f"at least {low}"
    text += f", above {low}" * above

    def holds(value: object) -> bool:
        if isinstance(value, bool) or not isinstance(value, int | float):
            return False
        return low <= value <= high and math.isfinite(value) and not (above and value == low)

    return Rule(text, holds)


def _choice(*names: object) -> Rule:
    text = ", ".join(repr(name) if isinstance(name, str) else str(name) for name in names)
    return Rule(f"one of {text}", lambda value: value in names)


def _each(rule: Rule, size: int | None = None) -> Rule:
    """Return the rule for all items of a list or tuple, of a given size."""

    def holds(value: object) -> bool:
        return (
            isinstance(value, list | tuple)
            and size in (None, len(value))
            and all(map(rule.holds, value))
        )

    number = "all items" if size is None else f"{size} items, each"
    return Rule(f"a list, {number} {rule.text}", holds)


def _integer(low: int, high: int = 1_000_000_000) -> Rule:
    rule = _number(low, high)
    return Rule(f"a whole number, {rule.text}", lambda x: isinstance(x, int) and rule.holds(x))


def _subset(names: Collection[str]) -> Rule:
    rule = _each(_choice(*names))
    return Rule(
        f"a list, any of {', '.join(names)}", lambda x: rule.holds(x) and len(set(x)) == len(x)
    )


COUNT = _integer(1)
SIZE = _integer(1, 10_000)
FRACTION = _number(0, 1)
FINITE = Rule("a finite number", lambda x: isinstance(x, int | float) and math.isfinite(x))
WEIGHT = _number(0)
POSITIVE = _number(0, above=True)
ODD = Rule("an odd whole number, 1 or more", lambda x: isinstance(x, int) and x > 0 and x % 2 == 1)
TEXT = Rule("text", lambda x: isinstance(x, str) and x != "")
NAMES = _each(Rule("a name", TEXT.holds))
ASCENDING = Rule(
    "whole numbers in ascending order",
    lambda x: _each(_integer(0)).holds(x) and [*x] == sorted(set(x)),
)
ATTENTION = _choice("dot_product", "softmax")
OPTIONAL_WEIGHT = Rule("a number from 0, or None", lambda x: x is None or WEIGHT.holds(x))
RULES = {
    "VERSION": _choice(2),
    "SEED": _integer(-1, 2**31 - 1),
    "OUTPUT_DIR": TEXT,
    "VIS_PERIOD": _integer(0),
    "INPUT.KIND": _choice("", "keyframes", "clips", "frames"),
    "INPUT.CLIP.NUM_FRAMES": SIZE,
    "INPUT.CLIP.STRIDE": SIZE,
    "INPUT.CLIP.FPS": _number(0, 1000, above=True),
    "INPUT.COLOR_JITTER.STRENGTH": FRACTION,
    "INPUT.COLOR_JITTER.PCA_STD": _number(0, 100),
    "INPUT.AUDIO.SAMPLE_RATE": _integer(1, 1_000_000),
    "INPUT.AUDIO.WINDOW_SEC": _number(0, 60, above=True),
    "INPUT.AUDIO.HOP_SEC": _number(0, 60, above=True),
    "INPUT.AUDIO.NUM_MELS": SIZE,
    "INPUT.AUDIO.NUM_FRAMES": _integer(1, 100_000),
    "INPUT.AUDIO.NEGATIVE_GAP_SEC": _number(0, 3600),
    "INPUT.AUDIO.OFFSET_SEC": _number(-3600, 3600),
    "INPUT.MIN_SIZE_TRAIN": Rule(
        "a list of one or more sizes in pixels, 1..10000",
        lambda x: _each(SIZE).holds(x) and len(x) > 0,
    ),
    "INPUT.MIN_SIZE_TRAIN_SAMPLING": _choice("range", "choice"),
    "INPUT.MAX_SIZE_TRAIN": COUNT,
    "INPUT.MIN_SIZE_TEST": SIZE,
    "INPUT.MAX_SIZE_TEST": COUNT,
    "INPUT.RANDOM_FLIP": _choice("horizontal", "vertical", "none"),
    "INPUT.CROP.TYPE": _choice("absolute", "absolute_range", "relative", "relative_range"),
    "INPUT.CROP.SIZE": _each(_number(0, 10_000, above=True), 2),
    "INPUT.FORMAT": _choice("RGB", "BGR", "L", "YUV-BT.601"),
    "MODEL.META_ARCHITECTURE": Rule(
        "a registered model, such as ActionDetector, ClipClassifier, AVPretrainer",
        lambda x: x in META_ARCH_REGISTRY,
    ),
    "MODEL.BACKBONE.NAME": Rule(
        f"a registered backbone, such as {', '.join(VISUAL)}, build_audio_backbone",
        lambda x: x in BACKBONE_REGISTRY,
    ),
    "MODEL.BACKBONE.FREEZE_AT": _integer(0, 5),
    "MODEL.PIXEL_MEAN": Rule("a list of 1 or 3 numbers", _each(FINITE).holds),
    "MODEL.PIXEL_STD": _each(_number(0, above=True)),
    "MODEL.AUDIO_MEAN": FINITE,
    "MODEL.AUDIO_STD": POSITIVE,
    "MODEL.AUTOCAST_DTYPE": _choice("", "bfloat16", "float16"),
    "MODEL.WEIGHTS_MIN_MATCHED": FRACTION,
    "MODEL.SLOWFAST.DEPTH": _choice(50, 101),
    "MODEL.SLOWFAST.WIDTH": SIZE,
    "MODEL.SLOWFAST.ALPHA": SIZE,
    "MODEL.SLOWFAST.BETA_INV": SIZE,
    "MODEL.SLOWFAST.NUM_TEMPORAL_BLOCKS": _each(_integer(0, 23), 4),
    "MODEL.SLOWFAST.SPATIAL_STRIDES": _each(_integer(1, 8), 4),
    "MODEL.SLOWFAST.SPATIAL_DILATIONS": _each(_integer(1, 64), 4),
    "MODEL.SLOWFAST.NORM": _choice("BN", "SyncBN", "SubBN", "FrozenBN", ""),
    "MODEL.SLOWFAST.SUBBN_CLIPS": COUNT,
    "MODEL.SLOWFAST.FUSION_STAGES": _subset(LATERALS),
    "MODEL.SLOWFAST.FUSION_KERNEL": ODD,
    "MODEL.SLOWFAST.FUSION_RATIO": SIZE,
    "MODEL.SLOWFAST.NONLOCAL.RES3": _each(_integer(0, 3)),
    "MODEL.SLOWFAST.NONLOCAL.RES4": _each(_integer(0, 22)),
    "MODEL.SLOWFAST.NONLOCAL.POOL": _each(_integer(1, 100), 3),
    "MODEL.SLOWFAST.NONLOCAL.TYPE": ATTENTION,
    "MODEL.AUDIO.BETA_INV": SIZE,
    "MODEL.AUDIO.ALPHA": SIZE,
    "MODEL.AUDIO.STRIDES": _each(_integer(1, 8), 4),
    "MODEL.AUDIO.BLOCK": _choice("v1", "v2"),
    "MODEL.AUDIO.FUSION_STAGES": _subset((*LATERALS, "pool5")),
    "MODEL.AUDIO.FUSION_TYPE": _choice("a_fs", "a_f_s", "av_nonlocal"),
    "MODEL.AUDIO.FUSION_KERNEL": ODD,
    "MODEL.AUDIO.FUSION_WIDTH": SIZE,
    "MODEL.AUDIO.NONLOCAL_POOL": _each(_integer(1, 100), 3),
    "MODEL.AUDIO.NONLOCAL_TYPE": ATTENTION,
    "MODEL.AUDIO.DROP_PATHWAY": FRACTION,
    "MODEL.AUDIO.DROP_SCOPE": _choice("all", "laterals"),
    "MODEL.AUDIO.DROP_FILL": _choice("zeros", "mean"),
    "MODEL.ROI_ACTION_HEAD.NUM_CLASSES": COUNT,
    "MODEL.ROI_ACTION_HEAD.POOLER_RESOLUTION": _integer(1, 1000),
    "MODEL.ROI_ACTION_HEAD.POOLER_SAMPLING_RATIO": _integer(0, 1000),
    "MODEL.ROI_ACTION_HEAD.POOLER_TYPE": _choice("ROIAlignV2", "ROIAlign", "ROIPool"),
    "MODEL.ROI_ACTION_HEAD.DROPOUT": FRACTION,
    "MODEL.PERSON_DETECTOR.CONFIG_FILE": TEXT,
    "MODEL.PERSON_DETECTOR.SCORE_THRESH": FRACTION,
    "MODEL.CLIP_HEAD.TASKS": NAMES,
    "MODEL.CLIP_HEAD.NUM_CLASSES": _each(COUNT),
    "MODEL.CLIP_HEAD.LOSS": _choice("softmax", "sigmoid"),
    "MODEL.CLIP_HEAD.DROPOUT": FRACTION,
    "MODEL.CLIP_HEAD.POOL_WINDOW": SIZE,
    "MODEL.AVSYNC.LEVELS": _subset(STAGES),
    "MODEL.AVSYNC.DIM": SIZE,
    "MODEL.AVSYNC.LOSS": _choice("contrastive", "bce"),
    "MODEL.AVSYNC.MARGIN": FRACTION,
    "MODEL.AVSYNC.WEIGHT": WEIGHT,
    "MODEL.AVSYNC.MIN_VARIANCE": WEIGHT,
    "MODEL.AVSYNC.MAX_SIMILARITY": _number(-1, 2),
    "MODEL.AVSYNC.HARD_AFTER": FRACTION,
    "MODEL.AVSYNC.EASY_RATIO": FRACTION,
    "MODEL.ROTATION.WEIGHT": WEIGHT,
    "DATASETS.TRAIN": NAMES,
    "DATASETS.TEST": NAMES,
    "DATASETS.PROPOSAL_FILES_TRAIN": NAMES,
    "DATASETS.PROPOSAL_FILES_TEST": NAMES,
    "DATASETS.PROPOSAL_MIN_SCORE_TRAIN": FRACTION,
    "DATASETS.PROPOSAL_MIN_SCORE_TEST": FRACTION,
    "DATALOADER.MAX_BAD_CLIPS": FRACTION,
    "DATALOADER.TIMEOUT_SEC": WEIGHT,
    "DATALOADER.NUM_WORKERS": _integer(0, 1024),
    "DATALOADER.SAMPLER_TRAIN": _choice(
        "TrainingSampler", "RandomSubsetTrainingSampler", "RepeatFactorTrainingSampler"
    ),
    "SOLVER.LR_SCHEDULER_NAME": _choice(
        "WarmupMultiStepLR", "WarmupCosineLR", "WarmupStepWithFixedGammaLR"
    ),
    "SOLVER.MAX_ITER": COUNT,
    "SOLVER.BASE_LR": WEIGHT,
    "SOLVER.MOMENTUM": FRACTION,
    "SOLVER.WEIGHT_DECAY": WEIGHT,
    "SOLVER.WEIGHT_DECAY_NORM": OPTIONAL_WEIGHT,
    "SOLVER.WEIGHT_DECAY_BIAS": OPTIONAL_WEIGHT,
    "SOLVER.GAMMA": WEIGHT,
    "SOLVER.STEPS": ASCENDING,
    "SOLVER.WARMUP_FACTOR": FRACTION,
    "SOLVER.WARMUP_ITERS": _integer(0),
    "SOLVER.WARMUP_METHOD": _choice("linear", "constant"),
    "SOLVER.CHECKPOINT_PERIOD": COUNT,
    "SOLVER.IMS_PER_BATCH": _integer(1, 1_000_000),
    "SOLVER.REFERENCE_WORLD_SIZE": _integer(0, 1_000_000),
    "SOLVER.BIAS_LR_FACTOR": WEIGHT,
    "SOLVER.CLIP_GRADIENTS.CLIP_TYPE": _choice("value", "norm"),
    "SOLVER.CLIP_GRADIENTS.CLIP_VALUE": POSITIVE,
    "SOLVER.CLIP_GRADIENTS.NORM_TYPE": Rule("above 0", lambda x: x > 0),
    "TEST.VIEWS.TEMPORAL": SIZE,
    "TEST.VIEWS.SPATIAL": SIZE,
    "TEST.VIEWS_IN_TRAINING": _integer(0, 10_000),
    "TEST.BATCH_SIZE": SIZE,
    "TEST.AUDIO_MODE": _choice("normal", "mute", "swap"),
    "TEST.AVA_PROTOCOL": _choice("default", "activitynet"),
    "TEST.EVAL_PERIOD": _integer(0),
    "TEST.PRECISE_BN.NUM_ITER": COUNT,
    "TEST.DETECTIONS_PER_IMAGE": COUNT,
}


def check_config(cfg: CfgNode, places: dict[str, str] | None = None) -> None:
    """Check the range of each key, and keys that depend on each other.

    Args:
        cfg: config.
        places: key to where it was set, "file:line", for the error message.

    Raises:
        ConfigError: a value is out of its range; with key, value and range.
    """
    for key, rule in RULES.items():
        node = cfg
        for name in key.split("."):
            node = node[name]
        if not rule.holds(node):
            _refuse(key, node, rule.text, places or {})
    _check_pairs(cfg, places or {})


def _refuse(key: str, value: object, needed: str, places: dict[str, str]) -> None:
    place = f"{places[key]}: " if key in places else ""
    raise ConfigError(f"{place}{key} is {shorten(value)}; it must be {needed}")


def _check_pairs(cfg: CfgNode, places: dict[str, str]) -> None:
    """Check keys whose range depends on other keys."""
    head, clip, audio = cfg.MODEL.CLIP_HEAD, cfg.INPUT.CLIP, cfg.INPUT.AUDIO

    def refuse(key: str, value: object, needed: str) -> None:
        _refuse(key, value, needed, places)

    if len(head.NUM_CLASSES) != len(head.TASKS) or len(set(head.TASKS)) != len(head.TASKS):
        needed = f"a list, one number for each of MODEL.CLIP_HEAD.TASKS {head.TASKS}, all different"
        refuse("MODEL.CLIP_HEAD.NUM_CLASSES", head.NUM_CLASSES, needed)
    if cfg.SOLVER.NESTEROV and cfg.SOLVER.MOMENTUM == 0:
        refuse("SOLVER.MOMENTUM", 0, "above 0 with SOLVER.NESTEROV")
    if cfg.MODEL.BACKBONE.NAME in (*VISUAL, "build_audio_backbone"):
        _check_model(cfg, refuse)
    if round(audio.HOP_SEC * audio.SAMPLE_RATE) < 1:
        refuse("INPUT.AUDIO.HOP_SEC", audio.HOP_SEC, f"a sample or more, 1/{audio.SAMPLE_RATE} s")
    if round(audio.WINDOW_SEC * audio.SAMPLE_RATE) < 2:
        needed = f"two samples or more, 2/{audio.SAMPLE_RATE} s"
        refuse("INPUT.AUDIO.WINDOW_SEC", audio.WINDOW_SEC, needed)
    seconds = clip.NUM_FRAMES * clip.STRIDE / clip.FPS
    if seconds > 3600:
        needed = "so that the clip, NUM_FRAMES * STRIDE / FPS, is of an hour at most"
        refuse("INPUT.CLIP.NUM_FRAMES", clip.NUM_FRAMES, needed)


def _check_model(cfg: CfgNode, refuse: Callable[[str, object, str], None]) -> None:
    """Check the widths, stages and strides of our backbones."""
    slowfast, audio, clip = cfg.MODEL.SLOWFAST, cfg.MODEL.AUDIO, cfg.INPUT.CLIP
    name, widths = cfg.MODEL.BACKBONE.NAME, {"SLOWFAST": slowfast, "AUDIO": audio}
    has = {
        "SLOWFAST": name in ("build_slowfast_backbone", "build_avslowfast_backbone"),
        "AUDIO": name in ("build_audio_backbone", "build_avslowfast_backbone"),
    }
    for group, c in widths.items():
        if has[group] and slowfast.WIDTH % c.BETA_INV:
            needed = f"a divisor of MODEL.SLOWFAST.WIDTH {slowfast.WIDTH}"
            refuse(f"MODEL.{group}.BETA_INV", c.BETA_INV, needed)
    blocks = 6 if slowfast.DEPTH == 50 else 23
    if any(i >= blocks for i in slowfast.NONLOCAL.RES4):
        refuse("MODEL.SLOWFAST.NONLOCAL.RES4", slowfast.NONLOCAL.RES4, f"a list of 0..{blocks - 1}")
    for key in ("PIXEL_MEAN", "PIXEL_STD"):
        if name in VISUAL and len(cfg.MODEL[key]) != 3:
            refuse(f"MODEL.{key}", cfg.MODEL[key], "a list of 3 numbers, for R, G, B")
    if name not in VISUAL:
        return
    if clip.NUM_FRAMES % slowfast.ALPHA:
        needed = f"a multiple of MODEL.SLOWFAST.ALPHA {slowfast.ALPHA}"
        refuse("INPUT.CLIP.NUM_FRAMES", clip.NUM_FRAMES, needed)


def check_clip(cfg: CfgNode) -> None:
    """Check that clips are what the backbone takes, for training and inference.

    Raises:
        ConfigError: the backbone needs frames, or another number of audio time steps.
    """
    name, audio = cfg.MODEL.BACKBONE.NAME, cfg.MODEL.AUDIO
    if name in VISUAL and not cfg.INPUT.FRAMES:
        _refuse("INPUT.FRAMES", False, f"True for {name}", {})
    steps = audio.ALPHA * (cfg.INPUT.CLIP.NUM_FRAMES // cfg.MODEL.SLOWFAST.ALPHA)
    if name == "build_avslowfast_backbone" and cfg.INPUT.AUDIO.NUM_FRAMES != steps:
        needed = f"{steps}: MODEL.AUDIO.ALPHA {audio.ALPHA} for each of the Slow pathway's frames"
        _refuse("INPUT.AUDIO.NUM_FRAMES", cfg.INPUT.AUDIO.NUM_FRAMES, needed, {})


def check_training(cfg: CfgNode, num_processes: int) -> None:
    """Check what only a training needs.

    Raises:
        ConfigError: the batch cannot be dealt to the processes, or into groups of batch norm.
    """
    batch, clips = cfg.SOLVER.IMS_PER_BATCH, cfg.MODEL.SLOWFAST.SUBBN_CLIPS
    if batch % num_processes:
        raise ConfigError(
            f"SOLVER.IMS_PER_BATCH is {batch}; with {num_processes} processes it must be a "
            f"multiple of {num_processes}"
        )
    norm = cfg.MODEL.SLOWFAST.NORM
    if cfg.MODEL.BACKBONE.NAME not in (*VISUAL, "build_audio_backbone"):
        return
    if norm == "SubBN" and batch // num_processes % clips:
        raise ConfigError(
            f"MODEL.SLOWFAST.SUBBN_CLIPS is {clips}; with {batch // num_processes} clips for each "
            "process (SOLVER.IMS_PER_BATCH) it must be a divisor of that"
        )
    if norm == "SyncBN" and num_processes > 1 and cfg.MODEL.DEVICE == "cpu":
        raise ConfigError(
            "MODEL.SLOWFAST.NORM is 'SyncBN', which PyTorch has on GPUs only; with several "
            "processes on the CPU it must be BN, SubBN or FrozenBN"
        )
