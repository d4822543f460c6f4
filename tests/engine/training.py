"""Trainings of a few iterations of a tiny model, on the dataset of ``actions``."""

from pathlib import Path

import torch
from detectron2.config import CfgNode
from detectron2.engine import HookBase

from avsf_det.engine import Trainer

from .actions import NAME, make_model

MAX_ITER = 6


def make_training(folder: Path, *options) -> CfgNode:
    """A training with every kind of random draw, and with precise BN in between."""
    cfg = make_model(folder)
    cfg.merge_from_list(
        [
            *("DATASETS.TRAIN", (NAME,), "DATASETS.TEST", (), "SEED", 3),
            *("DATALOADER.ASPECT_RATIO_GROUPING", False, "DATALOADER.NUM_WORKERS", 0),
            *("INPUT.MIN_SIZE_TRAIN", (40, 48), "INPUT.MIN_SIZE_TRAIN_SAMPLING", "range"),
            *("INPUT.CROP.ENABLED", True, "INPUT.CROP.TYPE", "absolute", "INPUT.CROP.SIZE"),
            *([32, 32], "INPUT.AUDIO.NEGATIVES", True, "MODEL.AVSYNC.ENABLED", True),
            *("INPUT.CLIP.STRIDE", 1, "INPUT.AUDIO.NEGATIVE_GAP_SEC", 0.1),
            *("MODEL.AUDIO.DROP_PATHWAY", 0.5, "MODEL.AUDIO.DROP_FILL", "mean"),
            *("MODEL.WEIGHTS_MIN_MATCHED", 0.0, "SOLVER.REFERENCE_WORLD_SIZE", 0),
            *("SOLVER.IMS_PER_BATCH", 2, "SOLVER.MAX_ITER", MAX_ITER, "SOLVER.BASE_LR", 0.05),
            *("SOLVER.CHECKPOINT_PERIOD", 2, "SOLVER.WARMUP_ITERS", 4, "SOLVER.STEPS", (5,)),
            *("TEST.EVAL_PERIOD", 4, "TEST.PRECISE_BN.ENABLED", True),
            *("TEST.PRECISE_BN.NUM_ITER", 1, "OUTPUT_DIR", str(folder / "run"), *options),
        ]
    )
    return cfg


class RaiseAt(HookBase):
    """Raise an error in the middle of a run, before an iteration."""

    def __init__(self, iteration: int, error: BaseException):
        self.iteration, self.error = iteration, error

    def before_step(self):
        if self.trainer.iter == self.iteration:
            raise self.error


def run(cfg: CfgNode, *hooks: HookBase, resume: bool = False) -> Trainer:
    trainer = Trainer(cfg)
    trainer.register_hooks(hooks)
    trainer.resume_or_load(resume=resume)
    trainer.train()
    return trainer


def read_state(cfg: CfgNode) -> dict:
    """Weights, buffers, optimizer and schedule after the last iteration."""
    return torch.load(f"{cfg.OUTPUT_DIR}/model_final.pth", weights_only=True)


def differences(one: object, two: object, name: str = "") -> list[str]:
    """Names of the entries of two states that are not equal bit for bit."""
    if isinstance(one, dict) and isinstance(two, dict) and one.keys() == two.keys():
        return [x for key in one for x in differences(one[key], two[key], f"{name}.{key}")]
    if isinstance(one, list | tuple) and len(one) == len(two):
        return [x for i, y in enumerate(one) for x in differences(y, two[i], f"{name}.{i}")]
    same = torch.equal(one, two) if isinstance(one, torch.Tensor) else one == two
    return [] if same else [name]
