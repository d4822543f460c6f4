"""How fast whole movies are read for evaluation, by one process with one thread.

A movie is made of your clips, end to end and again: 30 frames per second, with sound, a key frame
after each 250th frame. Its clips are AVA's, 32 frames around every second, up to the model's input:
* one pass: as the test loader reads them, each frame and sound decoded once;
* seek: the same clips, each by a reader of its own, as training needs it;
* PyAV seek: plain PyAV, the file kept open; frames only, no sound;
* decode: to nowhere (PyAV, that is libav, the library of ffmpeg).
"""

import argparse
import sys
from pathlib import Path

import av
import numpy as np
import torch
from detectron2.config import CfgNode, get_cfg
from tqdm import tqdm

from avsf_det import add_avsf_config
from avsf_det.data import KeyframeMapper, SequentialReader, VideoDecodeError
from avsf_det.data.transforms import build_clip_augmentations
from avsf_det.utils.benchmark import hardware, interleaved, markdown_table
from avsf_det.utils.joined_movie import make_movie

CONFIG = Path(__file__).resolve().parents[1] / "configs/AVA/avsf_r101_8x8.yaml"
FPS = 30
SIZES = {"480p": (480, 854), "720p": (720, 1280)}
EXAMPLE = """example:
  python ava_tools/benchmark_movies.py --videos a.mp4 b.mp4 --folder movies
  python ava_tools/benchmark_movies.py --videos a.mp4 --folder movies --seconds 60 --repeats 1"""


def measure(path: Path, seconds: int, seeks: int, repeats: int, cfg: CfgNode) -> dict[str, float]:
    """Way of reading to keyframes per second. Of ``seconds`` keyframes ``seeks`` are sought."""
    sought = np.linspace(0, seconds - 1, min(seeks, seconds)).round().astype(int).tolist()
    ways = {
        "one pass": lambda: _read(path, range(seconds), _one_pass_mapper(cfg)),
        "seek": lambda: _read(path, sought, KeyframeMapper(cfg, False)),
        "PyAV seek": lambda: _read_with_pyav(path, sought, cfg),
        "decode": lambda: _decode(path),
    }
    count = dict.fromkeys(ways, seconds) | dict.fromkeys(["seek", "PyAV seek"], len(sought))
    medians = interleaved(ways, repeats, warmup=0)
    return {way: count[way] / duration for way, duration in medians.items()}


def _one_pass_mapper(cfg: CfgNode) -> KeyframeMapper:
    source = SequentialReader(build_clip_augmentations(cfg, is_train=False))
    return KeyframeMapper(cfg, is_train=False, source=source)


def _read(path: Path, seconds: list[int] | range, mapper: KeyframeMapper) -> None:
    common = {"file_name": str(path), "video_id": path.stem, "offset": 0.0, "source": path}
    for second in tqdm(seconds, path.name, mininterval=2, disable=None, leave=False):
        mapper({**common, "image_id": f"{path.stem},{second}", "timestamp": float(second)})


def _read_with_pyav(path: Path, seconds: list[int], cfg: CfgNode) -> None:
    clip = cfg.INPUT.CLIP
    with av.open(str(path)) as container:
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
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        stream.codec_context.thread_count = 1
        for _ in container.decode(stream):
            pass


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
    print(f"{hardware('av')}; {args.seconds} s, median of {args.repeats}", flush=True)
    rows = []
    for name, size in SIZES.items():
        path = args.folder / f"{name}_{args.seconds}s.mp4"
        try:
            if not path.exists():
                make_movie(path, args.videos, args.seconds, size, fps=FPS)
            rates = measure(path, args.seconds, args.seeks, args.repeats, cfg)
        except (VideoDecodeError, ValueError, OSError) as error:
            sys.exit(f"error: {error}")
        ratios = [rates["one pass"] / rates[way] for way in list(rates)[1:]]
        rows.append([name, *rates.values(), *ratios])
    print(
        markdown_table(["keyframes/s", *rates, *(f"pass / {way}" for way in list(rates)[1:])], rows)
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
