#!/usr/bin/env python
"""Train variants of a config over several seeds, score them and compare them in a table.

Writes table.md and table.json to OUTPUT/ABLATION. A broken-off run goes on; a finished one is kept.
"""

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean, stdev

from detectron2.config import get_cfg
from tabulate import tabulate

from avsf_det import add_avsf_config
from avsf_det.evaluation import ClipScores, fuse_scores, read_scores, score_clips, select_classes

TRAIN_NET = Path(__file__).resolve().parents[1] / "train_net.py"
EXAMPLE = """example: python ava_tools/run_ablation.py fusion --classes sing talk hit push
(classes that in Mini-Kinetics only sound tells apart)"""

Variants = dict[str, tuple[str, ...]]
# Variants of an AVSlowFast config: trained ones -> config options; fused ones -> trained ones.
ABLATIONS: dict[str, tuple[Variants, Variants]] = {
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
            "audio": ("MODEL.BACKBONE.NAME", "build_audio_backbone"),
        },
        {"late": ("slowfast", "audio")},
    ),
}


def train(folder: Path, arguments: list[str]) -> None:
    """Run train_net.py into the folder, unless that is done; what it prints goes to a log file."""
    path, new = folder / "ablation.json", {"arguments": arguments, "finished": False}
    record = json.loads(path.read_text()) if path.exists() else new
    if record["arguments"] != arguments:
        raise SystemExit(f"{path} has other arguments: give another --output or delete {folder}")
    if record["finished"] and (folder / "inference" / "scores.npz").exists():
        return
    folder.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(new))
    command = [sys.executable, TRAIN_NET, "--resume", *arguments, "OUTPUT_DIR", folder]
    with open(f"{folder}.log", "a") as log:
        process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)
    said: dict = {}
    while process.poll() is None:
        time.sleep(1)
        if (row := last_metrics(folder)) != said:
            said = row
            progress = f"iteration {row['iteration'] + 1}, loss {row['total_loss']:.3f}"
            print(f"{folder.name}: {progress}, ETA {row.get('eta_seconds', 0):.0f} s", flush=True)
    if process.returncode:
        raise SystemExit(f"{folder.name} failed; see {folder}.log")
    path.write_text(json.dumps({**new, "finished": True}))


def last_metrics(folder: Path) -> dict:
    """What Detectron2 wrote last of the training, {} before; it does every 20 iterations."""
    path = folder / "metrics.json"
    lines = path.read_text().splitlines() if path.exists() else []
    rows = [json.loads(line) for line in lines if line.endswith("}")]
    return next((row for row in reversed(rows) if "total_loss" in row), {})


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
            train(folder, [*common, *options, "SEED", str(seed)])
            scores[variant] = read_scores(str(folder / "inference" / "scores.npz"))
            iterations.add(last_metrics(folder)["iteration"] + 1)
        for variant, parts in fused.items():
            scores[variant] = fuse_scores([scores[part] for part in parts])
        for variant, clips in scores.items():
            for name, percent in measure(clips, args.classes).items():
                figures.setdefault((name, variant), {})[f"seed {seed}"] = percent
    return {
        "ablation": args.ablation,
        "dataset": dataset + " (generated data)" * ("mini" in dataset.split("_")),
        "run": "train_net.py " + " ".join(common),
        "iterations": sorted(iterations),
        "variants": {name: " ".join(options) for name, options in trained.items()}
        | {name: f"mean scores of {', '.join(parts)}" for name, parts in fused.items()},
        "rows": [make_row(*key, figures[key]) for key in sorted(figures, key=lambda key: key[0])],
    }


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
