"""Time and memory of AVA scoring on generated detections, beside PySlowFast's evaluator.

The input has the size of AVA's validation set. Ours reads a csv.gz with the detections keyframe by
keyframe, as evaluators write them, and the same rows shuffled. PySlowFast's reads plain csv files
only, and takes the detections of a keyframe in the file's order: it gets the same rows unpacked,
those of each keyframe by descending score. numpy has dropped two names that it uses; they are set
for it. Each is measured in a process of its own.
"""

import argparse
import contextlib
import gzip
import importlib.util
import io
import multiprocessing
import random
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

import numpy as np

from avsf_det.evaluation.ava_map import evaluate_ava
from avsf_det.structures.ava_csv import read_detections, read_ground_truth

from .measure import describe_hardware, read_peak_memory

NUM_CLASSES = 80
LABEL_MAP = {i: f"class {i}" for i in range(1, NUM_CLASSES + 1)}
EXAMPLES = """examples:
  python ava_tools/benchmark.py scoring                (minutes, most of them for the peer)
  python ava_tools/benchmark.py scoring --videos 4 --repeats 1
  python ava_tools/benchmark.py scoring --no-peer --plot growth.svg"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the sub-command."""
    parser.add_argument("--videos", type=int, default=64, help="number of videos (64)")
    parser.add_argument("--keyframes", type=int, default=897, help="keyframes per video (897)")
    parser.add_argument("--repeats", type=int, default=3, help="of ours; the peer runs once (3)")
    parser.add_argument("--seed", type=int, default=0, help="seed of the generated input (0)")
    parser.add_argument("--no-peer", action="store_true", help="do not run PySlowFast's")
    parser.add_argument("--plot", type=Path, help="draw growth with the rows there (.svg, .png)")


def run(args: argparse.Namespace) -> int:
    """Measure, print a table, draw a plot if asked for."""
    from .display import format_table  # here: the measured processes import this file

    print(describe_hardware("numpy"))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        files = write_input(folder, args.videos, args.keyframes, args.seed)
        rows = compare(folder, files, args)
        num_rows, megabytes = len(read_detections(files[1])), files[1].stat().st_size / 1e6
        print(f"{num_rows} detections, {megabytes:.0f} MB csv.gz; median of {args.repeats}")
        header = ["evaluator", "read s", "score s", "total s", "peak MiB", "PySlowFast's / ours"]
        print(format_table(header, rows))
        if args.plot:
            draw_growth(folder, args, num_rows)
    return 0


def draw_growth(folder: Path, args: argparse.Namespace, num_rows: int) -> None:
    """Draw time and memory over the number of rows.

    Args:
        folder: folder for generated files.
        args: arguments of the sub-command.
        num_rows: number of detections of ``args.videos`` videos.
    """
    from .display import Panel, plot_growth

    sizes = sorted({max(args.videos // n, 1) for n in (8, 4, 2, 1)})
    grown = []
    for videos in sizes:
        files = write_input(folder, videos, args.keyframes, args.seed)
        grown.append(run_alone(measure, *files, "default", args.repeats))
    millions = [num_rows / 1e6 * videos / args.videos for videos in sizes]
    parts = {part: [getattr(m, part) for m in grown] for part in ("read", "score", "total")}
    panels = [
        Panel("million rows", "s", millions, parts),
        Panel("million rows", "peak MiB", millions, {"": [m.peak for m in grown]}),
    ]
    plot_growth(panels, args.plot, "AVA scoring from csv.gz")


@dataclass
class Measured:
    """Cost and result of scoring.

    Attributes:
        read: median seconds to read the files.
        score: median seconds to compute AP.
        peak: peak memory in MiB.
        ap: AP of each class by name, 0..1; nan without ground truth.
    """

    read: float
    score: float
    peak: float
    ap: dict[str, float]

    @property
    def total(self) -> float:
        """Seconds to read and to score."""
        return self.read + self.score


def write_input(folder: Path, videos: int, keyframes: int, seed: int) -> tuple[Path, Path]:
    """Write ground truth (csv) and detections (csv.gz); return their paths.

    A keyframe has one or two persons, 1.35 on average, with 1 to 3 actions each and 80 scores; the
    boxes of both files differ a little. Scores have so many digits that nearly none are equal: the
    peer's sort is not stable.
    """
    rng = np.random.default_rng(seed)
    ground_truth, detections = folder / "ground_truth.csv", folder / "detections.csv.gz"
    with (
        open(ground_truth, "w", encoding="utf-8") as gt,
        gzip.open(detections, "wt", compresslevel=6) as det,
    ):
        for video in range(videos):
            for second in range(902, 902 + keyframes):
                for _ in range(1 + (rng.random() < 0.35)):
                    key = f"video{video:06d},{second:04d}"
                    box = np.concatenate([rng.random(2) * 0.4, 0.6 + rng.random(2) * 0.4])
                    moved = np.clip(box + rng.normal(0, 0.02, 4), 0, 1)
                    gt_box, det_box = (",".join(f"{x:.4f}" for x in b) for b in (box, moved))
                    actions = rng.choice(NUM_CLASSES, rng.integers(1, 4), replace=False)
                    gt.writelines(f"{key},{gt_box},{a + 1}\n" for a in actions)
                    scores = rng.random(NUM_CLASSES)
                    scores[actions] **= 0.2
                    det.write(
                        "".join(f"{key},{det_box},{i},{s:.8f}\n" for i, s in enumerate(scores, 1))
                    )
    return ground_truth, detections


def write_shuffled(detections: Path, target: Path, seed: int) -> None:
    """Write the rows of a csv.gz in random order."""
    with gzip.open(detections) as rows:
        lines = rows.readlines()
    random.Random(seed).shuffle(lines)
    with gzip.open(target, "wb", compresslevel=1) as out:
        out.writelines(lines)


def write_by_score(detections: Path, target: Path) -> None:
    """Write the rows of a csv.gz unpacked, those of each keyframe by descending score."""
    with gzip.open(detections, "rt") as rows, open(target, "w", encoding="utf-8") as out:
        for _, keyframe in groupby(rows, key=lambda row: row.split(",", 2)[:2]):
            out.writelines(sorted(keyframe, key=lambda row: -float(row.rpartition(",")[2])))


def measure(ground_truth: Path, detections: Path, protocol: str, repeats: int) -> Measured:
    """Measure our evaluation in this process."""
    read, score = [], []
    for _ in range(repeats):
        start = time.perf_counter()
        gt, det = read_ground_truth(ground_truth), read_detections(detections)
        read.append(time.perf_counter() - start)
        result = evaluate_ava(det, gt, LABEL_MAP, protocol=protocol)
        score.append(time.perf_counter() - start - read[-1])
    ap = {c.name: c.ap for c in result.classes}
    return Measured(statistics.median(read), statistics.median(score), read_peak_memory(), ap)


def measure_peer(ground_truth: Path, detections: Path) -> Measured:
    """Measure PySlowFast's evaluation once, on the files of :func:`write_by_score`."""
    vars(np).update(float=float, NAN=np.nan)
    from slowfast.utils import ava_eval_helper as peer

    start = time.perf_counter()
    gt = peer.read_csv(ground_truth, set(LABEL_MAP), load_score=False)
    det = peer.read_csv(detections, set(LABEL_MAP), load_score=True)
    read = time.perf_counter() - start
    categories = [{"id": id_, "name": name} for id_, name in LABEL_MAP.items()]
    with contextlib.redirect_stdout(io.StringIO()):
        metrics = peer.run_evaluation(categories, gt, det, excluded_keys=set())
    score = time.perf_counter() - start - read
    prefix = "PascalBoxes_PerformanceByCategory/AP@0.5IOU/"
    ap = {name: metrics[prefix + name] for name in LABEL_MAP.values()}
    return Measured(read, score, read_peak_memory(), ap)


def largest_difference(ours: dict[str, float], theirs: dict[str, float]) -> tuple[float, str]:
    """Return the largest difference of a class's AP, and the name of that class.

    It is infinite if only one side has ground truth for a class.
    """
    differences = {
        name: 0.0 if np.isnan(ap) and np.isnan(theirs[name]) else abs(ap - theirs[name])
        for name, ap in ours.items()
    }
    differences = {name: float(np.nan_to_num(d, nan=np.inf)) for name, d in differences.items()}
    name = max(differences, key=differences.__getitem__)
    return differences[name], name


def run_alone(function: Callable[..., Measured], *args: object) -> Measured:
    """Call a function in a fresh process."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(function, args)


def compare(folder: Path, files: tuple[Path, Path], args: argparse.Namespace) -> list[list]:
    """Return the rows of the table; print the largest difference to the peer's results."""
    ground_truth, detections = files
    shuffled, by_score = folder / "shuffled.csv.gz", folder / "by_score.csv"
    write_shuffled(detections, shuffled, args.seed)
    ours = {
        f"avsf_det, {name}": run_alone(measure, ground_truth, file, protocol, args.repeats)
        for name, file, protocol in (
            ("default", detections, "default"),
            ("default, rows shuffled", shuffled, "default"),
            ("activitynet", detections, "activitynet"),
        )
    }
    measured, peer = dict(ours), None
    if args.no_peer:
        print("PySlowFast's is not run")
    elif importlib.util.find_spec("slowfast") is None:
        print('PySlowFast\'s is not installed: pip install -e ".[benchmark]"')
    else:
        write_by_score(detections, by_score)
        peer = measured["PySlowFast"] = run_alone(measure_peer, ground_truth, by_score)
        difference, name = largest_difference(ours["avsf_det, default"].ap, peer.ap)
        print(f"largest difference of a class's AP to PySlowFast's: {difference:.1e} ({name})")
    return [
        [evaluator, m.read, m.score, m.total, f"{m.peak:.0f}", peer.total / m.total if peer else ""]
        for evaluator, m in measured.items()
    ]
