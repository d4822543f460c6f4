"""The recipes of clips, with and without labels, have the published numbers, also when scaled."""

import functools
import math
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from detectron2.config import CfgNode, get_cfg
from detectron2.data import DatasetCatalog
from detectron2.engine import DefaultTrainer
from detectron2.modeling import build_model
from detectron2.solver import build_lr_scheduler, build_optimizer

from ava_tools.measurement.analysis import build_without_data
from avsf_det import add_avsf_config
from avsf_det.layers import BatchNormBase

CONFIGS = Path(__file__).resolve().parents[1] / "configs"
OURS = ("*_active_speaker.yaml", "*_ava_kinetics.yaml")  # recipes that the paper does not have
FOLDERS = ("AVA", "Kinetics", "EPIC", "Charades", "SSL", "UCF101", "HMDB51")


@dataclass(frozen=True)
class Recipe:
    leaves: str  # glob below configs/
    data: str  # of training and testing, up to the names of their halves
    epoch: int  # training clips
    epochs: float
    batch: int  # clips of a step, of all processes
    lr: float
    iterations: int
    clips: int  # of a step and a process
    classes: int | None
    task: str | None = "action"  # None: learns without labels
    steps: tuple[float, ...] | None = None  # in fractions of the iterations; None: half a cosine
    warmup: tuple[int, float] = (0, 1.0)  # iterations, fraction of lr at the start
    dropout: float = 0.5
    loss: str = "softmax"
    views: tuple[int, int] = (10, 3)
    jitter: tuple[int, int] = (256, 320)
    norm: str = "BN"
    halves: tuple[str, str] = ("train", "val")
    weight_decay: float = 1e-4


KINETICS = {
    "data": "kinetics400",
    "epoch": 240_000,
    "batch": 1024,
    "lr": 1.6,
    "clips": 8,
    "classes": 400,
    "warmup": (8000, 0.1),
}
EPIC = {
    "batch": 32,
    "clips": 4,
    "views": (1, 1),
    "jitter": (256, 340),
    "norm": "FrozenBN",
    "steps": (2 / 3, 5 / 6),
}
VERB = {**EPIC, "task": "verb", "lr": 0.01}
NOUN = {**EPIC, "task": "noun", "lr": 0.0006}
EPIC55 = {"data": "epic55", "epoch": 23_191}
EPIC100 = {"data": "epic100", "epoch": 67_217}
UCF = {"data": "ucf101_split1", "epoch": 9_537, "classes": 101, "halves": ("train", "test")}
HMDB = {"data": "hmdb51_split1", "epoch": 3_570, "classes": 51, "halves": ("train", "test")}
SSL = {
    **KINETICS,
    "iterations": 120_000,
    "epochs": 512,
    "classes": None,
    "task": None,
    "steps": (2 / 3, 5 / 6, 11 / 12),
    "warmup": (10_000, 0.001 / 1.6),
    "views": (1, 1),
}
AVA = {
    "epoch": 210_795,
    "epochs": 63.2,
    "batch": 256,
    "lr": 0.4,
    "iterations": 52_000,
    "clips": 2,
    "classes": 80,
    "steps": (0.5, 0.75),
    "warmup": (1000, 0.001),
    "weight_decay": 1e-7,
}
ALL_LAYERS = {"batch": 16, "clips": 2, "epochs": 134.3}
LINEAR = {"batch": 64, "clips": 8, "lr": 0.01, "iterations": 320_000}

# Appendices of the paper: A.7 (AVA), A.4 (Kinetics), A.5 (EPIC), A.6 (Charades), A.8 (SSL, UCF101,
# HMDB51).
RECIPES = [
    Recipe("AVA/*_*_*[x0-9][68].yaml", data="ava_v2.2", **AVA),
    Recipe("AVA/*_v21.yaml", data="ava_v2.1", **AVA),
    Recipe("Kinetics/**/*_4x16*.yaml", iterations=60_000, epochs=256, **KINETICS),
    Recipe(
        "Kinetics/audio_r50.yaml",
        iterations=16_400,
        epochs=70,
        **{**KINETICS, "warmup": (2200, 0.1), "views": (10, 1)},
    ),
    Recipe("Kinetics/*_r50_8x8.yaml", iterations=46_000, epochs=196, **KINETICS),
    Recipe("Kinetics/*_r101_*.yaml", iterations=46_000, epochs=196, jitter=(256, 340), **KINETICS),
    Recipe("EPIC/*_verb.yaml", iterations=24_000, epochs=33.1, classes=125, **VERB, **EPIC55),
    Recipe("EPIC/*_noun.yaml", iterations=30_000, epochs=41.4, classes=352, **NOUN, **EPIC55),
    Recipe("EPIC/*_verb_epic100.yaml", iterations=69_000, epochs=33, classes=97, **VERB, **EPIC100),
    Recipe(
        "EPIC/*_noun_epic100.yaml", iterations=87_000, epochs=41.4, classes=300, **NOUN, **EPIC100
    ),
    Recipe(
        "Charades/*.yaml",
        data="charades",
        epoch=7_985,
        epochs=40,
        batch=8,
        lr=0.07,
        iterations=40_000,
        clips=1,
        classes=157,
        steps=(0.8,),
        warmup=(1000, 0.001),
        dropout=0.7,
        loss="sigmoid",
        jitter=(256, 340),
        norm="SyncBN",
    ),
    Recipe("SSL/*.yaml", **SSL),
    Recipe("UCF101/*_16x4.yaml", lr=0.005, iterations=80_000, **ALL_LAYERS, **UCF),
    Recipe("HMDB51/*_16x4.yaml", lr=0.01, iterations=30_000, **ALL_LAYERS, **HMDB),
    Recipe("UCF101/*_linear.yaml", epochs=2147, **LINEAR, **UCF),
    Recipe("HMDB51/*_linear.yaml", epochs=5737, **LINEAR, **HMDB),
]


@functools.cache
def read(path: Path) -> CfgNode:
    cfg = get_cfg()
    add_avsf_config(cfg)
    cfg.merge_from_file(str(path))
    return cfg


def load(path: Path | str, *options) -> CfgNode:
    cfg = read(CONFIGS / path).clone()
    cfg.merge_from_list(list(options))
    return cfg


def leaves_of(recipe: Recipe) -> list[Path]:
    paths = sorted(CONFIGS.glob(recipe.leaves))
    return [path for path in paths if not path.name.startswith("Base-")]


each_recipe = pytest.mark.parametrize("recipe", RECIPES, ids=lambda recipe: recipe.leaves)


def test_every_config_has_one_recipe():
    known = [path for recipe in RECIPES for path in leaves_of(recipe)]
    files = [path for folder in FOLDERS for path in (CONFIGS / folder).rglob("*.yaml")]
    files = [path for path in files if not any(map(path.match, (*OURS, "Base-*")))]
    assert sorted(known) == sorted(files)


@each_recipe
def test_recipe_has_the_published_numbers(recipe):
    for path in leaves_of(recipe):
        cfg = load(path)
        solver, head, views = cfg.SOLVER, cfg.MODEL.CLIP_HEAD, cfg.TEST.VIEWS
        assert (solver.IMS_PER_BATCH, solver.BASE_LR) == (recipe.batch, recipe.lr), path
        assert solver.IMS_PER_BATCH / solver.REFERENCE_WORLD_SIZE == recipe.clips
        assert solver.MAX_ITER == recipe.iterations
        assert solver.CHECKPOINT_PERIOD <= 2000  # on any number of processes
        assert recipe.iterations * recipe.batch / recipe.epoch == pytest.approx(
            recipe.epochs, rel=0.005
        )
        assert solver.WEIGHT_DECAY == recipe.weight_decay and solver.WEIGHT_DECAY_NORM == 0
        assert solver.NESTEROV and solver.MOMENTUM == 0.9
        has_precise_bn = recipe.norm != "FrozenBN"
        if path.parent.name == "AVA":
            assert cfg.MODEL.ROI_ACTION_HEAD.DROPOUT == recipe.dropout
            has_precise_bn = path.name.startswith("avsf")
        else:
            assert (head.DROPOUT, head.LOSS) == (recipe.dropout, recipe.loss)
            assert (views.TEMPORAL, views.SPATIAL) == recipe.views
        assert cfg.INPUT.MIN_SIZE_TRAIN == recipe.jitter
        assert cfg.INPUT.MIN_SIZE_TRAIN_SAMPLING == "range"
        assert (cfg.INPUT.CROP.SIZE, cfg.INPUT.MIN_SIZE_TEST) == ([224, 224], 256)
        assert cfg.MODEL.SLOWFAST.NORM == recipe.norm
        assert cfg.TEST.PRECISE_BN.ENABLED == has_precise_bn
        assert cfg.TEST.PRECISE_BN.NUM_ITER == 200


@each_recipe
def test_recipe_names_its_task_and_registered_data(recipe):
    train, test = (f"{recipe.data}_{half}" for half in recipe.halves)
    assert {train, test} <= set(DatasetCatalog.list())
    for path in leaves_of(recipe):
        cfg = load(path)
        assert (cfg.DATASETS.TRAIN, cfg.DATASETS.TEST) == ((train,), (test,)), path
        head = cfg.MODEL.CLIP_HEAD
        if path.parent.name == "AVA":
            assert cfg.MODEL.META_ARCHITECTURE == "ActionDetector"
            assert cfg.MODEL.ROI_ACTION_HEAD.NUM_CLASSES == recipe.classes
        elif recipe.task is None:
            assert cfg.MODEL.META_ARCHITECTURE == "AVPretrainer"
            assert (head.TASKS, head.NUM_CLASSES) == ([], [])
        else:
            assert cfg.MODEL.META_ARCHITECTURE == "ClipClassifier"
            assert (head.TASKS, head.NUM_CLASSES) == ([recipe.task], [recipe.classes])


def rates(cfg: CfgNode, iterations: list[int]) -> list[float]:
    """The learning rate of a step, by Detectron2's own scheduler."""
    weight = torch.zeros(1, requires_grad=True)
    scheduler = build_lr_scheduler(cfg, torch.optim.SGD([weight], lr=cfg.SOLVER.BASE_LR))
    result = []
    for scheduler.last_epoch in iterations:
        result += scheduler.get_lr()
    return result


@pytest.mark.parametrize("processes", [1, 8])
@each_recipe
def test_scaling_keeps_rate_per_clip_and_epochs(recipe, processes):
    cfg = DefaultTrainer.auto_scale_workers(load(leaves_of(recipe)[0]), processes)
    batch, total = cfg.SOLVER.IMS_PER_BATCH, cfg.SOLVER.MAX_ITER
    assert batch == recipe.clips * processes
    assert cfg.SOLVER.BASE_LR / batch == pytest.approx(recipe.lr / recipe.batch)
    assert total * batch / recipe.epoch == pytest.approx(recipe.epochs, rel=0.005)

    scale = batch / recipe.batch
    peak, (warmup, start) = recipe.lr * scale, recipe.warmup
    if warmup:
        # Warm-up is linear, to what the schedule has by its end.
        end = round(warmup / scale)
        first, half, last = rates(cfg, [0, end // 2, end])
        assert first == pytest.approx(peak * start)
        assert half == pytest.approx((first + last) / 2, rel=1e-3)
    if recipe.steps is None:
        points = [round(total * fraction) for fraction in (0.3, 0.5, 0.9)]
        expected = [peak * (1 + math.cos(math.pi * i / total)) / 2 for i in points]
    else:
        places = [round(total * fraction) for fraction in recipe.steps]
        near = 2 + round(2e-6 * total)  # fvcore counts in fractions, and is early by 1e-6
        points = [i + side for i in places for side in (-near, near)]
        expected = [peak * 0.1 ** (k + after) for k in range(len(places)) for after in (0, 1)]
    assert rates(cfg, points) == pytest.approx(expected, rel=1e-6)


@functools.cache
def backbone_shapes(config: str) -> dict[str, torch.Size]:
    """Return the shapes of a backbone's tensors in a checkpoint, except counters."""
    backbone = build_without_data(load(config, "MODEL.SLOWFAST.WIDTH", 8)).backbone
    shapes = {name: value.shape for name, value in backbone.state_dict().items()}
    return {name: shape for name, shape in shapes.items() if "num_batches" not in name}


@pytest.mark.parametrize(
    "pretrained, fine_tuned",
    [
        ("Kinetics/avsf_r50_4x16_40mels.yaml", "AVA/avsf_r50_4x16.yaml"),
        ("Kinetics/avsf_r50_8x8.yaml", "tubes/avsf_r50_8x8_jhmdb.yaml"),
        ("SSL/avsf_r50_4x16.yaml", "UCF101/avsf_r50_4x16_linear.yaml"),
        ("SSL/avsf_r50_16x4.yaml", "HMDB51/avsf_r50_16x4.yaml"),
        ("SSL/slowfast_r50_4x16.yaml", "HMDB51/slowfast_r50_4x16_linear.yaml"),
        ("Kinetics/avsf_r101_8x8.yaml", "EPIC/avsf_r101_8x8_noun.yaml"),
        ("Kinetics/slowfast_r101_8x8.yaml", "EPIC/slowfast_r101_8x8_verb_epic100.yaml"),
        ("Kinetics/avsf_r101_16x8_nl.yaml", "Charades/avsf_r101_16x8_nl.yaml"),
        ("Kinetics/slowfast_r101_16x8_nl.yaml", "Charades/slowfast_r101_16x8_nl.yaml"),
    ],
)
def test_pretraining_fits_what_is_fine_tuned(pretrained, fine_tuned):
    assert backbone_shapes(pretrained) == backbone_shapes(fine_tuned)
    mels = {load(path).INPUT.AUDIO.NUM_MELS for path in (pretrained, fine_tuned)}
    assert len(mels) == 1 or "slowfast" in pretrained


@pytest.mark.parametrize("model", ["slowfast", "avsf"])
@pytest.mark.parametrize(
    "counterpart, with_blocks",
    [("Kinetics/{}_r101_8x8", "AVA/{}_r101_8x8"), ("Kinetics/{}_r101_16x8",) * 2],
)
def test_models_with_nonlocal_blocks_add_them_to_their_counterparts(
    model, counterpart, with_blocks
):
    """Appendix A.4: they start from models without."""
    suffix = "_nl" if counterpart == with_blocks else ""
    pretrained = backbone_shapes(counterpart.format(model) + ".yaml")
    fine_tuned = backbone_shapes(with_blocks.format(model) + suffix + ".yaml")
    added = fine_tuned.keys() - pretrained.keys()
    assert pretrained.items() <= fine_tuned.items()
    assert added and all(".nonlocal" in name for name in added)


PROBES = sorted(CONFIGS.glob("*/*_linear.yaml"))


@pytest.mark.parametrize("path", PROBES, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_linear_probe_trains_the_classifier_alone(path):
    model = build_without_data(load(path, "MODEL.SLOWFAST.WIDTH", 8)).train()
    trained = [name for name, p in model.named_parameters() if p.requires_grad]
    assert trained == ["head.predictors.action.weight", "head.predictors.action.bias"]
    assert not any(isinstance(m, BatchNormBase) for m in model.modules())


def test_a_step_of_the_linear_probe_moves_the_classifier_and_nothing_else():
    """Neither the weights of the trunk nor the statistics of its norms, which stay out of the
    optimizer too."""
    tiny = ("MODEL.DEVICE", "cpu", "MODEL.SLOWFAST.WIDTH", 8, "INPUT.AUDIO.NUM_MELS", 8)
    cfg = load("UCF101/avsf_r50_4x16_linear.yaml", *tiny)
    torch.manual_seed(0)
    model = build_model(cfg).train()
    optimizer = build_optimizer(cfg, model)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    clips = [
        {
            "frames": torch.randint(256, (3, 32, 32, 32)).byte(),
            "audio": torch.randn(1, 128, 8),
            "has_audio": True,
            "labels": {"action": torch.tensor(i)},
        }
        for i in range(2)
    ]
    losses = model(clips)
    assert losses.keys() == {"loss_action"}
    losses["loss_action"].backward()
    classifier = {f"head.predictors.action.{name}" for name in ("weight", "bias")}
    with_gradient = {name for name, p in model.named_parameters() if p.grad is not None}
    assert with_gradient == classifier
    optimizer.step()
    held = [p for group in optimizer.param_groups for p in group["params"]]
    assert {id(p) for p in held} == {id(p) for p in model.head.parameters()}
    assert {id(p) for p in optimizer.state} == {id(p) for p in model.head.parameters()}
    after = model.state_dict()
    moved = {name for name, value in after.items() if not torch.equal(before[name], value)}
    assert moved == classifier


def test_the_trunk_of_the_linear_probe_sees_in_training_what_it_sees_at_test():
    cfg = load("HMDB51/avsf_r50_4x16_linear.yaml", "MODEL.SLOWFAST.WIDTH", 8)
    cfg.MODEL.DEVICE = "cpu"
    backbone = build_model(cfg).backbone
    x = {
        "frames": torch.randn(2, 3, 32, 32, 32),
        "audio": torch.randn(2, 1, 128, 8),
        "has_audio": torch.tensor([True, False]),
    }
    with torch.no_grad():
        training, test = backbone.train()(x), backbone.eval()(x)
    assert training.keys() == {"slow_res5", "fast_res5", "audio_res5"}
    for name, features in training.items():
        assert torch.equal(features, test[name]) and features.any()


@pytest.mark.parametrize("folder", ["UCF101", "HMDB51"])
def test_each_self_supervised_trunk_has_a_probe_that_sees_and_hears_the_same(folder):
    for path in sorted((CONFIGS / "SSL").glob("[!B]*.yaml")):
        trunk, probe = load(path), load(f"{folder}/{path.stem}_linear.yaml")
        assert probe.MODEL.SLOWFAST.FUSION_STAGES == []
        assert probe.MODEL.AUDIO.FUSION_STAGES == ["pool5"]
        assert probe.MODEL.SLOWFAST.ALPHA == trunk.MODEL.SLOWFAST.ALPHA
        assert not probe.INPUT.AUDIO.NEGATIVES and not probe.TEST.AUDIO_NEGATIVES
        probe.INPUT.AUDIO.NEGATIVES = trunk.INPUT.AUDIO.NEGATIVES
        assert probe.INPUT.AUDIO == trunk.INPUT.AUDIO and probe.INPUT.AUDIO.NUM_MELS == 40
        assert probe.MODEL.AUDIO.DROP_PATHWAY == 0


def test_self_supervised_recipes_compare_sight_and_sound_as_published():
    for path in sorted((CONFIGS / "SSL").glob("[!B]*.yaml")):
        cfg = load(path)
        assert cfg.MODEL.AVSYNC.ENABLED == path.name.startswith("avsf")
        assert cfg.MODEL.ROTATION.ENABLED
        # Without laterals no level knows of the audio beforehand, and none is made for res5.
        assert cfg.MODEL.SLOWFAST.FUSION_STAGES == []
        assert cfg.MODEL.AUDIO.FUSION_STAGES == ["pool5"]
        assert not cfg.MODEL.AVSYNC.RES5_LATERALS
        assert round(cfg.MODEL.AVSYNC.HARD_AFTER * cfg.SOLVER.MAX_ITER) == 60_000
        assert (cfg.MODEL.AVSYNC.EASY_RATIO, cfg.INPUT.AUDIO.NEGATIVE_GAP_SEC) == (0.75, 0.5)


def test_synchronisation_is_a_loss_of_the_audiovisual_recipes_but_not_of_detectors_and_probes():
    paths = [path for path in CONFIGS.rglob("*_r*.yaml") if path.parent.name != "mini"]
    compare = {str(p.relative_to(CONFIGS)) for p in paths if load(p).MODEL.AVSYNC.ENABLED}
    folders = ("Kinetics", "Kinetics/ablations", "EPIC", "Charades", "SSL")
    audiovisual = {
        str(path.relative_to(CONFIGS))
        for folder in folders
        for path in (CONFIGS / folder).glob("avsf_*.yaml")
    }
    assert compare == audiovisual


def test_supervised_recipes_compare_with_the_laterals_of_all_levels():
    for path in (CONFIGS / "Kinetics").rglob("avsf_*.yaml"):
        cfg = load(path)
        sync = cfg.MODEL.AVSYNC
        assert (sync.LEVELS, sync.RES5_LATERALS) == (["res3", "res4", "res5"], True), path
        assert (sync.LOSS, sync.MARGIN, sync.DIM, sync.WEIGHT) == ("contrastive", 0.99, 64, 1.0)
        assert (sync.HARD_AFTER, sync.EASY_RATIO) == (0.5, 0.75)


def test_batch_norm_is_fixed_on_epic():
    model = build_without_data(load("EPIC/avsf_r101_8x8_verb.yaml", "MODEL.SLOWFAST.WIDTH", 8))
    assert not any(isinstance(m, BatchNormBase) for m in model.modules())
    assert all(p.requires_grad for p in model.parameters())  # all else is trained
