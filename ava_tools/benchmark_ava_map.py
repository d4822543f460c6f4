"""Time and memory of AVA scoring on a generated input of the size of AVA's validation set.

The public AVA evaluators are scripts inside other projects and no package of an index, so none of
them runs beside it here. Detections come keyframe by keyframe, as evaluators write them."""

import argparse
import gzip
import os
import platform
import resource
import statistics
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

# avsf_det itself imports torch and Detectron2; its evaluation stands alone.
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "avsf_det" / "evaluation"))
import ava_map

NUM_CLASSES = 80
EXAMPLE = """example:
  python ava_tools/benchmark_ava_map.py
  python ava_tools/benchmark_ava_map.py --videos 4 --repeats 1"""


def write_input(folder: Path, videos: int, keyframes: int, seed: int) -> tuple[Path, Path]:
    """Ground truth (csv) and detections (csv.gz): in each keyframe one or two persons, of 1.35 on
    average, with 1 to 3 actions each and 80 scores; boxes of the two differ a little."""
    rng = np.random.default_rng(seed)
    ground_truth, detections = folder / "ground_truth.csv", folder / "detections.csv.gz"
    with open(ground_truth, "w") as gt, gzip.open(detections, "wt", compresslevel=6) as det:
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
                        "".join(f"{key},{det_box},{i},{s:.6f}\n" for i, s in enumerate(scores, 1))
                    )
    return ground_truth, detections


def measure(ground_truth: Path, detections: Path, repeats: int) -> list[str]:
    """Lines of the table: median seconds over the repeats."""
    label_map = {i: f"class {i}" for i in range(1, NUM_CLASSES + 1)}
    read, score = [], {protocol: [] for protocol in ava_map.PROTOCOLS}
    for _ in range(repeats):
        start = time.perf_counter()
        gt, det = ava_map.read_ground_truth(ground_truth), ava_map.read_detections(detections)
        read.append(time.perf_counter() - start)
        for protocol, seconds in score.items():
            start = time.perf_counter()
            ava_map.evaluate_ava(det, gt, label_map, protocol=protocol)
            seconds.append(time.perf_counter() - start)
    reading = statistics.median(read)
    lines = [
        f"{len(det)} detections, {len(gt)} ground-truth rows, {len(gt.keyframes)} keyframes, "
        f"{detections.stat().st_size / 1e6:.0f} MB csv.gz; median of {repeats}",
        "| protocol    | read s | score s | total s | rows/s  |",
        "|-------------|-------:|--------:|--------:|--------:|",
    ]
    for protocol, seconds in score.items():
        scoring = statistics.median(seconds)
        lines.append(
            f"| {protocol:11} | {reading:6.2f} | {scoring:7.2f} | {reading + scoring:7.2f} "
            f"| {len(det) / (reading + scoring):7.0f} |"
        )
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    lines.append(f"peak memory of the process {peak:.0f} MiB")
    return lines


def hardware() -> str:
    """Processor, cores and versions in a line."""
    model = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        names = [x for x in cpuinfo.read_text().splitlines() if x.startswith("model name")]
        model = names[0].partition(":")[2].strip() if names else model
    return (
        f"{model}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}, "
        f"Python {platform.python_version()}, numpy {np.__version__}"
    )


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLE, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--videos", type=int, default=64)
    parser.add_argument("--keyframes", type=int, default=897, help="per video")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as folder:
        files = write_input(Path(folder), args.videos, args.keyframes, args.seed)
        print("\n".join([hardware(), *measure(*files, args.repeats)]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
