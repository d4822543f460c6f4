#!/usr/bin/env python
"""Train and evaluate AVSlowFast models.

Example:
    python train_net.py --config-file configs/AVA/avsf_r101_8x8.yaml --num-gpus 8 \\
        MODEL.WEIGHTS kinetics.pyth
    python train_net.py --config-file configs/AVA/avsf_r101_8x8.yaml --eval-only \\
        MODEL.WEIGHTS output/AVA/avsf_r101_8x8/model_final.pth
"""

import torch
from detectron2.config import CfgNode, get_cfg
from detectron2.engine import default_argument_parser, default_setup, launch
from detectron2.evaluation import verify_results
from detectron2.utils import comm
from detectron2.utils.logger import setup_logger

from avsf_det import add_avsf_config
from avsf_det.checkpoint import AVSFCheckpointer
from avsf_det.engine import Trainer


def setup(args) -> CfgNode:
    """The frozen config of the command line, with logging set up."""
    cfg = get_cfg()
    add_avsf_config(cfg)
    cfg.merge_from_file(args.config_file)
    cfg.merge_from_list(args.opts)
    notes = []
    if cfg.MODEL.DEVICE == "cuda" and not torch.cuda.is_available():
        cfg.MODEL.DEVICE = "cpu"
        notes.append("No CUDA device here: MODEL.DEVICE is cpu")
    if args.eval_only and cfg.MODEL.META_ARCHITECTURE != "AVPretrainer":
        cfg.MODEL.AVSYNC.ENABLED = False  # a loss, and layers that nothing else needs
    if "SOLVER.IMS_PER_BATCH" in args.opts and "SOLVER.REFERENCE_WORLD_SIZE" not in args.opts:
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


def main(args) -> dict:
    """Train, or with --eval-only evaluate; returns the results of the last evaluation."""
    cfg = setup(args)
    if args.eval_only:
        model = Trainer.build_model(cfg)
        AVSFCheckpointer(
            model, cfg.OUTPUT_DIR, min_matched=cfg.MODEL.WEIGHTS_MIN_MATCHED
        ).resume_or_load(cfg.MODEL.WEIGHTS, resume=args.resume)
        results = Trainer.test(cfg, model)
        if comm.is_main_process():
            verify_results(cfg, results)
        return results
    trainer = Trainer(cfg)
    trainer.resume_or_load(resume=args.resume)
    return trainer.train()


if __name__ == "__main__":
    args = default_argument_parser(epilog=__doc__).parse_args()
    launch(
        main,
        args.num_gpus,
        num_machines=args.num_machines,
        machine_rank=args.machine_rank,
        dist_url=args.dist_url,
        args=(args,),
    )
