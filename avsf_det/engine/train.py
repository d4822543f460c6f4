"""Train and evaluate AVSlowFast models: the body of ``train_net.py`` and of ``avsf-train``."""

import argparse

import torch
from detectron2.config import CfgNode
from detectron2.engine import default_argument_parser, default_setup, launch
from detectron2.evaluation import verify_results
from detectron2.utils import comm
from detectron2.utils.logger import setup_logger

from avsf_det.checkpoint import AVSFCheckpointer, SafeCheckpointer

from .defaults import load_config, run_command
from .trainer import Trainer

EXAMPLES = """examples:
  python train_net.py --config-file configs/AVA/avsf_r101_8x8.yaml --num-gpus 8 \\
      MODEL.WEIGHTS kinetics.pyth
  python train_net.py --config-file configs/AVA/avsf_r101_8x8.yaml --eval-only \\
      MODEL.WEIGHTS output/AVA/avsf_r101_8x8/model_final.pth"""


def setup(args: argparse.Namespace) -> CfgNode:
    """Return the frozen config of the command line, and set up logging."""
    cfg = load_config(args.config_file, args.opts)
    notes = []  # logged below, once there is a logger
    if not torch.cuda.is_available():
        notes.append(f"There is no CUDA device: MODEL.DEVICE is {cfg.MODEL.DEVICE}")
    if args.eval_only and cfg.MODEL.META_ARCHITECTURE != "AVPretrainer":
        cfg.MODEL.AVSYNC.ENABLED = False  # a loss, and layers that nothing else needs
    if "SOLVER.IMS_PER_BATCH" in args.opts and "SOLVER.REFERENCE_WORLD_SIZE" not in args.opts:
        # Otherwise Detectron2 would scale the batch that the user asks for.
        cfg.SOLVER.REFERENCE_WORLD_SIZE = 0
        notes.append(
            "SOLVER.IMS_PER_BATCH is given: batch, BASE_LR and iterations are used as they are, "
            "not scaled to the number of processes"
        )
    cfg.freeze()
    default_setup(cfg, args)
    logger = setup_logger(cfg.OUTPUT_DIR, distributed_rank=comm.get_rank(), name="avsf_det")
    for note in notes:
        logger.info(note)
    return cfg


def train(args: argparse.Namespace) -> dict:
    """Train, or with ``--eval-only`` evaluate; return the results of the last evaluation."""
    cfg = setup(args)
    if args.eval_only:
        model = Trainer.build_model(cfg)
        # The checkpointer of the training that made the weights; see Trainer.build_hooks.
        kind = SafeCheckpointer if cfg.INPUT.KIND == "frames" else AVSFCheckpointer
        checkpointer = kind(model, cfg.OUTPUT_DIR, required="model")
        checkpointer.resume_or_load(cfg.MODEL.WEIGHTS, resume=args.resume)
        results = Trainer.test(cfg, model)
        if comm.is_main_process():  # the other processes have no results
            verify_results(cfg, results)
        return results
    trainer = Trainer(cfg)
    trainer.resume_or_load(resume=args.resume)
    return trainer.train()


def run(args: argparse.Namespace) -> None:
    """Run :func:`train` in ``args.num_gpus`` processes on each machine."""
    launch(
        train,
        args.num_gpus,
        num_machines=args.num_machines,
        machine_rank=args.machine_rank,
        dist_url=args.dist_url,
        args=(args,),
    )


def main(argv: list[str] | None = None) -> int:
    """Return the exit code: 1 after one line on stderr if the input is bad."""
    parser = default_argument_parser(epilog=EXAMPLES)
    return run_command(run, parser.parse_args(argv))
