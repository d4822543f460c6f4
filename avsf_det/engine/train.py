"""Train and evaluate AVSlowFast models: the body of ``train_net.py`` and of ``avsf-train``.

torch and Detectron2 are imported inside the functions: ``--help`` and a misspelt option do not wait
for them.
"""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from avsf_det.structures import ConfigError

from .defaults import (
    ToolParser,
    add_config_arguments,
    at_least,
    load_config,
    make_parser,
    run_command,
)

if TYPE_CHECKING:
    from detectron2.config import CfgNode

EXAMPLES = """examples:
  python train_net.py --config-file configs/AVA/avsf_r101_8x8.yaml --num-gpus 8 \\
      MODEL.WEIGHTS kinetics.pyth
  python train_net.py --config-file configs/AVA/avsf_r101_8x8.yaml --eval-only \\
      MODEL.WEIGHTS output/AVA/avsf_r101_8x8/model_final.pth"""


def setup(args: argparse.Namespace) -> CfgNode:
    """Return the frozen config of the command line, and set up logging.

    Raises:
        ConfigError: a value is wrong, or OUTPUT_DIR holds a model that would be overwritten.
    """
    from detectron2.engine import default_setup
    from detectron2.utils import comm

    from avsf_det.data.checks import check_datasets
    from avsf_det.model_zoo import find_config_file

    from .config_checks import check_clip, check_training
    from .machine import check_shared_memory
    from .output_folder import check_output_folder, check_resumed_batch, evaluation_folder
    from .screen_log import set_up_training_log

    notes: list[str] = []  # logged below, once there is a logger
    processes = comm.get_world_size()
    scaled_to = 0 if args.eval_only else processes
    cfg = load_config(args.config_file, args.opts, num_processes=scaled_to, notes=notes)
    check_clip(cfg)
    check_datasets(cfg.DATASETS.TEST, "DATASETS.TEST", needed=args.eval_only)
    if args.eval_only:
        if cfg.MODEL.META_ARCHITECTURE != "AVPretrainer":
            cfg.MODEL.AVSYNC.ENABLED = False  # a loss, and layers that nothing else needs
        cfg.OUTPUT_DIR = evaluation_folder(cfg, args.opts)
    else:
        check_datasets(cfg.DATASETS.TRAIN, "DATASETS.TRAIN", needed=True)
        check_training(cfg, processes)
        if not (args.resume or args.overwrite):
            check_output_folder(cfg.OUTPUT_DIR)
        if args.resume and comm.is_main_process():  # which writes config.yaml below
            check_resumed_batch(cfg)
        notes += check_shared_memory(cfg, comm.get_local_size())
    cfg.freeze()
    if args.config_file:  # Detectron2 logs the text of the file, and knows no names
        args.config_file = find_config_file(args.config_file)
    logger = set_up_training_log(cfg.OUTPUT_DIR, comm.get_rank(), cfg.SOLVER.MAX_ITER)
    default_setup(cfg, args)
    for note in (*notes, f"All settings and the whole log are in {cfg.OUTPUT_DIR}"):
        logger.info(note)
    return cfg


def train(args: argparse.Namespace) -> dict | None:
    """Train, or with ``--eval-only`` evaluate; return the results of the last evaluation."""
    from detectron2.evaluation import verify_results
    from detectron2.utils import comm

    from avsf_det.checkpoint import AVSFCheckpointer, SafeCheckpointer
    from avsf_det.data.preflight import check_training_data

    from .output_folder import remove_checkpoints, trained_folder
    from .trainer import Trainer

    cfg = setup(args)
    if args.eval_only:
        model = Trainer.build_model(cfg)
        # The checkpointer of the training that made the weights; see Trainer.build_hooks.
        kind = SafeCheckpointer if cfg.INPUT.KIND == "frames" else AVSFCheckpointer
        checkpointer = kind(model, trained_folder(cfg.OUTPUT_DIR), required="model")
        checkpointer.resume_or_load(cfg.MODEL.WEIGHTS, resume=args.resume)
        results = Trainer.test(cfg, model)
        if comm.is_main_process():  # the other processes have no results
            verify_results(cfg, results)
        return results
    check_training_data(cfg)
    trainer = Trainer(cfg)
    trainer.resume_or_load(resume=args.resume)
    if args.overwrite and comm.is_main_process():
        remove_checkpoints(cfg.OUTPUT_DIR)  # now that nothing can be wrong with the new training
    return trainer.train()


def run(args: argparse.Namespace) -> None:
    """Run :func:`train` in ``args.num_gpus`` processes on each machine, or in those given."""
    import torch

    from .config_file import read_options
    from .interruption import handled_signals
    from .launch import launch
    from .ranks import read_ranks

    device = load_config(args.config_file, args.opts, notes=[]).MODEL.DEVICE
    number = args.num_gpus
    # A config for the CPU does not say that several processes share it; the command line does.
    on_cpu = device == "cpu" and (
        read_ranks().size > 1
        or any(setting.key == "MODEL.DEVICE" for setting in read_options(args.opts))
    )
    if number > 1 and not on_cpu and device != "cuda" and torch.cuda.is_available():
        raise ConfigError(
            f"MODEL.DEVICE is {device}; --num-gpus {number} needs MODEL.DEVICE cuda, or, on the "
            f"command line, MODEL.DEVICE cpu for {number} processes on the CPU"
        )
    with handled_signals():
        launch(
            train,
            args,
            num_gpus=number,
            num_machines=args.num_machines,
            machine_rank=args.machine_rank,
            dist_url=args.dist_url,
            on_cpu=on_cpu,
        )


def build_parser() -> ToolParser:
    """Return the parser of the command line."""
    parser = make_parser("Train and evaluate AVSlowFast models.", EXAMPLES)
    add = parser.add_argument
    start = parser.add_mutually_exclusive_group()
    start.add_argument(
        "--resume", action="store_true", help="go on from the last checkpoint in OUTPUT_DIR"
    )
    start.add_argument(
        "--overwrite", action="store_true", help="start again in an OUTPUT_DIR that holds a model"
    )
    add("--eval-only", action="store_true", help="evaluate MODEL.WEIGHTS, without training")
    processes = "processes to start on each machine, one for each GPU (1)"
    add("--num-gpus", type=at_least(0), default=1, metavar="N", help=processes)
    machines = "machines that train together (1)"
    add("--num-machines", type=at_least(1), default=1, metavar="N", help=machines)
    rank = "number of this machine among them, from 0 (0)"
    add("--machine-rank", type=at_least(0), default=0, metavar="I", help=rank)
    add("--dist-url", default="auto", help="tcp://HOST:PORT of machine 0; auto for one machine")
    add_config_arguments(parser)
    return parser


def main(argv: list[str] | None = None) -> int:
    """Return the exit code: 1 after one line on stderr if the input is bad."""
    return run_command(run, build_parser().parse_args(argv))
