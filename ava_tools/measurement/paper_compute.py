"""Compute figures of the paper against those of our configs."""

from typing import Any

import torch
from detectron2.config import CfgNode

from ava_tools.measurement.analysis import (
    NORMS,
    build_without_data,
    count_macs,
    count_params,
    count_pathways,
)
from avsf_det import model_zoo
from avsf_det.engine.defaults import load_config

AVS, OPEN = "with the res5 synchronisation block of training", "the paper leaves its layers open"
# Name, published GFLOPs (Tables 3 to 8, A.1 and A.3), config, note.
PAPER_GFLOPS = (
    ("SlowFast 4x16 R50", 36.1, "Kinetics/slowfast_r50_4x16", ""),
    ("SlowFast 8x8 R50", 65.7, "Kinetics/slowfast_r50_8x8", "from the SlowFast paper"),
    ("SlowFast 8x8 R101", 106, "Kinetics/slowfast_r101_8x8", "cut off instead of rounded?"),
    ("SlowFast 16x8 R101+NL (Charades)", 234, "Charades/slowfast_r101_16x8_nl", ""),
    ("SlowFast 4x16 R50 AVA", 65.7, "AVA/slowfast_r50_4x16", ""),
    ("SlowFast 8x8 R101+NL AVA", 184, "AVA/slowfast_r101_8x8", ""),
    ("SlowFast 4x16 SSL", 34.2, "SSL/slowfast_r50_4x16", ""),
    ("AVSF pool5", 38.4, "Kinetics/ablations/avsf_r50_4x16_pool5", AVS),
    ("AVSF res4+pool5", 39.1, "Kinetics/ablations/avsf_r50_4x16_res4_pool5", AVS),
    ("AVSF res3,4+pool5 (default)", 39.8, "Kinetics/avsf_r50_4x16", AVS),
    ("AVSF res2,3,4+pool5", 40.2, "Kinetics/ablations/avsf_r50_4x16_res2_res3_res4_pool5", AVS),
    ("AVSF beta_A 1/8", 36.0, "Kinetics/ablations/avsf_r50_4x16_beta_1_8", AVS),
    ("AVSF beta_A 1/4", 36.8, "Kinetics/ablations/avsf_r50_4x16_beta_1_4", AVS),
    ("AVSF beta_A 1", 51.9, "Kinetics/ablations/avsf_r50_4x16_beta_1", AVS),
    ("AVSF 8x8 R101", 129, "Kinetics/avsf_r101_8x8", AVS),
    ("AVSF 16x8 R101+NL (Charades)", 278, "Charades/avsf_r101_16x8_nl", AVS),
    ("AVSF 4x16 R50 AVA", 67.1, "AVA/avsf_r50_4x16", ""),
    ("AVSF 8x8 R101+NL AVA", 210, "AVA/avsf_r101_8x8", ""),
    ("AVSF SSL 4x16", 36.2, "SSL/avsf_r50_4x16", ""),
    ("AVSF SSL 8x8", 63.4, "SSL/avsf_r50_8x8", ""),
    ("AVSF SSL 16x4", 117.9, "SSL/avsf_r50_16x4", ""),
    ("A->FS (default)", 39.8, "Kinetics/avsf_r50_4x16", AVS),
    ("A->F->S", 51.4, "Kinetics/ablations/avsf_r50_4x16_a_f_s", f"{AVS}; {OPEN}"),
    ("AV Nonlocal", 39.9, "Kinetics/ablations/avsf_r50_4x16_av_nonlocal", f"{AVS}; {OPEN}"),
    ("Audio-only", 14.2, "Kinetics/audio_r50", "of which model is unknown; not of this pathway"),
)
# Millions of parameters, with a classifier of 400 classes and without norms.
PAPER_PARAMS = (
    ("SlowFast SSL, parameters", 33.0, "SSL/slowfast_r50_4x16", ""),
    ("AVSF SSL, parameters", 38.5, "SSL/avsf_r50_4x16", "by the rule that gives 33.0 it is 39.5"),
)
CLASSIFIER = (
    *("MODEL.META_ARCHITECTURE", "ClipClassifier", "MODEL.AVSYNC.ENABLED", False),
    *("MODEL.CLIP_HEAD.TASKS", ["action"], "MODEL.CLIP_HEAD.NUM_CLASSES", [400]),
)
TOLERANCE = 0.005  # relative


def synchronisation_gflops(head: Any, cfg: CfgNode) -> float:
    """Return the GFLOPs of the laterals after res5, in the AVS head, that feed the AVS loss.

    The paper's Kinetics and Charades figures contain them (39.78 against 39.60); no model for
    inference has them.
    """
    fast, audio = head.f2s.conv.in_channels, head.a2fs.conv1.in_channels
    size, time_steps = cfg.INPUT.MIN_SIZE_TEST // 32, cfg.INPUT.AUDIO.NUM_FRAMES // 8
    with torch.device("meta"):
        visual_map = torch.empty(1, fast, cfg.INPUT.CLIP.NUM_FRAMES, size, size)
        audio_map = torch.empty(1, audio, time_steps, 1)
    macs = count_macs(head.f2s, visual_map)[""] + count_macs(head.a2fs, audio_map)[""]
    return macs / 1e9


def millions_without_norms(cfg: CfgNode) -> float:
    """Return the parameters of a config's model without its norms, in millions."""
    model = build_without_data(cfg)
    norms = (module for module in model.modules() if isinstance(module, NORMS))
    return (count_params(model) - sum(count_params(norm) for norm in norms)) / 1e6


def reproduce_paper() -> list[dict]:
    """Return one row for each compute figure of the paper.

    Returns:
        rows with "name", "published", "ours", "unit" ("GFLOPs" or "M parameters"), "config",
        "note", and "status": "reproduced" within 0.5 %, or "not reproduced".
    """
    rows = []
    for name, published, config, note in PAPER_GFLOPS:
        cfg = load_config(model_zoo.get_config_file(f"{config}.yaml"))
        has_head = note.startswith(AVS)
        if has_head:
            cfg.merge_from_list(["MODEL.AVSYNC.ENABLED", True, "MODEL.AVSYNC.RES5_LATERALS", True])
        model = build_without_data(cfg)
        head_gflops = synchronisation_gflops(model.avsync_head, cfg) if has_head else 0.0
        ours = count_pathways(model, cfg)["gflops"] + head_gflops
        rows.append((name, published, ours, "GFLOPs", config, note))
    for name, published, config, note in PAPER_PARAMS:
        cfg = load_config(model_zoo.get_config_file(f"{config}.yaml"), CLASSIFIER)
        ours = millions_without_norms(cfg)
        rows.append((name, published, ours, "M parameters", config, note))
    return [
        {
            "name": name,
            "published": published,
            "ours": round(ours, 4),
            "unit": unit,
            "config": f"configs/{config}.yaml",
            "status": "reproduced" if abs(ours / published - 1) <= TOLERANCE else "not reproduced",
            "note": note,
        }
        for name, published, ours, unit, config, note in rows
    ]
