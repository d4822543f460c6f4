"""Detectron2's trainer with our loaders, evaluators and checkpointer."""

import copy
import logging
import os
import re
import weakref
from functools import partial
from typing import Any

import torch
from detectron2.config import CfgNode
from detectron2.data import MetadataCatalog
from detectron2.engine import DefaultTrainer, HookBase, hooks
from detectron2.evaluation import DatasetEvaluator
from detectron2.utils import comm
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from avsf_det.checkpoint import AVSFCheckpointer, SafeCheckpointer
from avsf_det.data import build_clip_test_loader, build_clip_train_loader, person_box_file
from avsf_det.data.loader import TrainLoader, explain_dead_worker
from avsf_det.evaluation import (
    ActiveSpeakerEvaluator,
    AVAEvaluator,
    CharadesEvaluator,
    ClipEvaluator,
    EPICEvaluator,
    SyncEvaluator,
    TubeEvaluator,
)
from avsf_det.layers import fold_batch_norms
from avsf_det.structures import AVSFError, ConfigError

from .finite_loss import FiniteLossAMPTrainer, FiniteLossTrainer
from .hooks import (
    BufferAverager,
    FractionLogger,
    NegativeCurriculumHook,
    ResumablePreciseBN,
    cut_metrics,
)
from .interruption import StopHook

# What gloo and NCCL raise in a process whose partner has ended.
PARTNER_ENDED = re.compile("by peer|onnection (was )?(closed|reset|refused)|remote process exited")


def _shorten_known_errors(record: logging.LogRecord) -> bool:
    """Replace the traceback of an error that the user can act on by its message."""
    error = record.exc_info[1] if record.exc_info else None
    if isinstance(error, AVSFError | OSError) or PARTNER_ENDED.search(str(error)):
        record.msg, record.args, record.exc_info = f"The training ends: {error}", (), None
    return True


class Trainer(DefaultTrainer):
    """Detectron2's trainer for all models of this project.

    A resumed training continues exactly: order of the clips and all random draws depend on the seed
    and the iteration alone (:class:`.TrainLoader`), and the seed is in the checkpoint.
    """

    _hooks: list[HookBase]  # of the base class

    def __init__(self, cfg: CfgNode) -> None:
        super().__init__(cfg)
        step = FiniteLossAMPTrainer if cfg.SOLVER.AMP.ENABLED else FiniteLossTrainer
        # Detectron2's own, which it has just built, checks the loss in the main process alone.
        self._trainer = step(self.model, self.data_loader, self.optimizer)
        self._trainer.output_dir = cfg.OUTPUT_DIR

    build_train_loader = staticmethod(build_clip_train_loader)
    build_test_loader = staticmethod(build_clip_test_loader)

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
        # A copy, because the training goes on with the norms. It is not compiled: each video can
        # have another size, for which cuDNN's search for the fastest kernels is off, too.
        folded: Any = copy.deepcopy(model).eval()
        fold_batch_norms(
            folded, getattr(folded, "autocast_dtype", None)
        )  # a person detector has none
        searches, torch.backends.cudnn.benchmark = torch.backends.cudnn.benchmark, False
        try:
            return super().test(cfg, folded, evaluators)
        finally:
            torch.backends.cudnn.benchmark = searches

    @classmethod
    def build_evaluator(cls, cfg: CfgNode, dataset_name: str) -> DatasetEvaluator:
        """Return the evaluator of the dataset's ``evaluator_type``, or of a self-supervised model.

        It writes to OUTPUT_DIR/inference, with a folder per dataset if there are several.
        """
        if cfg.MODEL.META_ARCHITECTURE == "AVPretrainer":
            return SyncEvaluator()
        several = len(cfg.DATASETS.TEST) > 1
        folder = os.path.join(cfg.OUTPUT_DIR, "inference", *[dataset_name] * several)
        kind = MetadataCatalog.get(dataset_name).evaluator_type
        stride = cfg.DATASETS.KEYFRAME_STRIDE_TEST
        # The evaluator names the origin of the boxes, because they limit the mAP.
        boxes = "the ground truth"
        if kind in ("ava", "tubes"):
            boxes = person_box_file(cfg, dataset_name) or boxes
        match kind:
            case "ava":
                protocol = cfg.TEST.AVA_PROTOCOL
                return AVAEvaluator(dataset_name, folder, protocol=protocol, box_source=boxes)
            case "tubes":
                options: dict = {"box_source": boxes, "keyframe_stride": stride}
                return TubeEvaluator(dataset_name, folder, **options)
            case "active_speaker":
                return ActiveSpeakerEvaluator(dataset_name, folder, keyframe_stride=stride)
            case "epic":
                return EPICEvaluator(dataset_name, folder, use_prior=cfg.TEST.EPIC_PRIOR)
            case "clip":
                return ClipEvaluator(dataset_name, folder)
            case "charades":
                return CharadesEvaluator(dataset_name, folder)
            case unknown:
                raise ConfigError(
                    f"Dataset '{dataset_name}' has evaluator_type '{unknown}'; known: 'ava', "
                    "'tubes', 'active_speaker', 'epic', 'clip', 'charades'"
                )

    def resume_or_load(self, resume: bool = True) -> None:
        """Resume, or load MODEL.WEIGHTS and then MODEL.AUDIO.WEIGHTS."""
        super().resume_or_load(resume)
        audio = self.cfg.MODEL.AUDIO.WEIGHTS
        if audio and not (resume and self.checkpointer.has_checkpoint()):
            AVSFCheckpointer(self.model, part="backbone.audio.").load(audio)

    def build_hooks(self) -> list[HookBase]:
        """Return Detectron2's hooks and ours; set the checkpointer."""
        # Detectron2 has just built its checkpointer, and its hooks below save with ours.
        kind: Any = SafeCheckpointer  # of a person detector
        if self.cfg.INPUT.KIND != "frames":
            kind = partial(AVSFCheckpointer, min_matched=self.cfg.MODEL.WEIGHTS_MIN_MATCHED)
        # A reference back would keep the trainer alive.
        self.checkpointer = kind(self.model, self.cfg.OUTPUT_DIR, trainer=weakref.proxy(self))
        built, test = [*super().build_hooks()], self.cfg.TEST
        for i, hook in enumerate(built):
            if isinstance(hook, hooks.PreciseBN):
                # Ours reads with as many workers as training, instead of none.
                args = self.model, self.build_train_loader(self.cfg), test.PRECISE_BN.NUM_ITER
                keep_audio = test.PRECISE_BN.KEEP_AUDIO
                built[i] = ResumablePreciseBN(test.EVAL_PERIOD, *args, keep_audio=keep_audio)
            if isinstance(hook, hooks.EvalHook):
                built[i] = hooks.EvalHook(test.EVAL_PERIOD, self._evaluate)
        # After the hooks that change the model or save it, before a long evaluation.
        place = next((i for i, h in enumerate(built) if isinstance(h, hooks.EvalHook)), len(built))
        built.insert(place, StopHook(self.checkpointer))
        saving = hooks.PeriodicCheckpointer, StopHook  # the former in the main process alone
        place = next(i for i, h in enumerate(built) if isinstance(h, saving))
        built.insert(place, BufferAverager())
        sync = self.cfg.MODEL.AVSYNC
        if sync.ENABLED:
            hard_after = round(sync.HARD_AFTER * self.cfg.SOLVER.MAX_ITER)
            built.insert(0, NegativeCurriculumHook(hard_after, sync.EASY_RATIO))
        if sync.ENABLED or self.cfg.MODEL.META_ARCHITECTURE == "AVPretrainer":
            built.insert(0, FractionLogger())
        return built

    def _evaluate(self) -> dict:
        """Evaluate the model; before the last iteration in fewer views."""
        cfg, number = self.cfg, self.cfg.TEST.VIEWS_IN_TRAINING
        if number and self.iter + 1 < self.max_iter:
            cfg = cfg.clone()
            cfg.defrost()
            cfg.TEST.VIEWS.TEMPORAL, cfg.TEST.VIEWS.SPATIAL = number, 1
        self._last_eval_results = self.test(cfg, self.model)  # which the base class returns
        return self._last_eval_results

    def train(self) -> dict | None:
        """Train from the current iteration; return the results of the last evaluation."""
        # The logger of Detectron2's loop, which logs each error with its traceback.
        log = logging.getLogger("detectron2.engine.train_loop")
        log.addFilter(_shorten_known_errors)
        try:
            return super().train()
        except RuntimeError as error:
            known: AVSFError | None = explain_dead_worker(error)
            if PARTNER_ENDED.search(str(error)):
                known = AVSFError(
                    f"Process {comm.get_rank()} ends at iteration {self.iter}, because another "
                    "process of the training has ended; the error of that one says why"
                )
            if known is None:
                raise
            raise known from None
        finally:
            log.removeFilter(_shorten_known_errors)

    def before_train(self) -> None:
        """Let the data and the metrics continue at the first iteration."""
        if isinstance(self.data_loader, TrainLoader):
            self.data_loader.start_iter = self.start_iter
        if comm.is_main_process():  # a training that starts again leaves the lines of none before
            cut_metrics(os.path.join(self.cfg.OUTPUT_DIR, "metrics.json"), self.start_iter)
        super().before_train()

    def after_train(self) -> None:
        """Run the hooks' ends; without the evaluation if the training failed or was stopped."""
        if self.iter < self.max_iter:  # Detectron2 evaluates whenever the last iteration began
            self._hooks = [h for h in self._hooks if not isinstance(h, hooks.EvalHook)]
        super().after_train()

    def state_dict(self) -> dict:
        """Return the state with the optimizer, which Detectron2 0.6 does not save, and the seed."""
        state = {**super().state_dict(), "_trainer": self._trainer.state_dict()}
        if isinstance(self.data_loader, TrainLoader):
            state["seed"] = self.data_loader.seed
        return state

    def load_state_dict(self, state_dict: dict) -> None:
        """Restore the state with the optimizer; and the seed, if SEED is random."""
        super().load_state_dict(state_dict)
        self._trainer.load_state_dict(state_dict["_trainer"])
        if self.cfg.SEED < 0 and isinstance(self.data_loader, TrainLoader):
            self.data_loader.seed = state_dict.get("seed", self.data_loader.seed)
