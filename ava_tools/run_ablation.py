#!/usr/bin/env python
"""Train variants of a config over several seeds, score them and compare them in a table.

Writes table.md and table.json to OUTPUT/ABLATION. A broken-off run goes on; a finished one is kept.
"""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean, stdev

from detectron2.config import get_cfg
from tabulate import tabulate

from avsf_det import add_avsf_config
from avsf_det.evaluation import ClipScores, fuse_scores, read_scores, score_clips, select_classes
from avsf_det.utils.training_runs import read_metrics, train

# What an AVPretrainer is compared by (avsf_det.evaluation.SyncEvaluator).
SELF_SUPERVISED = ("sync/all_easy", "sync/all_hard", "rotation/accuracy")
TRAIN_NET = Path(__file__).resolve().parents[1] / "train_net.py"
EXAMPLE = """example: python ava_tools/run_ablation.py fusion --classes sing talk hit push
(classes that in Mini-Kinetics only sound tells apart)"""

Variants = dict[str, tuple[str, ...]]
# Variants of an AVSlowFast config: trained ones -> config options; fused ones -> trained ones.
ABLATIONS: dict[str, tuple[Variants, Variants]] = {
    "avs": (  # AVS next to the loss of a classifier, as in Table 5d
        {
            f"avs_{on}": ("MODEL.AVSYNC.ENABLED", on, "INPUT.AUDIO.NEGATIVES", on)
            for on in ("True", "False")
        },
        {},
    ),
    "curriculum": (  # of an AVPretrainer: easy negatives first, or the final mix from the start
        {"easy_first": (), "mixed": ("MODEL.AVSYNC.HARD_AFTER", "0.0")},
        {},
    ),
    "drop_pathway": (  # the paper's Table 5c
        {f"drop_{p}": ("MODEL.AUDIO.DROP_PATHWAY", p) for p in ("0.8", "0.5", "0.0")},
        {},
    ),
    "fusion": (  # "late" is the row "SlowFast+Audio" of Table 6
        {
            "hierarchical": (),
            "pool5": ("MODEL.AUDIO.FUSION_STAGES", "['pool5']"),
            "slowfast": (
                *("MODEL.BACKBONE.NAME", "build_slowfast_backbone"),
                *("MODEL.SLOWFAST.FUSION_STAGES", "['pool1', 'res2', 'res3', 'res4']"),
            ),
            "audio": ("MODEL.BACKBONE.NAME", "build_audio_backbone", "INPUT.FRAMES", "False"),
        },
        {"late": ("slowfast", "audio")},
    ),
}


def measure(scores: ClipScores, classes: Sequence[str]) -> dict[str, float]:
    """Percent of each task, top-1 or mAP: of all clips and of those of some classes."""
    parts = {"all clips": scores}
    if classes:
        parts[f"clips of {', '.join(classes)}"] = select_classes(scores, classes)
    return {
        f"{task} {metric}, {part}": result.metrics[metric]
        for part, chosen in parts.items()
        for task, result in score_clips(chosen).items()
        for metric in [*result.metrics][:1]
    }


def run_ablation(args: argparse.Namespace) -> dict:
    """Everything, by the command line; returns what ``table.json`` holds."""
    cfg = get_cfg()
    add_avsf_config(cfg)
    cfg.merge_from_file(args.config_file)
    cfg.merge_from_list(args.opts)
    (dataset,) = cfg.DATASETS.TEST
    trained, fused = ABLATIONS[args.ablation]
    common = ["--config-file", args.config_file, *args.opts]
    iterations, figures = set(), {}  # (measure, variant) -> seed -> percent
    for i, seed in enumerate(args.seeds, 1):
        scores = {}
        for variant, options in trained.items():
            print(f"Seed {seed} ({i} of {len(args.seeds)}), {variant}", flush=True)
            folder = args.output / args.ablation / f"{variant}_seed{seed}"
            train(TRAIN_NET, folder, [*common, *options, "SEED", str(seed)])
            metrics = read_metrics(folder)
            iterations.add(metrics["iteration"] + 1)
            if cfg.MODEL.META_ARCHITECTURE == "AVPretrainer":
                found = {name: metrics[name] for name in metrics if name in SELF_SUPERVISED}
            else:
                scores[variant] = read_scores(str(folder / "inference" / "scores.npz"))
                found = measure(scores[variant], args.classes)
            record(figures, variant, seed, found)
        for variant, parts in fused.items():
            scores[variant] = fuse_scores([scores[part] for part in parts])
            record(figures, variant, seed, measure(scores[variant], args.classes))
    return {
        "ablation": args.ablation,
        "dataset": dataset + " (generated data)" * ("mini" in dataset.split("_")),
        "run": "train_net.py " + " ".join(common),
        "iterations": sorted(iterations),
        "variants": {name: " ".join(options) for name, options in trained.items()}
        | {name: f"mean scores of {', '.join(parts)}" for name, parts in fused.items()},
        "rows": [make_row(*key, figures[key]) for key in sorted(figures, key=lambda key: key[0])],
    }


def record(figures: dict, variant: str, seed: int, found: dict[str, float]) -> None:
    for name, percent in found.items():
        figures.setdefault((name, variant), {})[f"seed {seed}"] = percent


def make_row(name: str, variant: str, by_seed: dict[str, float]) -> dict:
    values = [*by_seed.values()]
    spread = stdev(values) if len(values) > 1 else None
    return {"percent": name, "variant": variant, "mean": fmean(values), "spread": spread, **by_seed}


def format_table(result: dict) -> str:
    what = "\n".join(f"- {v}: {what or 'no change'}" for v, what in result["variants"].items())
    return (
        f"{result['ablation']} on {result['dataset']}, {result['iterations']} iterations of "
        f"`{result['run']}`. Spread: standard deviation over the seeds.\n\n"
        f"{tabulate(result['rows'], headers='keys', tablefmt='pipe', floatfmt='.2f')}\n\n{what}\n"
    )


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, epilog=EXAMPLE)
    parser.add_argument("ablation", choices=ABLATIONS)
    parser.add_argument("--config-file", default="configs/mini/avsf_kinetics_mini.yaml")
    parser.add_argument("--seeds", nargs="+", type=int, default=[1, 2, 3])
    parser.add_argument("--classes", nargs="+", default=[], help="also score their clips alone")
    parser.add_argument("--output", type=Path, default=Path("output/ablation"))
    parser.add_argument("--opts", nargs=argparse.REMAINDER, default=[], help="KEY VALUE ...")
    args = parser.parse_args(argv)
    result = run_ablation(args)
    table, folder = format_table(result), args.output / args.ablation
    (folder / "table.json").write_text(json.dumps(result, indent=1) + "\n")
    (folder / "table.md").write_text(table)
    print("\n" + table, end="")


if __name__ == "__main__":
    main()
