"""What the test loader needs as movies get longer: time and peak memory; and what two processes
reach that share two movies. Each figure is of processes of their own, without a model. Linux only.

The movies are of AVA's frame rate and small frames, so that long ones are quick to read: a minute
joined from your clips, copied end to end. Their clips are made as large as any other's.
"""

import argparse
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import torch
from detectron2.config import get_cfg
from detectron2.data import DatasetCatalog, MetadataCatalog

from avsf_det import add_avsf_config
from avsf_det.data import VideoDecodeError, build_clip_test_loader
from avsf_det.data.video.cut import repeat_video
from avsf_det.utils.benchmark import Panel, hardware, markdown_table, plot_growth
from avsf_det.utils.joined_movie import make_movie

CONFIG = Path(__file__).resolve().parents[1] / "configs/AVA/avsf_r101_8x8.yaml"
OPTIONS = ["MODEL.LOAD_PROPOSALS", False, "DATALOADER.NUM_WORKERS", 0]
FPS, SIZE = 30, (90, 160)
NAME = "growth_test_set"
EXAMPLE = """example:
  python ava_tools/benchmark_movie_growth.py --videos a.mp4 --folder movies --plot growth.svg"""


def evaluate(paths: list[Path], seconds: int, processes: int) -> tuple[float, float]:
    """Read the clip at each second of movies.

    Returns:
        Keyframes per second of all processes, and the largest peak memory of one in MiB.
    """
    with (
        tempfile.TemporaryDirectory() as folder,
        ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool,
    ):
        meeting = f"file://{folder}/meeting"
        runs = [
            pool.submit(_evaluate_part, paths, seconds, rank, processes, meeting)
            for rank in range(processes)
        ]
        durations, peaks = zip(*(run.result() for run in runs), strict=True)
    return len(paths) * seconds / max(durations), max(peaks)


def _evaluate_part(
    paths: list[Path], seconds: int, rank: int, processes: int, meeting: str
) -> tuple[float, float]:
    """(seconds, peak MiB) of one of the processes."""
    torch.set_num_threads(1)
    cfg = get_cfg()
    add_avsf_config(cfg)
    cfg.merge_from_file(str(CONFIG))
    cfg.merge_from_list(OPTIONS)
    DatasetCatalog.register(NAME, lambda: _keyframes(paths, seconds))
    MetadataCatalog.get(NAME).set(evaluator_type="ava", action_classes=["act"])
    torch.distributed.init_process_group(
        "gloo", init_method=meeting, rank=rank, world_size=processes
    )
    loader = build_clip_test_loader(cfg, NAME)
    torch.distributed.barrier()
    start = time.perf_counter()
    for _ in loader:
        pass
    return time.perf_counter() - start, _peak_memory()


def _keyframes(paths: list[Path], seconds: int) -> list[dict]:
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


def _peak_memory() -> float:
    """MiB that this process has used at once."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLE, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--videos", nargs="+", required=True, help="clips to join")
    parser.add_argument("--folder", type=Path, required=True, help="for the movies; kept there")
    parser.add_argument("--minutes", type=int, nargs="+", default=[10, 30, 60, 120], metavar="M")
    parser.add_argument("--plot", type=Path, metavar="FILE", help=".svg or .png to draw")
    args = parser.parse_args(argv)
    args.folder.mkdir(parents=True, exist_ok=True)
    part = args.folder / "minute.mp4"
    try:
        if not part.exists():
            make_movie(part, args.videos, 60, SIZE, fps=FPS)
    except (VideoDecodeError, ValueError, OSError) as error:
        sys.exit(f"error: {error}")
    print(hardware("av"), flush=True)
    rows = []
    runs = [(minutes, 1, 1) for minutes in args.minutes]
    runs += [(args.minutes[0], 2, n) for n in (1, 2)]
    for minutes, movies, processes in runs:
        paths = [args.folder / f"{minutes}_minutes_{i}.mp4" for i in range(movies)]
        for path in paths:
            if not path.exists():
                repeat_video(part, path, minutes, 60)
        rows.append([minutes, movies, processes, *evaluate(paths, 60 * minutes, processes)])
    header = ["minutes", "movies", "processes", "keyframes/s in all", "peak MiB of a process"]
    print(markdown_table(header, rows))
    if args.plot:
        by_length = rows[: len(args.minutes)]
        minutes, _, _, rates, peaks = zip(*by_length, strict=True)
        milliseconds = [1000 / rate for rate in rates]
        panels = [
            Panel("minutes of the movie", "ms per keyframe", minutes, {"one pass": milliseconds}),
            Panel("minutes of the movie", "peak MiB", minutes, {"one pass": peaks}),
        ]
        plot_growth(panels, args.plot)
    return 0


if __name__ == "__main__":
    sys.exit(main())
