"""Time and memory of the test loader over the length of videos; and two processes on two videos.

Each figure is of processes of their own, without a model. Linux only. The videos have AVA's frame
rate and small frames, so that long ones are quick to read: a minute joined from your clips, copied
end to end. Their clips are resized to the usual size.
"""

import argparse
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import torch
from detectron2.data import DatasetCatalog, MetadataCatalog

from avsf_det import model_zoo
from avsf_det.data import build_clip_test_loader
from avsf_det.data.video.cut import repeat_video
from avsf_det.engine.defaults import load_config

from .display import Panel, format_table, plot_growth
from .joined_video import join_videos
from .measure import describe_hardware, read_peak_memory

CONFIG = "AVA/avsf_r101_8x8.yaml"
OPTIONS = ["MODEL.LOAD_PROPOSALS", False, "DATALOADER.NUM_WORKERS", 0]
FPS, SIZE = 30, (90, 160)
NAME = "growth_test_set"
EXAMPLES = """example:
  python ava_tools/benchmark.py growth --videos a.mp4 --folder videos --plot growth.svg"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the sub-command."""
    parser.add_argument("--videos", nargs="+", required=True, help="clips to join")
    parser.add_argument("--folder", type=Path, required=True, help="for the joined videos; kept")
    parser.add_argument(
        "--minutes", type=int, nargs="+", default=[10, 30, 60, 120], metavar="M", help="lengths"
    )
    parser.add_argument("--plot", type=Path, metavar="FILE", help=".svg or .png to draw")


def run(args: argparse.Namespace) -> int:
    """Measure, print a table, draw a plot if asked for."""
    args.folder.mkdir(parents=True, exist_ok=True)
    part = args.folder / "minute.mp4"
    if not part.exists():
        join_videos(part, args.videos, 60, SIZE, fps=FPS)
    print(describe_hardware("av"), flush=True)
    rows = []
    runs = [(minutes, 1, 1) for minutes in args.minutes]
    runs += [(args.minutes[0], 2, n) for n in (1, 2)]
    for minutes, num_videos, processes in runs:
        paths = [args.folder / f"{minutes}_minutes_{i}.mp4" for i in range(num_videos)]
        for path in paths:
            if not path.exists():
                repeat_video(part, path, minutes, 60)
        rate, peak = read_keyframes(paths, 60 * minutes, processes)
        rows.append((minutes, num_videos, processes, rate, peak))
    header = ["minutes", "videos", "processes", "keyframes/s in all", "peak MiB of a process"]
    print(format_table(header, rows))
    if args.plot:
        by_length = rows[: len(args.minutes)]
        minutes, _, _, rates, peaks = zip(*by_length, strict=True)
        milliseconds = [1000 / rate for rate in rates]
        panels = [
            Panel("minutes of video", "ms per keyframe", minutes, {"one pass": milliseconds}),
            Panel("minutes of video", "peak MiB", minutes, {"one pass": peaks}),
        ]
        plot_growth(panels, args.plot)
    return 0


def read_keyframes(paths: list[Path], seconds: int, processes: int) -> tuple[float, float]:
    """Read the clip at each second of videos.

    Args:
        paths: videos.
        seconds: length that is read of each.
        processes: number of processes that share the videos.

    Returns:
        Keyframes per second of all processes, and the largest peak memory of one in MiB.
    """
    with (
        tempfile.TemporaryDirectory() as folder,
        ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool,
    ):
        meeting = f"file://{folder}/meeting"
        runs = [
            pool.submit(_read_part, paths, seconds, rank, processes, meeting)
            for rank in range(processes)
        ]
        durations, peaks = zip(*(run.result() for run in runs), strict=True)
    return len(paths) * seconds / max(durations), max(peaks)


def _read_part(
    paths: list[Path], seconds: int, rank: int, processes: int, meeting: str
) -> tuple[float, float]:
    """Return (seconds, peak MiB) of one of the processes."""
    torch.set_num_threads(1)
    cfg = load_config(model_zoo.get_config_file(CONFIG), OPTIONS)
    DatasetCatalog.register(NAME, lambda: _make_keyframes(paths, seconds))
    MetadataCatalog.get(NAME).set(evaluator_type="ava", action_classes=["act"])
    torch.distributed.init_process_group(
        "gloo", init_method=meeting, rank=rank, world_size=processes
    )
    loader = build_clip_test_loader(cfg, NAME)
    torch.distributed.barrier()
    start = time.perf_counter()
    for _ in loader:
        pass
    return time.perf_counter() - start, read_peak_memory()


def _make_keyframes(paths: list[Path], seconds: int) -> list[dict]:
    """Return the dataset dicts of a keyframe with one person at each second."""
    person = [{"bbox": [0.2, 0.2, 0.8, 0.8], "action_ids": [0]}]
    return [
        {
            "file_name": str(path),
            "video_id": path.stem,
            "image_id": f"{path.stem},{second}",
            "timestamp": float(second),
            "offset": 0.0,
            "source": str(path),
            "annotations": person,
        }
        for path in paths
        for second in range(seconds)
    ]
