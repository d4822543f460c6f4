"""Every config file merges, and its model builds and runs one tiny step."""

from pathlib import Path

import pytest
import torch
from detectron2.config import get_cfg
from detectron2.modeling import build_model
from detectron2.structures import Boxes, Instances
from detectron2.utils.events import EventStorage

from avsf_det import add_avsf_config

ROOT = Path(__file__).resolve().parents[1]
CONFIGS = sorted((ROOT / "configs").rglob("*.yaml"))
LEAVES = [path for path in CONFIGS if not path.name.startswith("Base-")]
TINY = [
    *("MODEL.DEVICE", "cpu", "MODEL.SLOWFAST.WIDTH", 8, "MODEL.AUDIO.FUSION_WIDTH", 4),
    *("INPUT.AUDIO.NUM_MELS", 8),
]


def load(path: Path, *options):
    cfg = get_cfg()
    add_avsf_config(cfg)
    cfg.merge_from_file(str(path))
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


@pytest.mark.parametrize("path", CONFIGS, ids=config_id)
def test_config_builds_and_trains_one_step(path):
    cfg = load(path, *TINY)
    model = build_model(cfg).train()
    num_frames, num_classes = cfg.INPUT.CLIP.NUM_FRAMES, cfg.MODEL.ROI_ACTION_HEAD.NUM_CLASSES
    instances = Instances((32, 32))
    instances.gt_boxes = Boxes(torch.tensor([[4.0, 4.0, 28.0, 30.0]]))
    instances.gt_classes = torch.zeros(1, dtype=torch.int64)
    instances.gt_actions = torch.zeros(1, num_classes)
    clip = {
        "frames": torch.randint(0, 256, (3, num_frames, 32, 32), dtype=torch.uint8),
        "audio": torch.randn(1, cfg.INPUT.AUDIO.NUM_FRAMES, cfg.INPUT.AUDIO.NUM_MELS) - 7,
        "has_audio": True,
        "instances": instances,
        "height": 32,
        "width": 32,
    }
    with EventStorage():
        losses = model([clip, clip])
    total = sum(losses.values())
    # The classifier starts near zero: sigmoid 0.5 for each class, so a loss of ln 2.
    assert abs(losses["loss_action"].item() - 0.6931) < 0.1
    total.backward()
    assert all(p.grad is not None for p in model.parameters() if p.requires_grad)


@pytest.mark.parametrize("path", LEAVES, ids=config_id)
def test_leaves_are_short_and_write_to_a_folder_of_their_own(path):
    assert len(path.read_text().splitlines()) <= 50
    output = load(path).OUTPUT_DIR
    assert [other for other in LEAVES if load(other).OUTPUT_DIR == output] == [path]
