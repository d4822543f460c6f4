"""Ranges of config keys."""

from pathlib import Path

import pytest
from detectron2.config import get_cfg

from avsf_det import add_avsf_config
from avsf_det.engine.config_checks import RULES, check_clip, check_training
from avsf_det.engine.config_file import all_keys
from avsf_det.engine.defaults import load_config
from avsf_det.structures import ConfigError

CONFIGS = Path(__file__).resolve().parents[2] / "configs"
FILES = sorted(CONFIGS.rglob("*.yaml"))
MINI = CONFIGS / "mini" / "avsf_mini.yaml"
# Any text.
FREE = {"MODEL.PERSON_DETECTOR.WEIGHTS", "MODEL.AUDIO.WEIGHTS"}
FREE |= {f"DATASETS.OWN.{key}" for key in ("TRAIN_CSV", "VAL_CSV", "LABEL_MAP", "VIDEOS")}
BAD_VALUES = {
    "INPUT.KIND": "videos",
    "INPUT.CLIP.NUM_FRAMES": 0,
    "INPUT.CLIP.STRIDE": 0,
    "INPUT.CLIP.FPS": 0.0,
    "INPUT.COLOR_JITTER.STRENGTH": 2,
    "INPUT.AUDIO.SAMPLE_RATE": -1,
    "INPUT.AUDIO.WINDOW_SEC": 1e-9,
    "INPUT.AUDIO.HOP_SEC": 0.0,
    "INPUT.AUDIO.NUM_MELS": 0,
    "INPUT.AUDIO.NUM_FRAMES": 0,
    "INPUT.MIN_SIZE_TRAIN": (),
    "INPUT.CROP.SIZE": [224],
    "INPUT.RANDOM_FLIP": "sideways",
    "MODEL.BACKBONE.FREEZE_AT": 9,
    "MODEL.BACKBONE.NAME": "build_fast_backbone",
    "MODEL.META_ARCHITECTURE": "Detector",
    "MODEL.PIXEL_STD": [1, 0, 1],
    "MODEL.PIXEL_MEAN": [1.0],
    "MODEL.AUDIO_STD": 0,
    "MODEL.AUTOCAST_DTYPE": "fp16",
    "MODEL.SLOWFAST.DEPTH": 18,
    "MODEL.SLOWFAST.ALPHA": 3,
    "MODEL.SLOWFAST.BETA_INV": 5,
    "MODEL.SLOWFAST.SPATIAL_STRIDES": [1, 2, 2],
    "MODEL.SLOWFAST.FUSION_STAGES": ["res5"],
    "MODEL.SLOWFAST.FUSION_KERNEL": 4,
    "MODEL.SLOWFAST.NONLOCAL.RES4": [7],
    "MODEL.AUDIO.STRIDES": [1, 0, 2, 2],
    "MODEL.AUDIO.BLOCK": "v3",
    "MODEL.AUDIO.DROP_PATHWAY": 2,
    "MODEL.AUDIO.DROP_FILL": "noise",
    "MODEL.ROI_ACTION_HEAD.NUM_CLASSES": 0,
    "MODEL.ROI_ACTION_HEAD.DROPOUT": -0.1,
    "MODEL.CLIP_HEAD.NUM_CLASSES": [3, 4],
    "MODEL.AVSYNC.LEVELS": ["res9"],
    "MODEL.AVSYNC.HARD_AFTER": 1.5,
    "DATALOADER.NUM_WORKERS": -1,
    "DATALOADER.MAX_BAD_CLIPS": 5,
    "SOLVER.MAX_ITER": 0,
    "SOLVER.BASE_LR": -0.1,
    "SOLVER.IMS_PER_BATCH": 0,
    "SOLVER.STEPS": (30, 20),
    "SOLVER.CHECKPOINT_PERIOD": 0,
    "SOLVER.LR_SCHEDULER_NAME": "Cosine",
    "SOLVER.MOMENTUM": 1.5,
    "TEST.VIEWS.TEMPORAL": 0,
    "TEST.BATCH_SIZE": 0,
    "TEST.AUDIO_MODE": "loud",
    "TEST.AVA_PROTOCOL": "coco",
    "SEED": -7,
    "OUTPUT_DIR": "s3://bucket/run",
}


def test_every_key_of_ours_has_a_range():
    ours = get_cfg()
    add_avsf_config(ours)
    added = set(all_keys(ours)) - set(all_keys(get_cfg()))

    def value(key):
        node = ours
        for name in key.split("."):
            node = node[name]
        return node

    assert {key for key in added if not isinstance(value(key), bool)} - FREE <= set(RULES)
    assert set(RULES) <= set(all_keys(ours))


@pytest.mark.parametrize("key", BAD_VALUES)
def test_a_value_out_of_its_range_is_named_with_the_range(key):
    with pytest.raises(ConfigError, match="must be") as error:
        load_config(MINI, [key, BAD_VALUES[key]])
    message = str(error.value)
    assert key.rpartition(".")[2] in message and len(message) <= 300 and "\n" not in message


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(CONFIGS)))
def test_shipped_configs_pass_and_are_read_as_detectron2_reads_them(path):
    notes = []
    theirs = get_cfg()
    add_avsf_config(theirs)
    theirs.merge_from_file(str(path))
    ours = load_config(path, ["MODEL.DEVICE", "cpu"], notes=notes)
    theirs.MODEL.DEVICE = "cpu"
    assert ours == theirs
    assert notes == []


def test_clips_must_be_what_the_backbone_takes():
    check_clip(load_config(MINI))
    with pytest.raises(ConfigError, match=r"INPUT\.AUDIO\.NUM_FRAMES is 65; it must be 64: MODEL"):
        check_clip(load_config(MINI, ["INPUT.AUDIO.NUM_FRAMES", 65]))
    with pytest.raises(ConfigError, match=r"INPUT\.FRAMES is False; it must be True"):
        check_clip(load_config(MINI, ["INPUT.FRAMES", False]))


def test_a_batch_must_fit_the_processes_and_the_groups_of_batch_norm():
    cfg = load_config(MINI, ["SOLVER.IMS_PER_BATCH", 8, "MODEL.SLOWFAST.NORM", "SubBN"])
    check_training(cfg, 1)
    with pytest.raises(ConfigError, match="IMS_PER_BATCH is 8; with 3 processes"):
        check_training(cfg, 3)
    with pytest.raises(ConfigError, match="SUBBN_CLIPS is 8; with 4 clips"):
        check_training(cfg, 2)
    cfg.MODEL.SLOWFAST.NORM = "SyncBN"
    with pytest.raises(ConfigError, match="SyncBN"):
        check_training(cfg, 2)
