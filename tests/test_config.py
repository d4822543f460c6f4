"""Every config file merges, and its model builds and runs one tiny step."""

import functools
import math
from pathlib import Path

import pytest
import torch
from detectron2.config import get_cfg
from detectron2.modeling import build_model
from detectron2.structures import Boxes, Instances
from detectron2.utils.events import EventStorage

from avsf_det import add_avsf_config
from avsf_det.layers import BatchNormBase
from avsf_det.modeling.backbone.resnet3d import BLOCKS_PER_STAGE

ROOT = Path(__file__).resolve().parents[1]
CONFIGS = sorted((ROOT / "configs").rglob("*.yaml"))
LEAVES = [path for path in CONFIGS if not path.name.startswith("Base-")]
TINY = [
    *("MODEL.DEVICE", "cpu", "MODEL.SLOWFAST.WIDTH", 8, "MODEL.AUDIO.FUSION_WIDTH", 4),
    *("INPUT.AUDIO.NUM_MELS", 8),
]


@functools.cache
def read(path: Path):
    cfg = get_cfg()
    add_avsf_config(cfg)
    cfg.merge_from_file(str(path))
    return cfg


def load(path: Path, *options):
    cfg = read(path).clone()
    cfg.merge_from_list(list(options))
    return cfg


def config_id(path: Path) -> str:
    return str(path.relative_to(ROOT / "configs"))


def test_adding_keys_changes_no_default_of_detectron2():
    ours = get_cfg()
    add_avsf_config(ours)

    def check(default, extended, trail):
        for key, value in default.items():
            if hasattr(value, "items"):
                check(value, extended[key], f"{trail}.{key}")
            else:
                assert extended[key] == value, f"{trail}.{key}"

    check(get_cfg(), ours, "cfg")


# A first phase of graft/ is the model of its second, in part fixed; tests/model_zoo tests it.
STEPPED = [path for path in LEAVES if not path.stem.endswith("_audio")]


@pytest.mark.parametrize("path", STEPPED, ids=config_id)
def test_config_builds_and_trains_one_step(path, monkeypatch):
    """With one block in each stage, behind which a non-local block stands if the config has any."""
    for depth in BLOCKS_PER_STAGE:
        monkeypatch.setitem(BLOCKS_PER_STAGE, depth, (1, 1, 1, 1))
    cfg = load(path, *TINY)
    nonlocal_blocks = cfg.MODEL.SLOWFAST.NONLOCAL
    for stage in ("RES3", "RES4"):
        nonlocal_blocks[stage] = nonlocal_blocks[stage] and [0]
    torch.manual_seed(0)
    model = build_model(cfg).train()
    with EventStorage():
        losses = train_step[cfg.MODEL.META_ARCHITECTURE](cfg, model, make_clip(cfg))
    sum(losses.values()).backward()
    assert all(p.grad is not None for p in model.parameters() if p.requires_grad)


@pytest.mark.parametrize("path", LEAVES, ids=config_id)
def test_input_is_what_the_model_takes(path):
    cfg = load(path)
    kinds = {"ActionDetector": "keyframes", "GeneralizedRCNN": "frames"}
    assert cfg.INPUT.KIND == kinds.get(cfg.MODEL.META_ARCHITECTURE, "clips")
    assert cfg.INPUT.FRAMES == (cfg.MODEL.BACKBONE.NAME != "build_audio_backbone")
    assert cfg.INPUT.AUDIO.NEGATIVES == cfg.MODEL.AVSYNC.ENABLED
    is_evaluated = cfg.MODEL.META_ARCHITECTURE == "AVPretrainer"
    assert cfg.TEST.AUDIO_NEGATIVES == (cfg.MODEL.AVSYNC.ENABLED and is_evaluated)


def make_clip(cfg) -> dict:
    logmels = torch.randn(2, 1, cfg.INPUT.AUDIO.NUM_FRAMES, cfg.INPUT.AUDIO.NUM_MELS) - 7
    return {
        "frames": torch.randint(0, 256, (3, cfg.INPUT.CLIP.NUM_FRAMES, 32, 32)).byte(),
        "audio": logmels[0],
        "has_audio": True,
        "audio_negative": logmels[1],
        "has_audio_negative": True,
        "height": 32,
        "width": 32,
    }


def train_detector(cfg, model, clip: dict) -> dict:
    instances = Instances((32, 32))
    instances.gt_boxes = Boxes(torch.tensor([[4.0, 4.0, 28.0, 30.0]]))
    instances.gt_classes = torch.zeros(1, dtype=torch.int64)
    instances.gt_actions = torch.zeros(1, cfg.MODEL.ROI_ACTION_HEAD.NUM_CLASSES)
    clip["instances"] = instances
    losses = model([clip, clip])
    # The classifier starts near zero: sigmoid 0.5 for each class, so a loss of ln 2.
    assert abs(losses["loss_action"].item() - math.log(2)) < 0.1
    return losses


def train_classifier(cfg, model, clip: dict) -> dict:
    head = cfg.MODEL.CLIP_HEAD
    several = head.LOSS == "sigmoid"
    sizes = dict(zip(head.TASKS, head.NUM_CLASSES, strict=True))
    clip["labels"] = {
        task: torch.zeros(k) if several else torch.tensor(k - 1) for task, k in sizes.items()
    }
    losses = model([clip, clip])
    # Fixed batch norms leave the features of an untrained backbone at any scale.
    normalized = any(
        isinstance(module, BatchNormBase) and module.training for module in model.modules()
    )
    for task, k in sizes.items():
        loss = losses[f"loss_{task}"].item()
        expected = math.log(2) if several else math.log(k)
        assert abs(loss - expected) < 0.3 if normalized else math.isfinite(loss)
    return losses


def train_self_supervised(cfg, model, clip: dict) -> dict:
    losses = model([clip, clip])
    if cfg.MODEL.ROTATION.ENABLED:
        assert abs(losses["loss_rotation"].item() - math.log(4)) < 0.3
    return losses


def train_person_detector(cfg, model, clip: dict) -> dict:
    instances = Instances((64, 64))
    instances.gt_boxes = Boxes(torch.tensor([[8.0, 8.0, 40.0, 60.0]]))
    instances.gt_classes = torch.zeros(1, dtype=torch.int64)
    image = {"image": torch.randint(0, 256, (3, 64, 64)).byte(), "instances": instances}
    losses = model([image, image])
    # The objectness starts near zero: sigmoid 0.5 for each anchor, so a loss of ln 2.
    assert abs(losses["loss_rpn_cls"].item() - math.log(2)) < 0.1
    return losses


train_step = {
    "ActionDetector": train_detector,
    "AVPretrainer": train_self_supervised,
    "ClipClassifier": train_classifier,
    "GeneralizedRCNN": train_person_detector,
}


def test_leaves_are_short_and_write_to_a_folder_of_their_own():
    assert [path for path in LEAVES if len(path.read_text().splitlines()) > 50] == []
    outputs = [load(path).OUTPUT_DIR for path in LEAVES]
    assert [output for output in outputs if outputs.count(output) > 1] == []
