"""Ranges of config keys: all of ours, and those of Detectron2 that this project reads.

Every check raises a ConfigError with key, value and range.
"""

import math
from collections.abc import Callable, Collection, Iterator
from functools import reduce
from operator import getitem
from typing import Any, NamedTuple

from detectron2.config import CfgNode
from detectron2.modeling import BACKBONE_REGISTRY, META_ARCH_REGISTRY

from avsf_det.structures import ConfigError
from avsf_det.structures.addresses import is_address

from .config_file import shorten

STAGES = ("res2", "res3", "res4", "res5")
LATERALS = ("pool1", "res2", "res3", "res4")
VISUAL = ("build_slow_backbone", "build_slowfast_backbone", "build_avslowfast_backbone")
AUDIO = "build_audio_backbone"


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
FOLDER = Rule("a local folder", lambda x: TEXT.holds(x) and not is_address(x))
NAMES = _each(Rule("a name", TEXT.holds))
ASCENDING = Rule(
    "whole numbers in ascending order",
    lambda x: _each(_integer(0)).holds(x) and [*x] == sorted(set(x)),
)
ATTENTION = _choice("dot_product", "softmax")
OPTIONAL_WEIGHT = Rule("a number from 0, or None", lambda x: x is None or WEIGHT.holds(x))
# Keys that share a rule; the others follow in RULES.
SHARED = {
    COUNT: """
        INPUT.MAX_SIZE_TRAIN INPUT.MAX_SIZE_TEST MODEL.SLOWFAST.SUBBN_CLIPS
        MODEL.ROI_ACTION_HEAD.NUM_CLASSES SOLVER.MAX_ITER SOLVER.CHECKPOINT_PERIOD
        TEST.PRECISE_BN.NUM_ITER TEST.DETECTIONS_PER_IMAGE DATASETS.KEYFRAME_STRIDE_TRAIN
        DATASETS.KEYFRAME_STRIDE_TEST
    """,
    SIZE: """
        INPUT.CLIP.NUM_FRAMES INPUT.CLIP.STRIDE INPUT.AUDIO.NUM_MELS INPUT.MIN_SIZE_TEST
        MODEL.SLOWFAST.WIDTH MODEL.SLOWFAST.ALPHA MODEL.SLOWFAST.BETA_INV
        MODEL.SLOWFAST.FUSION_RATIO MODEL.AUDIO.BETA_INV MODEL.AUDIO.ALPHA MODEL.AUDIO.FUSION_WIDTH
        MODEL.CLIP_HEAD.POOL_WINDOW MODEL.AVSYNC.DIM TEST.VIEWS.TEMPORAL TEST.VIEWS.SPATIAL
    """,
    _integer(0): "VIS_PERIOD SOLVER.WARMUP_ITERS TEST.EVAL_PERIOD MODEL.PERSON_DETECTOR.MIN_SIZE",
    ODD: "MODEL.SLOWFAST.FUSION_KERNEL MODEL.AUDIO.FUSION_KERNEL",
    FRACTION: """
        INPUT.COLOR_JITTER.STRENGTH MODEL.WEIGHTS_MIN_MATCHED MODEL.AUDIO.DROP_PATHWAY
        MODEL.ROI_ACTION_HEAD.DROPOUT MODEL.PERSON_DETECTOR.SCORE_THRESH MODEL.CLIP_HEAD.DROPOUT
        MODEL.AVSYNC.MARGIN MODEL.AVSYNC.HARD_AFTER MODEL.AVSYNC.EASY_RATIO
        DATASETS.PROPOSAL_MIN_SCORE_TRAIN DATASETS.PROPOSAL_MIN_SCORE_TEST DATALOADER.MAX_BAD_CLIPS
        SOLVER.MOMENTUM SOLVER.WARMUP_FACTOR
    """,
    WEIGHT: """
        MODEL.AVSYNC.WEIGHT MODEL.AVSYNC.MIN_VARIANCE MODEL.ROTATION.WEIGHT DATALOADER.TIMEOUT_SEC
        SOLVER.BASE_LR SOLVER.WEIGHT_DECAY SOLVER.GAMMA SOLVER.BIAS_LR_FACTOR
    """,
    OPTIONAL_WEIGHT: "SOLVER.WEIGHT_DECAY_NORM SOLVER.WEIGHT_DECAY_BIAS",
    POSITIVE: "MODEL.AUDIO_STD SOLVER.CLIP_GRADIENTS.CLIP_VALUE",
    TEXT: "MODEL.PERSON_DETECTOR.CONFIG_FILE",
    FOLDER: "OUTPUT_DIR",
    NAMES: """
        MODEL.CLIP_HEAD.TASKS DATASETS.TRAIN DATASETS.TEST DATASETS.PROPOSAL_FILES_TRAIN
        DATASETS.PROPOSAL_FILES_TEST
    """,
    ATTENTION: "MODEL.SLOWFAST.NONLOCAL.TYPE MODEL.AUDIO.NONLOCAL_TYPE",
}
RULES = {key: rule for rule, keys in SHARED.items() for key in keys.split()} | {
    "VERSION": _choice(2),
    "SEED": _integer(-1, 2**31 - 1),
    "INPUT.KIND": _choice("", "keyframes", "clips", "frames"),
    "INPUT.CLIP.FPS": _number(0, 1000, above=True),
    "INPUT.COLOR_JITTER.PCA_STD": _number(0, 100),
    "INPUT.AUDIO.SAMPLE_RATE": _integer(1, 1_000_000),
    "INPUT.AUDIO.WINDOW_SEC": _number(0, 60, above=True),
    "INPUT.AUDIO.HOP_SEC": _number(0, 60, above=True),
    "INPUT.AUDIO.NUM_FRAMES": _integer(1, 100_000),
    "INPUT.AUDIO.NEGATIVE_GAP_SEC": _number(0, 3600),
    "INPUT.AUDIO.OFFSET_SEC": _number(-3600, 3600),
    "INPUT.MIN_SIZE_TRAIN": Rule(
        "a list of one or more sizes in pixels, 1..10000",
        lambda x: _each(SIZE).holds(x) and len(x) > 0,
    ),
    "INPUT.MIN_SIZE_TRAIN_SAMPLING": _choice("range", "choice"),
    "INPUT.RANDOM_FLIP": _choice("horizontal", "vertical", "none"),
    "INPUT.CROP.TYPE": _choice("absolute", "absolute_range", "relative", "relative_range"),
    "INPUT.CROP.SIZE": _each(_number(0, 10_000, above=True), 2),
    "INPUT.FORMAT": _choice("RGB", "BGR", "L", "YUV-BT.601"),
    "MODEL.META_ARCHITECTURE": Rule(
        "a registered model, such as ActionDetector, ClipClassifier, AVPretrainer",
        lambda x: x in META_ARCH_REGISTRY,
    ),
    "MODEL.BACKBONE.NAME": Rule(
        f"a registered backbone, such as {', '.join(VISUAL)}, {AUDIO}",
        lambda x: x in BACKBONE_REGISTRY,
    ),
    "MODEL.BACKBONE.FREEZE_AT": _integer(0, 5),
    "MODEL.PIXEL_MEAN": Rule("a list of 1 or 3 numbers", _each(FINITE).holds),
    "MODEL.PIXEL_STD": _each(_number(0, above=True)),
    "MODEL.AUDIO_MEAN": FINITE,
    "MODEL.AUTOCAST_DTYPE": _choice("", "bfloat16", "float16"),
    "MODEL.SLOWFAST.DEPTH": _choice(50, 101),
    "MODEL.SLOWFAST.NUM_TEMPORAL_BLOCKS": _each(_integer(0, 23), 4),
    "MODEL.SLOWFAST.SPATIAL_STRIDES": _each(_integer(1, 8), 4),
    "MODEL.SLOWFAST.SPATIAL_DILATIONS": _each(_integer(1, 64), 4),
    "MODEL.SLOWFAST.NORM": _choice("BN", "SyncBN", "SubBN", "FrozenBN", ""),
    "MODEL.SLOWFAST.FUSION_STAGES": _subset(LATERALS),
    "MODEL.SLOWFAST.NONLOCAL.RES3": _each(_integer(0, 3)),
    "MODEL.SLOWFAST.NONLOCAL.RES4": _each(_integer(0, 22)),
    "MODEL.SLOWFAST.NONLOCAL.POOL": _each(_integer(1, 100), 3),
    "MODEL.AUDIO.STRIDES": _each(_integer(1, 8), 4),
    "MODEL.AUDIO.BLOCK": _choice("v1", "v2", "3x3"),
    "MODEL.AUDIO.FUSION_STAGES": _subset((*LATERALS, "pool5")),
    "MODEL.AUDIO.FUSION_TYPE": _choice("a_fs", "a_f_s", "av_nonlocal"),
    "MODEL.AUDIO.NONLOCAL_POOL": _each(_integer(1, 100), 3),
    "MODEL.AUDIO.DROP_SCOPE": _choice("all", "laterals"),
    "MODEL.AUDIO.DROP_FILL": _choice("zeros", "mean"),
    "MODEL.ROI_ACTION_HEAD.POOLER_RESOLUTION": _integer(1, 1000),
    "MODEL.ROI_ACTION_HEAD.POOLER_SAMPLING_RATIO": _integer(0, 1000),
    "MODEL.ROI_ACTION_HEAD.POOLER_TYPE": _choice("ROIAlignV2", "ROIAlign", "ROIPool"),
    "MODEL.CLIP_HEAD.NUM_CLASSES": _each(COUNT),
    "MODEL.CLIP_HEAD.LOSS": _choice("softmax", "sigmoid"),
    "MODEL.AVSYNC.LEVELS": _subset(STAGES),
    "MODEL.AVSYNC.LOSS": _choice("contrastive", "bce"),
    "MODEL.AVSYNC.MAX_SIMILARITY": _number(-1, 2),
    "DATASETS.CHECK_SECONDS": _choice(False, True),
    "DATALOADER.NUM_WORKERS": _integer(0, 1024),
    "DATALOADER.SAMPLER_TRAIN": _choice(
        "TrainingSampler", "RandomSubsetTrainingSampler", "RepeatFactorTrainingSampler"
    ),
    "SOLVER.LR_SCHEDULER_NAME": _choice(
        "WarmupMultiStepLR", "WarmupCosineLR", "WarmupStepWithFixedGammaLR"
    ),
    "SOLVER.STEPS": ASCENDING,
    "SOLVER.WARMUP_METHOD": _choice("linear", "constant"),
    "SOLVER.IMS_PER_BATCH": _integer(1, 1_000_000),
    "SOLVER.REFERENCE_WORLD_SIZE": _integer(0, 1_000_000),
    "SOLVER.CLIP_GRADIENTS.CLIP_TYPE": _choice("value", "norm"),
    "SOLVER.CLIP_GRADIENTS.NORM_TYPE": Rule("above 0", lambda x: x > 0),
    "TEST.VIEWS_IN_TRAINING": _integer(0, 10_000),
    "TEST.BATCH_SIZE": SIZE,
    "TEST.AUDIO_MODE": _choice("normal", "mute", "swap"),
    "TEST.AVA_PROTOCOL": _choice("default", "activitynet"),
}


def check_config(cfg: CfgNode, places: dict[str, str] | None = None) -> None:
    """Check the range of each key, and keys that depend on each other.

    ``places`` says where keys were set, "file:line", for the error message.
    """
    for key, rule in RULES.items():
        if not rule.holds(_value(cfg, key)):
            _refuse(cfg, key, rule.text, places)
    for key, is_wrong, needed in _check_pairs(cfg):
        if is_wrong:
            _refuse(cfg, key, needed, places)


def _value(cfg: CfgNode, key: str) -> Any:
    return reduce(getitem, key.split("."), cfg)


def _refuse(cfg: CfgNode, key: str, needed: str, places: dict[str, str] | None = None) -> None:
    place = f"{places[key]}: " if places and key in places else ""
    raise ConfigError(f"{place}{key} is {shorten(_value(cfg, key))}; it must be {needed}")


def _check_pairs(cfg: CfgNode) -> Iterator[tuple[str, bool, str]]:
    """Yield key, whether its value is wrong beside those of other keys, and what it must be."""
    head, clip, audio = cfg.MODEL.CLIP_HEAD, cfg.INPUT.CLIP, cfg.INPUT.AUDIO
    slowfast, rate, name = cfg.MODEL.SLOWFAST, audio.SAMPLE_RATE, cfg.MODEL.BACKBONE.NAME
    is_wrong = not len(head.NUM_CLASSES) == len(head.TASKS) == len(set(head.TASKS))
    needed = f"a list, one number for each of MODEL.CLIP_HEAD.TASKS {head.TASKS}, all different"
    yield "MODEL.CLIP_HEAD.NUM_CLASSES", is_wrong, needed
    own = cfg.DATASETS.OWN
    is_given = bool(own.TRAIN_CSV or own.VAL_CSV)
    yield "DATASETS.OWN.VIDEOS", is_given and not own.VIDEOS, "the folder of the videos of the csv"
    is_wrong = is_given and not own.LABEL_MAP and cfg.INPUT.KIND != "clips"
    yield "DATASETS.OWN.LABEL_MAP", is_wrong, "the file that names the actions of the csv"
    is_wrong = cfg.SOLVER.NESTEROV and cfg.SOLVER.MOMENTUM == 0
    yield "SOLVER.MOMENTUM", is_wrong, "above 0 with SOLVER.NESTEROV"
    # Widths, stages and frames of our backbones.
    for group, backbones in (("SLOWFAST", VISUAL[1:]), ("AUDIO", (AUDIO, VISUAL[2]))):
        is_wrong = name in backbones and slowfast.WIDTH % cfg.MODEL[group].BETA_INV > 0
        needed = f"a divisor of MODEL.SLOWFAST.WIDTH {slowfast.WIDTH}"
        yield f"MODEL.{group}.BETA_INV", is_wrong, needed
    blocks = 6 if slowfast.DEPTH == 50 else 23
    is_wrong = name in (*VISUAL, AUDIO) and any(i >= blocks for i in slowfast.NONLOCAL.RES4)
    yield "MODEL.SLOWFAST.NONLOCAL.RES4", is_wrong, f"a list of 0..{blocks - 1}"
    for key in ("PIXEL_MEAN", "PIXEL_STD"):
        is_wrong = name in VISUAL and len(cfg.MODEL[key]) != 3
        yield f"MODEL.{key}", is_wrong, "a list of 3 numbers, for R, G, B"
    is_wrong = name in VISUAL and clip.NUM_FRAMES % slowfast.ALPHA > 0
    needed = f"a multiple of MODEL.SLOWFAST.ALPHA {slowfast.ALPHA}"
    yield "INPUT.CLIP.NUM_FRAMES", is_wrong, needed
    is_wrong = round(audio.HOP_SEC * rate) < 1
    yield "INPUT.AUDIO.HOP_SEC", is_wrong, f"a sample or more, 1/{rate} s"
    is_wrong = round(audio.WINDOW_SEC * rate) < 2
    yield "INPUT.AUDIO.WINDOW_SEC", is_wrong, f"two samples or more, 2/{rate} s"
    needed = "so that the clip, NUM_FRAMES * STRIDE / FPS, is of an hour at most"
    yield "INPUT.CLIP.NUM_FRAMES", clip.NUM_FRAMES * clip.STRIDE / clip.FPS > 3600, needed


def check_clip(cfg: CfgNode) -> None:
    """Check that clips are what the backbone takes, for training and inference."""
    name, audio = cfg.MODEL.BACKBONE.NAME, cfg.MODEL.AUDIO
    if name in VISUAL and not cfg.INPUT.FRAMES:
        _refuse(cfg, "INPUT.FRAMES", f"True for {name}")
    steps = audio.ALPHA * (cfg.INPUT.CLIP.NUM_FRAMES // cfg.MODEL.SLOWFAST.ALPHA)
    if name == VISUAL[2] and cfg.INPUT.AUDIO.NUM_FRAMES != steps:
        needed = f"{steps}: MODEL.AUDIO.ALPHA {audio.ALPHA} for each of the Slow pathway's frames"
        _refuse(cfg, "INPUT.AUDIO.NUM_FRAMES", needed)


def check_training(cfg: CfgNode, num_processes: int) -> None:
    """Check what only a training needs."""
    batch, clips = cfg.SOLVER.IMS_PER_BATCH, cfg.MODEL.SLOWFAST.SUBBN_CLIPS
    if batch % num_processes:
        raise ConfigError(
            f"SOLVER.IMS_PER_BATCH is {batch}; with {num_processes} processes it must be a "
            f"multiple of {num_processes}"
        )
    norm = cfg.MODEL.SLOWFAST.NORM
    if cfg.MODEL.BACKBONE.NAME not in (*VISUAL, AUDIO):
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
