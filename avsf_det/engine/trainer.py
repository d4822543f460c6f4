"""Detectron2's trainer with our loaders, evaluators and checkpointer."""

import copy
import os
import weakref

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

from .hooks import NegativeCurriculumHook


class Trainer(DefaultTrainer):
    @classmethod
    def build_train_loader(cls, cfg):
        return build_clip_train_loader(cfg)

    @classmethod
    def build_test_loader(cls, cfg, dataset_name: str):
        return build_clip_test_loader(cfg, dataset_name)

    @classmethod
    def test(
        cls,
        cfg: CfgNode,
        model: nn.Module,
        evaluators: DatasetEvaluator | list[DatasetEvaluator] | None = None,
    ) -> dict:
        """Detectron2's, on a copy of the model whose batch norms are folded."""
        if isinstance(model, DistributedDataParallel):
            model = model.module
        folded = copy.deepcopy(model).eval()
        fold_batch_norms(folded)
        if cfg.MODEL.COMPILE:
            folded.backbone.compile(fullgraph=True)  # a copy is not compiled
        return super().test(cfg, folded, evaluators)

    @classmethod
    def build_evaluator(cls, cfg, dataset_name: str) -> DatasetEvaluator:
        """The evaluator of the data set's ``evaluator_type``, or of a model that learns without
        labels; it writes to OUTPUT_DIR/inference."""
        evaluator_type = MetadataCatalog.get(dataset_name).evaluator_type
        if cfg.MODEL.META_ARCHITECTURE == "AVPretrainer":
            return SyncEvaluator()
        folder = os.path.join(cfg.OUTPUT_DIR, "inference")
        if len(cfg.DATASETS.TEST) > 1:
            folder = os.path.join(folder, dataset_name)
        if evaluator_type == "ava":
            return AVAEvaluator(
                dataset_name,
                folder,
                protocol=cfg.TEST.AVA_PROTOCOL,
                box_source=person_box_file(cfg, dataset_name) or "the ground truth",
            )
        if evaluator_type == "epic":
            return EPICEvaluator(dataset_name, folder, use_prior=cfg.TEST.EPIC_PRIOR)
        simple = {"clip": ClipEvaluator, "charades": CharadesEvaluator}
        if evaluator_type not in simple:
            raise ValueError(
                f"Data set '{dataset_name}' has evaluator_type '{evaluator_type}'; known: 'ava', "
                "'epic', 'clip', 'charades'"
            )
        return simple[evaluator_type](dataset_name, folder)

    def build_hooks(self) -> list[HookBase]:
        """Detectron2's hooks; precise BN reads with as many workers as training, not with none.

        Also the place to put a checkpointer that reads everybody's weights: Detectron2 makes its
        own just before, and the hooks that save with it here. A person detector keeps that one.
        """
        if self.cfg.INPUT.KIND != "frames":
            self.checkpointer = AVSFCheckpointer(
                self.model,
                self.cfg.OUTPUT_DIR,
                min_matched=self.cfg.MODEL.WEIGHTS_MIN_MATCHED,
                trainer=weakref.proxy(self),
            )
        built = [
            self._build_precise_bn() if isinstance(hook, hooks.PreciseBN) else hook
            for hook in super().build_hooks()
        ]
        sync = self.cfg.MODEL.AVSYNC
        if sync.ENABLED:
            hard_after = round(sync.HARD_AFTER * self.cfg.SOLVER.MAX_ITER)
            built.insert(0, NegativeCurriculumHook(hard_after, sync.EASY_RATIO))
        return built

    def _build_precise_bn(self) -> hooks.PreciseBN:
        return hooks.PreciseBN(
            self.cfg.TEST.EVAL_PERIOD,
            self.model,
            self.build_train_loader(self.cfg),
            self.cfg.TEST.PRECISE_BN.NUM_ITER,
        )

    def state_dict(self) -> dict:
        """With the optimizer's, which Detectron2 0.6 leaves out: it would resume without."""
        return {**super().state_dict(), "_trainer": self._trainer.state_dict()}

    def load_state_dict(self, state_dict: dict) -> None:
        super().load_state_dict(state_dict)
        self._trainer.load_state_dict(state_dict["_trainer"])
