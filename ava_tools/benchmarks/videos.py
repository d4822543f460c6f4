"""Keyframes per second that one process with one thread reads of whole videos, for evaluation.

The video is made of your clips, end to end and again: 30 frames per second, with audio, an I-frame
at every 250th frame. Its clips are AVA's, 32 frames around every second, as model inputs:
* one pass: as the test loader reads them, each frame and the audio decoded once;
* seek: the same clips, the file opened for each, as training needs it;
* PyAV seek: plain PyAV, the file kept open; frames only, no audio;
* decode: all frames decoded and dropped (PyAV, that is libav, the library of ffmpeg).
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import av
import numpy as np
import torch
from detectron2.config import CfgNode
from tqdm import tqdm

from avsf_det import model_zoo
from avsf_det.data import KeyframeMapper, SequentialReader
from avsf_det.data.transforms import build_clip_augmentations
from avsf_det.data.video.open_file import libav_path
from avsf_det.engine.defaults import load_config

from .display import format_table
from .joined_video import join_videos
from .measure import describe_hardware, time_interleaved

CONFIG = "AVA/avsf_r101_8x8.yaml"
FPS = 30
SIZES = {"480p": (480, 854), "720p": (720, 1280)}
EXAMPLES = """examples:
  python ava_tools/benchmark.py videos --videos a.mp4 b.mp4 --folder videos
  python ava_tools/benchmark.py videos --videos a.mp4 --folder videos --seconds 60 --repeats 1"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the sub-command."""
    parser.add_argument("--videos", nargs="+", required=True, help="clips to join")
    parser.add_argument("--folder", type=Path, required=True, help="for the joined videos; kept")
    parser.add_argument("--seconds", type=int, default=900, help="length of a joined video (900)")
    parser.add_argument("--seeks", type=int, default=90, help="keyframes read by seeking (90)")
    parser.add_argument("--repeats", type=int, default=3, help="rounds (3)")


def run(args: argparse.Namespace) -> int:
    """Measure all sizes and print a table."""
    torch.set_num_threads(1)
    cfg = load_config(model_zoo.get_config_file(CONFIG))
    args.folder.mkdir(parents=True, exist_ok=True)
    print(f"{describe_hardware('av')}; {args.seconds} s, median of {args.repeats}", flush=True)
    rows: list[list[object]] = []
    methods: list[str] = []
    for name, size in SIZES.items():
        path = args.folder / f"{name}_{args.seconds}s.mp4"
        if not path.exists():
            join_videos(path, args.videos, args.seconds, size, fps=FPS)
        rates = measure(path, args.seconds, args.seeks, args.repeats, cfg)
        methods = list(rates)
        ratios = [rates["one pass"] / rates[method] for method in methods[1:]]
        rows.append([name, *rates.values(), *ratios])
    header = ["keyframes/s", *methods, *(f"pass / {method}" for method in methods[1:])]
    print(format_table(header, rows))
    return 0


def measure(path: Path, seconds: int, seeks: int, repeats: int, cfg: CfgNode) -> dict[str, float]:
    """Return the keyframes per second of each method.

    Args:
        path: video.
        seconds: its length; each whole second is a keyframe.
        seeks: number of keyframes that the seeking methods read.
        repeats: rounds.
        cfg: config of the model that the clips are for.
    """
    sought = np.linspace(0, seconds - 1, min(seeks, seconds)).round().astype(int).tolist()
    methods = {
        "one pass": lambda: _read(path, range(seconds), _build_sequential_mapper(cfg)),
        "seek": lambda: _read(path, sought, KeyframeMapper(cfg, is_train=False)),
        "PyAV seek": lambda: _read_with_pyav(path, sought, cfg),
        "decode": lambda: _decode(path),
    }
    count = dict.fromkeys(methods, seconds) | dict.fromkeys(["seek", "PyAV seek"], len(sought))
    medians = time_interleaved(methods, repeats, warmup=0)
    return {method: count[method] / duration for method, duration in medians.items()}


def _build_sequential_mapper(cfg: CfgNode) -> KeyframeMapper:
    """Return the mapper of the test loader, which keeps the video open."""
    mapper = KeyframeMapper(cfg, is_train=False)
    mapper.source = SequentialReader(build_clip_augmentations(cfg, is_train=False))
    return mapper


def _read(path: Path, seconds: Sequence[int], mapper: KeyframeMapper) -> None:
    common = {"file_name": str(path), "video_id": path.stem, "offset": 0.0, "source": path}
    for second in tqdm(seconds, path.name, mininterval=2, disable=None, leave=False):
        mapper({**common, "image_id": f"{path.stem},{second}", "timestamp": float(second)})


def _read_with_pyav(path: Path, seconds: Sequence[int], cfg: CfgNode) -> None:
    clip = cfg.INPUT.CLIP
    with av.open(libav_path(path)) as container:
        stream = container.streams.video[0]
        stream.codec_context.thread_count = 1
        height = cfg.INPUT.MIN_SIZE_TEST
        width = round(height * stream.width / stream.height)
        for second in seconds:
            times = second + (np.arange(clip.NUM_FRAMES) - clip.NUM_FRAMES / 2) * clip.STRIDE / FPS
            waiting = [max(0, round(t * FPS)) for t in times]
            container.seek(int(max(0, times[0]) / stream.time_base), stream=stream)
            for frame in container.decode(stream):
                if round(frame.time * FPS) in waiting:
                    frame.to_ndarray(format="rgb24", width=width, height=height)
                if frame.time * FPS >= waiting[-1]:
                    break


def _decode(path: Path) -> None:
    with av.open(libav_path(path)) as container:
        stream = container.streams.video[0]
        stream.codec_context.thread_count = 1
        for _ in container.decode(stream):
            pass
