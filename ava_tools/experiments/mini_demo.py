"""The Mini-AVA demo: train SlowFast and AVSlowFast on a generated dataset and evaluate them."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from ava_tools.experiments.mini_demo_results import (
    draw_chart,
    format_table,
    summarize,
)
from ava_tools.experiments.mini_demo_video import draw_video
from ava_tools.experiments.training_runs import TrainingRunError, read_metrics
from avsf_det.utils.atomic import atomic_path, write_atomic


class Run(NamedTuple):
    """One training run; with options, one evaluation.

    Attributes:
        title: name for people.
        config: name of the yaml file in configs/mini.
        start: name of the run whose final weights it takes; "" for random weights.
        options: config options KEY, VALUE, ... of the evaluation.
    """

    title: str
    config: str
    start: str = ""
    options: tuple[str, ...] = ()


RUNS = {  # by name in summary.json
    "slowfast": Run("SlowFast", "slowfast_mini"),
    "avsf": Run("AVSlowFast", "avsf_mini"),
    "graft": Run("audio on SlowFast", "avsf_mini_grafted", "slowfast"),
    "avsf_mute": Run("AVSlowFast, muted", "avsf_mini", "avsf", ("TEST.AUDIO_MODE", "mute")),
    "avsf_swap": Run("AVSlowFast, audio swapped", "avsf_mini", "avsf", ("TEST.AUDIO_MODE", "swap")),
}


def run_mini_demo(
    output: Path, num_videos: int = 4, options: Sequence[str] = ()
) -> dict[str, dict[str, float]]:
    """Run the whole demo from the repository root; finished steps are skipped.

    Args:
        output: folder of all results.
        num_videos: number of validation videos to draw.
        options: config options KEY, VALUE, ... of all training runs and evaluations.

    Returns:
        content of ``summary.json``: run -> "mAP", "AP_sound" (mean over the actions that only audio
        distinguishes) and "AP_rest", fractions 0..1.

    Raises:
        TrainingRunError: a step fails.
    """
    started = time.monotonic()
    generator = subprocess.run([sys.executable, "ava_tools/make_mini_dataset.py"], check=False)
    if generator.returncode != 0:
        raise TrainingRunError("make_mini_dataset.py failed; run the demo again to continue")
    _run_in_parallel(output, ["slowfast", "avsf"], options)
    _run_in_parallel(output, ["graft", "avsf_mute", "avsf_swap"], options)
    titles = {name: run.title for name, run in RUNS.items()}
    ap = {
        name: json.loads(_results_file(output, name).read_text(encoding="utf-8"))[
            "per_class_by_name"
        ]
        for name in RUNS
    }
    summary = {name: summarize(by_action) for name, by_action in ap.items()}
    write_atomic(output / "summary.json", json.dumps(summary, indent=1) + "\n")
    with atomic_path(output / "per_class_ap.png") as path:
        draw_chart(ap, titles, path)
    video = output / "actions.mp4"
    if not video.exists():
        with atomic_path(video) as path:
            draw_video(output / "avsf", path, num_videos)
    print("\n" + format_table(ap, titles))
    print(
        f"\nDone in {time.monotonic() - started:.0f} s, on a small generated dataset. Look at\n"
        f"  {output / 'per_class_ap.png'}\n"
        f"  {output / 'actions.mp4'} (annotation, model, muted model; with audio)\n"
        f"  {output / 'summary.json'}\n"
        "Next, on real AVA (README.md says which files go where):\n"
        "  .venv/bin/python train_net.py --config-file configs/AVA/avsf_r101_8x8.yaml"
    )
    return summary


def _results_file(output: Path, name: str) -> Path:
    return output / name / "inference" / "ava_results.json"


def _run_in_parallel(output: Path, names: list[str], options: Sequence[str]) -> None:
    """Run the unfinished ones of some runs at the same time, and print their progress."""
    done = [name for name in names if _results_file(output, name).exists()]
    for name in done:
        print(f"{RUNS[name].title}: done before (delete {output / name} to do it again)")
    names = [name for name in names if name not in done]
    processes = {name: _start(output, name, options, len(names)) for name in names}
    printed: dict[str, str] = {}
    while any(process.poll() is None for process in processes.values()):
        time.sleep(1)
        for name, process in processes.items():
            if process.poll():
                for other in processes.values():
                    other.terminate()
                raise TrainingRunError(f"{RUNS[name].title} failed; see {output / name}.log")
            progress = _progress(output, name)
            if progress != printed.get(name):
                printed[name] = progress
                print(f"{RUNS[name].title}: {progress}", flush=True)


def _start(output: Path, name: str, options: Sequence[str], num_runs: int) -> subprocess.Popen:
    """Start one run on its part of the cores; its output goes to a log file."""
    run = RUNS[name]
    command = [sys.executable, "train_net.py", "--config-file", f"configs/mini/{run.config}.yaml"]
    command += ["--eval-only" if run.options else "--resume", *options, *run.options]
    if run.start:
        command += ["MODEL.WEIGHTS", str(output / run.start / "model_final.pth")]
    command += ["OUTPUT_DIR", str(output / name)]
    threads = max(1, (os.cpu_count() or 1) // num_runs)
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
    output.mkdir(parents=True, exist_ok=True)
    with open(output / f"{name}.log", "a", encoding="utf-8") as log:
        return subprocess.Popen(command, env=environment, stdout=log, stderr=subprocess.STDOUT)


def _progress(output: Path, name: str) -> str:
    """Describe how far a run is."""
    metrics = {} if RUNS[name].options else read_metrics(output / name)
    if "eta_seconds" not in metrics:
        return "started"
    if metrics["eta_seconds"] < 1:
        return "evaluation"
    eta = time.strftime("%M:%S", time.gmtime(metrics["eta_seconds"]))
    return f"iteration {metrics['iteration'] + 1}, loss {metrics['total_loss']:.3f}, ETA {eta}"
