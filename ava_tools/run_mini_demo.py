#!/usr/bin/env python
"""Train SlowFast and AVSlowFast on Mini-AVA, a generated data set, and compare them.

Writes summary.json, per_class_ap.png and actions.mp4 (with its sound) to the output folder. A run
that was broken off is continued; a finished step is not done again.

Example: python ava_tools/run_mini_demo.py --output output/demo
"""

import argparse
import csv
import json
import os
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import matplotlib
import numpy as np
import torch
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.structures import Boxes, Instances
from matplotlib import pyplot as plt
from tabulate import tabulate

import avsf_det  # noqa: F401  (registers the data sets)
from avsf_det.data import VideoReader
from avsf_det.data.audio import LogMel
from avsf_det.data.mini.script import SOUND_PAIRS
from avsf_det.data.video.write import write_video
from avsf_det.utils.visualizer import draw_clip_frame

ROOT = Path(__file__).resolve().parents[1]
DATASET = "ava_mini_val"
FPS = 30  # of the drawn video
SAMPLE_RATE = 44100  # Hz


class Run(NamedTuple):
    """One training (if it has no options) or evaluation."""

    title: str
    config: str
    options: tuple[str, ...] = ()


RUNS = {  # by the name in the summary
    "slowfast": Run("SlowFast", "slowfast_mini"),
    "avsf": Run("AVSlowFast", "avsf_mini"),
    "avsf_mute": Run("AVSlowFast, muted", "avsf_mini", ("TEST.AUDIO_MODE", "mute")),
    "avsf_swap": Run("AVSlowFast, sound swapped", "avsf_mini", ("TEST.AUDIO_MODE", "swap")),
}


def run_mini_demo(output: Path, num_movies: int = 4, options: tuple[str, ...] = ()) -> dict:
    """The whole demo.

    Args:
        output: folder of all results.
        num_movies: how many movies of the validation set are drawn.
        options: config options (KEY VALUE ...) of all trainings and evaluations.

    Returns:
        {run: {"mAP", "AP_sound", "AP_rest"}}, fractions; AP_sound is the mean over the actions
        that only sound tells apart. The same as ``summary.json``.
    """
    started = time.monotonic()
    generator = subprocess.run([sys.executable, "ava_tools/make_mini_dataset.py"], check=False)
    if generator.returncode != 0:
        raise SystemExit("make_mini_dataset.py failed; run the demo again to go on.")
    run_side_by_side(output, ["slowfast", "avsf"], options)
    run_side_by_side(output, ["avsf_mute", "avsf_swap"], options)
    results = {name: json.loads(results_of(output, name).read_text()) for name in RUNS}
    summary = {name: summarize(result["per_class_by_name"]) for name, result in results.items()}
    (output / "summary.json").write_text(json.dumps(summary, indent=1) + "\n")
    draw_chart(results, output / "per_class_ap.png")
    movie, part = output / "actions.mp4", output / ".actions.mp4"
    if not movie.exists():
        draw_movies(output / "avsf", part, num_movies)
        part.replace(movie)
    write_table(results)
    print(
        f"\nDone in {time.monotonic() - started:.0f} s, on a small generated data set. Look at\n"
        f"  {output / 'per_class_ap.png'}\n"
        f"  {output / 'actions.mp4'} (it has sound)\n"
        f"  {output / 'summary.json'}\n"
        "Next, on real AVA (README.md says which files go where):\n"
        "  .venv/bin/python train_net.py --config-file configs/AVA/avsf_r101_8x8.yaml"
    )
    return summary


def results_of(output: Path, name: str) -> Path:
    return output / name / "inference" / "ava_results.json"


def run_side_by_side(output: Path, names: list[str], options: tuple[str, ...]) -> None:
    """Run those of the runs that are not done at the same time, and say how far they are."""
    done = [name for name in names if results_of(output, name).exists()]
    for name in done:
        print(f"{RUNS[name].title}: done before (delete {output / name} to do it again)")
    names = [name for name in names if name not in done]
    jobs = {name: start(output, name, options, len(names)) for name in names}
    said = {}
    while any(job.poll() is None for job in jobs.values()):
        time.sleep(1)
        for name, job in jobs.items():
            if job.poll():
                for other in jobs.values():
                    other.terminate()
                raise SystemExit(f"{RUNS[name].title} failed; see {output / name}.log")
            progress = progress_of(output, name)
            if progress != said.get(name):
                said[name] = progress
                print(f"{RUNS[name].title}: {progress}", flush=True)


def start(output: Path, name: str, options: tuple[str, ...], num_jobs: int) -> subprocess.Popen:
    """Start one run with its share of the cores; what it prints goes to a log file."""
    run = RUNS[name]
    command = [sys.executable, "train_net.py", "--config-file", f"configs/mini/{run.config}.yaml"]
    if run.options:
        weights = ("MODEL.WEIGHTS", str(output / "avsf" / "model_final.pth"))
        command += ["--eval-only", *options, *run.options, *weights]
    else:
        command += ["--resume", *options]
    command += ["OUTPUT_DIR", str(output / name)]
    threads = max(1, (os.cpu_count() or 1) // num_jobs)
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
    output.mkdir(parents=True, exist_ok=True)
    log = open(output / f"{name}.log", "a")  # the process keeps it open
    return subprocess.Popen(command, env=environment, stdout=log, stderr=subprocess.STDOUT)


def progress_of(output: Path, name: str) -> str:
    """How far a run is, from what Detectron2 writes every 20 iterations."""
    metrics = output / name / "metrics.json"
    if RUNS[name].options or not metrics.exists():
        return "started"
    rows = [json.loads(line) for line in metrics.read_text().splitlines() if line.endswith("}")]
    rows = [row for row in rows if "eta_seconds" in row]
    if not rows:
        return "started"
    last = rows[-1]
    if last["eta_seconds"] < 1:
        return "evaluation"
    eta = time.strftime("%M:%S", time.gmtime(last["eta_seconds"]))
    return f"iteration {last['iteration'] + 1}, loss {last['total_loss']:.3f}, ETA {eta}"


def summarize(ap: dict[str, float]) -> dict[str, float]:
    sound = {action for pair in SOUND_PAIRS for action in pair}
    return {
        "mAP": float(np.mean(list(ap.values()))),
        "AP_sound": float(np.mean([ap[action] for action in sorted(sound)])),
        "AP_rest": float(np.mean([ap[action] for action in ap if action not in sound])),
    }


def write_table(results: dict[str, dict]) -> None:
    ap = {name: result["per_class_by_name"] for name, result in results.items()}
    by_sound = {action for pair in SOUND_PAIRS for action in pair}
    rows = [
        [f"{action} (sound only)" if action in by_sound else action, *(ap[n][action] for n in ap)]
        for action in ap["avsf"]
    ]
    for key in ("AP_sound", "AP_rest", "mAP"):
        rows.append([key, *(summarize(ap[n])[key] for n in ap)])
    headers = ["AP on Mini-AVA val (generated)", *(RUNS[name].title for name in ap)]
    print("\n" + tabulate(rows, headers, tablefmt="pipe", floatfmt=".3f"))


def draw_chart(results: dict[str, dict], path: Path) -> None:
    """AP per class and run as bars, like the paper's Figure A.1."""
    matplotlib.use("Agg")
    shown = ("slowfast", "avsf", "avsf_mute")
    actions = list(results["avsf"]["per_class_by_name"])
    figure, axes = plt.subplots(figsize=(10, 4.5), layout="constrained")
    for i, (name, color) in enumerate(zip(shown, ("#8899aa", "#d1495b", "#edae49"), strict=True)):
        ap = [results[name]["per_class_by_name"][action] for action in actions]
        x = np.arange(len(actions)) + 0.27 * (i - 1)
        axes.bar(x, ap, 0.26, label=RUNS[name].title, color=color)
    pairs = [" / ".join(pair) for pair in SOUND_PAIRS]
    axes.set(ylim=(0, 1), ylabel="AP at IoU 0.5", xticks=range(len(actions)))
    axes.set_xticklabels(actions)
    axes.set_title(f"Mini-AVA val (generated). Only sound tells {', '.join(pairs)} apart.")
    axes.grid(axis="y", alpha=0.3)
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.07), ncols=len(shown), frameon=False)
    figure.savefig(path, dpi=130)
    plt.close(figure)


def read_predictions(path: Path, num_classes: int) -> dict[tuple[str, float], np.ndarray]:
    """(video id, second) to an array (N, 4 + K): boxes in 0..1 and action scores."""
    found = defaultdict(lambda: defaultdict(lambda: np.zeros(num_classes)))
    with open(path, newline="") as file:
        for video_id, second, *box, action, score in csv.reader(file):
            found[video_id, float(second)][tuple(map(float, box))][int(action) - 1] = float(score)
    return {
        keyframe: np.array([[*box, *scores] for box, scores in boxes.items()])
        for keyframe, boxes in found.items()
    }


def draw_movies(run_dir: Path, path: Path, num_movies: int) -> None:
    """The first validation movies with what the model says at the nearest keyframe."""
    dataset = DatasetCatalog.get(DATASET)
    names = MetadataCatalog.get(DATASET).action_classes
    files = dict.fromkeys((d["video_id"], d["file_name"]) for d in dataset)
    predictions = read_predictions(run_dir / "inference" / "ava_predictions.csv", len(names))
    movies = list(files)[:num_movies]
    sounds = []
    for _, file_name in movies:
        with VideoReader(file_name) as reader:
            sounds.append(
                reader.get_samples_played_in_range(0, whole_frames(reader) / FPS, SAMPLE_RATE)
            )
    frames = (frame for movie in movies for frame in drawn_frames(*movie, predictions, names))
    write_video(path, frames, FPS, torch.cat(sounds).numpy()[None], SAMPLE_RATE)


def whole_frames(reader: VideoReader) -> int:
    return int(reader.duration * FPS)


def drawn_frames(
    video_id: str,
    file_name: str,
    predictions: dict[tuple[str, float], np.ndarray],
    names: list[str],
) -> Iterator[np.ndarray]:
    """(H, W, 3) uint8 RGB, one for each 1 / FPS of the movie."""
    with VideoReader(file_name) as reader:
        length = whole_frames(reader)
        seconds = np.arange(length) / FPS
        frames = reader.get_frames_played_at(seconds.tolist())
        sound = reader.get_samples_played_in_range(0, length / FPS, 16000)
    logmel = LogMel(sample_rate=16000, window_sec=0.032, hop_sec=0.016, num_mels=80)(sound)
    height, width = frames.shape[1:3]
    for frame, second in zip(frames, seconds, strict=True):
        found = predictions.get((video_id, float(round(second))))
        instances = None
        if found is not None:
            boxes = torch.tensor(found[:, :4]) * torch.tensor([width, height, width, height])
            instances = Instances((height, width), pred_boxes=Boxes(boxes.float()))
            instances.action_scores = torch.tensor(found[:, 4:])
        yield draw_clip_frame(
            frame, instances, names, logmel, playhead=second * FPS / length, min_score=0.4
        )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--output", type=Path, default=Path("output/demo"))
    parser.add_argument("--num-movies", type=int, default=4, help="movies to draw")
    parser.add_argument("opts", nargs=argparse.REMAINDER, help="config options, KEY VALUE ...")
    args = parser.parse_args()
    os.chdir(ROOT)
    run_mini_demo(args.output, args.num_movies, tuple(args.opts))


if __name__ == "__main__":
    main()
