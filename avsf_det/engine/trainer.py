"""Detectron2's trainer with our loaders, evaluators and checkpointer."""

import copy
import os
import weakref
from collections.abc import Iterable
from typing import Any

from detectron2.config import CfgNode
from detectron2.data import MetadataCatalog
from detectron2.engine import DefaultTrainer, HookBase, hooks
from detectron2.evaluation import DatasetEvaluator
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from avsf_det.checkpoint import AVSFCheckpointer
from avsf_det.data import build_clip_test_loader, build_clip_train_loader, person_box_file
from avsf_det.evaluation import (
    AVAEvaluator,
    CharadesEvaluator,
    ClipEvaluator,
    EPICEvaluator,
    SyncEvaluator,
)
from avsf_det.layers import fold_batch_norms

from .hooks import FractionLogger, NegativeCurriculumHook


class Trainer(DefaultTrainer):
    """Detectron2's trainer for all models of this project."""

    @classmethod
    def build_train_loader(cls, cfg: CfgNode) -> Iterable[list[dict]]:
        """Return the endless loader of training batches."""
        return build_clip_train_loader(cfg)

    @classmethod
    def build_test_loader(cls, cfg: CfgNode, dataset_name: str) -> Iterable[list[dict]]:
        """Return the loader of a test dataset."""
        return build_clip_test_loader(cfg, dataset_name)

    @classmethod
    def test(
        cls,
        cfg: CfgNode,
        model: nn.Module,
        evaluators: DatasetEvaluator | list[DatasetEvaluator] | None = None,
    ) -> dict:
        """Evaluate a copy of the model whose batch norms are folded, on all of DATASETS.TEST."""
        if isinstance(model, DistributedDataParallel):
            model = model.module
        # A copy, because the training goes on with the norms.
        folded: Any = copy.deepcopy(model).eval()
        fold_batch_norms(folded)
        if cfg.MODEL.COMPILE:
            folded.backbone.compile(fullgraph=True)  # a copy is not compiled
        return super().test(cfg, folded, evaluators)

    @classmethod
    def build_evaluator(cls, cfg: CfgNode, dataset_name: str) -> DatasetEvaluator:
        """Return the evaluator of the dataset's ``evaluator_type``, or of a self-supervised model.

        It writes to OUTPUT_DIR/inference, with a folder per dataset if there are several.
        """
        if cfg.MODEL.META_ARCHITECTURE == "AVPretrainer":
            return SyncEvaluator()
        folder = os.path.join(cfg.OUTPUT_DIR, "inference")
        if len(cfg.DATASETS.TEST) > 1:
            folder = os.path.join(folder, dataset_name)
        match MetadataCatalog.get(dataset_name).evaluator_type:
            case "ava":
                # The evaluator names the origin of the boxes, because they limit the mAP.
                boxes, protocol = person_box_file(cfg, dataset_name), cfg.TEST.AVA_PROTOCOL
                boxes = boxes or "the ground truth"
                return AVAEvaluator(dataset_name, folder, protocol=protocol, box_source=boxes)
            case "epic":
                return EPICEvaluator(dataset_name, folder, use_prior=cfg.TEST.EPIC_PRIOR)
            case "clip":
                return ClipEvaluator(dataset_name, folder)
            case "charades":
                return CharadesEvaluator(dataset_name, folder)
            case unknown:
                raise ValueError(
                    f"Dataset '{dataset_name}' has evaluator_type '{unknown}'; known: 'ava', "
                    "'epic', 'clip', 'charades'"
                )

    def build_hooks(self) -> list[HookBase]:
        """Return Detectron2's hooks, and the curriculum of negatives; set the checkpointer.

        Precise BN reads with as many workers as training, instead of none.
        """
        # Detectron2 has just built its checkpointer, and its hooks below save with ours. A person
        # detector (INPUT.KIND "frames") keeps Detectron2's.
        if self.cfg.INPUT.KIND != "frames":
            self.checkpointer = AVSFCheckpointer(
                self.model,
                self.cfg.OUTPUT_DIR,
                min_matched=self.cfg.MODEL.WEIGHTS_MIN_MATCHED,
                trainer=weakref.proxy(self),  # a reference back would keep the trainer alive
            )
        built, test = [*super().build_hooks()], self.cfg.TEST
        for i, hook in enumerate(built):
            if isinstance(hook, hooks.PreciseBN):
                loader = self.build_train_loader(self.cfg)
                num_iter = test.PRECISE_BN.NUM_ITER
                built[i] = hooks.PreciseBN(test.EVAL_PERIOD, self.model, loader, num_iter)
        sync = self.cfg.MODEL.AVSYNC
        if sync.ENABLED:
            hard_after = round(sync.HARD_AFTER * self.cfg.SOLVER.MAX_ITER)
            built.insert(0, NegativeCurriculumHook(hard_after, sync.EASY_RATIO))
        if sync.ENABLED or self.cfg.MODEL.META_ARCHITECTURE == "AVPretrainer":
            built.insert(0, FractionLogger())
        return built

    def state_dict(self) -> dict:
        """Return the state with the optimizer, which Detectron2 0.6 does not save."""
        return {**super().state_dict(), "_trainer": self._trainer.state_dict()}

    def load_state_dict(self, state_dict: dict) -> None:
        """Restore the state with the optimizer."""
        super().load_state_dict(state_dict)
        self._trainer.load_state_dict(state_dict["_trainer"])
