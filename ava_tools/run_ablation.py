#!/usr/bin/env python
"""Train variants of a config over several seeds, score them and compare them in a table.

Writes table.md and table.json to OUTPUT/ABLATION. A run that was broken off is continued, a
finished one is not done again.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from statistics import fmean, stdev
from typing import NamedTuple

from detectron2.config import get_cfg
from tabulate import tabulate

from avsf_det import add_avsf_config
from avsf_det.evaluation import ClipScores, fuse_scores, read_scores, score_clips, select_classes

TRAIN_NET = Path(__file__).resolve().parents[1] / "train_net.py"
EXAMPLE = """example (in Mini-Kinetics only sound tells sing from talk and hit from push):
  python ava_tools/run_ablation.py fusion --seeds 1 2 3 --classes sing talk hit push"""


class Ablation(NamedTuple):
    """Variants of a config, by their names in the table."""

    trained: dict[str, tuple[str, ...]]  # its config options
    fused: dict[str, tuple[str, ...]] = {}  # the trained variants whose scores are averaged


ABLATIONS = {  # of a config of AVSlowFast
    "drop_pathway": Ablation(  # the paper's Table 5c
        {f"drop_{p}": ("MODEL.AUDIO.DROP_PATHWAY", p) for p in ("0.8", "0.5", "0.0")}
    ),
    "fusion": Ablation(  # "late" is the row "SlowFast+Audio" of Table 6
        {
            "hierarchical": (),
            "pool5": ("MODEL.AUDIO.FUSION_STAGES", "['pool5']"),
            "slowfast": (
                *("MODEL.BACKBONE.NAME", "build_slowfast_backbone"),
                *("MODEL.SLOWFAST.FUSION_STAGES", "['pool1', 'res2', 'res3', 'res4']"),
            ),
            "audio": ("MODEL.BACKBONE.NAME", "build_audio_backbone"),
        },
        fused={"late": ("slowfast", "audio")},
    ),
}


class Run(NamedTuple):
    """One training and its evaluation; the arguments are train_net.py's besides the folder."""

    folder: Path
    arguments: list[str]

    def is_finished(self) -> bool:
        """Whether it was evaluated to its end; the folder of another run is an error."""
        path = self.folder / "ablation.json"
        record = json.loads(path.read_text()) if path.exists() else {"finished": False}
        if record.get("arguments", self.arguments) != self.arguments:
            raise SystemExit(
                f"{self.folder} is of a run of train_net.py {' '.join(record['arguments'])}\n"
                f"not {' '.join(self.arguments)}\nDelete it or give another --output."
            )
        return record["finished"]

    def write_record(self, finished: bool) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        record = {"arguments": self.arguments, "finished": finished}
        (self.folder / "ablation.json").write_text(json.dumps(record) + "\n")

    def last_metrics(self) -> dict:
        """What Detectron2 wrote last of the training, {} before; it does every 20 iterations."""
        path = self.folder / "metrics.json"
        lines = path.read_text().splitlines() if path.exists() else []
        rows = [json.loads(line) for line in lines if line.endswith("}")]
        return next((row for row in reversed(rows) if "eta_seconds" in row), {})


def train(run: Run, num_threads: int) -> None:
    """Start a run or go on with it, and wait; what it prints goes to a log file beside it."""
    run.write_record(finished=False)
    command = [sys.executable, TRAIN_NET, *run.arguments, "OUTPUT_DIR", run.folder]
    environment = {**os.environ, "OMP_NUM_THREADS": str(num_threads)}
    with open(f"{run.folder}.log", "a") as log:
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=subprocess.STDOUT)
    said = {}
    while process.poll() is None:
        time.sleep(1)
        if (row := run.last_metrics()) != said:
            said = row
            report = f"iteration {row['iteration'] + 1}, loss {row['total_loss']:.3f}"
            print(f"{run.folder.name}: {report}, ETA {row['eta_seconds']:.0f} s", flush=True)
    if process.returncode:
        raise SystemExit(f"{run.folder.name} failed; see {run.folder}.log")
    run.write_record(finished=True)


def train_all(runs: Sequence[Run], jobs: int) -> None:
    """Do those that are not finished, ``jobs`` at a time."""
    todo = [run for run in runs if not run.is_finished()]
    print(f"{len(runs)} runs, {len(runs) - len(todo)} of them done before", flush=True)
    begin = time.monotonic()
    with ThreadPoolExecutor(jobs) as pool:
        results = pool.map(partial(train, num_threads=max(1, os.cpu_count() // jobs)), todo)
        for done, _ in enumerate(results, 1):
            left = len(todo) - done
            minutes = (time.monotonic() - begin) / done * left / 60
            print(f"{todo[done - 1].folder.name}: done; {left} left, {minutes:.0f} min", flush=True)


def measure(scores: ClipScores, classes: Sequence[str]) -> dict[str, float]:
    """Percent of each task, top-1 or mAP: of all clips and of those of some classes."""
    parts = {"all clips": scores}
    if classes:
        parts[f"clips of {', '.join(classes)}"] = select_classes(scores, classes)
    figures = {}
    for part, chosen in parts.items():
        for task, result in score_clips(chosen).items():
            metric, percent = next(iter(result.metrics.items()))
            figures[f"{task} {metric}, {part}"] = percent
    return figures


def run_ablation(args: argparse.Namespace) -> dict:
    """Everything; returns what ``table.json`` holds."""
    cfg = get_cfg()
    add_avsf_config(cfg)
    cfg.merge_from_file(args.config_file)
    cfg.merge_from_list(args.opts)
    (dataset,) = cfg.DATASETS.TEST
    trained, fused = ABLATIONS[args.ablation]
    output = args.output / args.ablation
    common = ["--resume", "--config-file", args.config_file, *args.opts]
    runs = {
        (variant, seed): Run(
            output / f"{variant}_seed{seed}", [*common, *options, "SEED", str(seed)]
        )
        for seed in args.seeds
        for variant, options in trained.items()
    }
    train_all([*runs.values()], args.jobs)
    scores = {
        key: read_scores(str(run.folder / "inference" / "scores.npz")) for key, run in runs.items()
    }
    for variant, parts in fused.items():
        for seed in args.seeds:
            scores[variant, seed] = fuse_scores([scores[part, seed] for part in parts])
    figures = {key: measure(value, args.classes) for key, value in scores.items()}
    what = {variant: " ".join(options) or "the config as it is" for variant, options in trained.items()}
    what |= {variant: f"mean of the scores of {' and '.join(parts)}" for variant, parts in fused.items()}
    iterations = {run.last_metrics()["iteration"] + 1 for run in runs.values()}
    return {
        "ablation": args.ablation,
        "config": args.config_file,
        "options": args.opts,
        "dataset": dataset,
        "generated_data": "mini" in dataset.split("_"),
        "iterations": sorted(iterations),
        "seeds": args.seeds,
        "variants": what,
        "percent": {
            m: {v: summarize({s: figures[v, s][m] for s in args.seeds}) for v in what}
            for m in next(iter(figures.values()))
        },
    }
