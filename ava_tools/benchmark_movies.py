"""Keyframes per second at which one process reads a movie for evaluation: in one pass, as the test
loader does, and seeking per keyframe, as a training loader must; and at which PyAV (libav, ffmpeg's
libraries) decodes the movie to nowhere. Clips are those of AVA, 32 frames at every second of the
movie, with log-mel, up to the model's input.

The movie is made of your clips, end to end and again: 30 frames per second, with sound, x264's
defaults but for a key frame after each 250th frame and nowhere else.
"""

import argparse
import os
import platform
import statistics
import sys
import time
from collections.abc import Iterator
from itertools import cycle, islice
from pathlib import Path

import av
import numpy as np
import torch
from detectron2.config import CfgNode, get_cfg
from tqdm import tqdm

from avsf_det import add_avsf_config
from avsf_det.data import KeyframeMapper, VideoDecodeError
from avsf_det.data.movie_mapper import MovieMapper
from avsf_det.data.movie_reader import MovieReader
from avsf_det.utils.video_writer import write_video

CONFIG = Path(__file__).resolve().parents[1] / "configs/AVA/avsf_r101_8x8.yaml"
FPS, SAMPLE_RATE = 30, 48000
SIZES = {"480p": (480, 854), "720p": (720, 1280)}
ENCODING = {"g": "250", "sc_threshold": "0"}  # no key frames at the joins
EXAMPLE = """example:
  python ava_tools/benchmark_movies.py --videos a.mp4 b.mp4 --folder movies
  python ava_tools/benchmark_movies.py --videos a.mp4 --folder movies --seconds 60 --repeats 1"""


def make_movie(path: Path, videos: list[str], seconds: int, size: tuple[int, int]) -> None:
    """Join clips end to end, from the first again after the last; ``size`` is (height, width)."""
    sounds, length = [], 0
    for video in cycle(videos):
        with MovieReader(video) as reader:
            end = _whole_seconds(reader)
            heard = reader.read_audio(0, end, SAMPLE_RATE) if reader.has_audio else None
            sounds.append(torch.zeros(end * SAMPLE_RATE) if heard is None else heard)
        length += end
        if length >= seconds:
            break
    sound = torch.cat(sounds)[: seconds * SAMPLE_RATE].numpy()
    frames = islice(_joined_frames(videos, size), seconds * FPS)
    progress = tqdm(frames, path.name, seconds * FPS, mininterval=2, disable=None)
    partial = path.with_name(f"partial_{path.name}")
    write_video(partial, progress, FPS, np.stack([sound] * 2), SAMPLE_RATE, video_options=ENCODING)
    partial.rename(path)


def _joined_frames(videos: list[str], size: tuple[int, int]) -> Iterator[np.ndarray]:
    for video in cycle(videos):
        with MovieReader(video) as reader:
            for second in range(_whole_seconds(reader)):
                yield from reader.read_frames([second + i / FPS for i in range(FPS)], size)


def _whole_seconds(reader: MovieReader) -> int:
    if reader.duration < 1:
        raise ValueError(f"{reader.path} lasts {reader.duration:.1f} s; give clips of 1 s or more")
    return int(reader.duration)


def measure(path: Path, seconds: int, seeks: int, repeats: int, cfg: CfgNode) -> dict[str, float]:
    """Way of reading to keyframes per second, medians of interleaved runs. Of ``seconds`` keyframes
    ``seeks`` are sought, evenly spaced."""
    sought = np.linspace(0, seconds - 1, min(seeks, seconds)).round().astype(int).tolist()
    rates = {"seek": [], "one pass": [], "decode to nowhere": []}
    for _ in range(repeats):
        rates["seek"].append(len(sought) / _read_seconds(path, sought, KeyframeMapper(cfg, False)))
        rates["one pass"].append(seconds / _read_seconds(path, range(seconds), MovieMapper(cfg)))
        rates["decode to nowhere"].append(seconds / _decode_seconds(path))
    return {way: statistics.median(values) for way, values in rates.items()}


def _read_seconds(path: Path, keyframes: list[int] | range, mapper: KeyframeMapper) -> float:
    common = {"file_name": str(path), "video_id": path.stem, "offset": 0.0, "source": path}
    start = time.perf_counter()
    for second in tqdm(keyframes, path.name, mininterval=2, disable=None, leave=False):
        mapper({**common, "image_id": f"{path.stem},{second}", "timestamp": float(second)})
    return time.perf_counter() - start


def _decode_seconds(path: Path) -> float:
    start = time.perf_counter()
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        stream.codec_context.thread_count = 1
        for _ in container.decode(stream):
            pass
    return time.perf_counter() - start


def hardware() -> str:
    """Processor, cores and versions in a line."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return (
        f"{names[0] if names else platform.machine()}, {os.cpu_count()} cores, "
        f"load {os.getloadavg()[0]:.1f}, PyAV {av.__version__}, one thread each"
    )


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLE, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--videos", nargs="+", required=True, help="clips to join")
    parser.add_argument("--folder", type=Path, required=True, help="for the movies; kept there")
    parser.add_argument("--seconds", type=int, default=900, help="length of the movies")
    parser.add_argument("--seeks", type=int, default=90, help="keyframes that are sought")
    parser.add_argument("--repeats", type=int, default=3)
    args = parser.parse_args(argv)
    torch.set_num_threads(1)
    cfg = get_cfg()
    add_avsf_config(cfg)
    cfg.merge_from_file(str(CONFIG))
    args.folder.mkdir(parents=True, exist_ok=True)
    print(f"{hardware()}; {args.seconds} s, median of {args.repeats}", flush=True)
    print("| keyframes/s | seek | one pass | decode to nowhere | pass / seek | pass / decode |")
    print("|-------------|-----:|---------:|------------------:|------------:|--------------:|")
    for name, size in SIZES.items():
        path = args.folder / f"{name}_{args.seconds}s.mp4"
        try:
            if not path.exists():
                make_movie(path, args.videos, args.seconds, size)
            rates = measure(path, args.seconds, args.seeks, args.repeats, cfg)
        except (VideoDecodeError, ValueError, OSError) as error:
            sys.exit(f"error: {error}")
        seek, one_pass, decode = rates.values()
        print(
            f"| {name:11} | {seek:4.2f} | {one_pass:8.2f} | {decode:17.2f} "
            f"| {one_pass / seek:11.2f} | {one_pass / decode:13.2f} |",
            flush=True,
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
