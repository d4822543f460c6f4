#!/usr/bin/env python
"""How fast one loader worker with one thread reads training clips, beside other readers; or whether
the loader or the model bounds the training of a config on this machine.

A movie is made of your clips, end to end and again: 30 frames per second, with sound, a key frame
after each 250th frame; and encoded anew as prepare_ava.py --gop does. Clips are AVA's for training,
32 of 64 frames around a second. Ours are whole model inputs (log-mel, too); those of others are
their frames, through the same augmentation, and with sound their samples, mono at 16 kHz where they
can. decord decodes the whole sound track for each.
"""

import argparse
import math
import os
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
from detectron2.config import CfgNode, get_cfg
from detectron2.data import transforms as T
from detectron2.modeling import build_model
from detectron2.solver import build_optimizer
from detectron2.utils.events import EventStorage

from avsf_det import add_avsf_config
from avsf_det.data import KeyframeMapper, SegmentMapper, VideoDecodeError
from avsf_det.data.transforms import ClipInput
from avsf_det.data.video.cut import cut_video
from avsf_det.utils.benchmark import hardware, interleaved, markdown_table
from avsf_det.utils.clip_timing import read_clips, time_stages
from avsf_det.utils.joined_movie import make_movie

CONFIG = Path(__file__).resolve().parents[1] / "configs/AVA/avsf_r50_4x16.yaml"
FPS, SIZES = 30, {"480p": (480, 854), "720p": (720, 1280)}
PEERS = {"torchcodec": "torchcodec", "decord": "decord", "EncodedVideo": "pytorchvideo"}
EXAMPLE = """examples:
  python ava_tools/benchmark_data.py --videos a.mp4 b.mp4 --folder movies
  python ava_tools/benchmark_data.py --videos a.mp4 --folder movies \\
      --config-file configs/AVA/avsf_r101_8x8.yaml --batch 2"""


def peer_reader(name: str, path: str, times: np.ndarray, sound: bool) -> np.ndarray:
    """Frames uint8 (T, H, W, 3) at times in seconds; and the sound of their span, dropped."""
    start, end = times[0], times[-1] + times[1] - times[0]
    if name == "torchcodec":
        from torchcodec.decoders import AudioDecoder, VideoDecoder

        if sound:
            decoder = AudioDecoder(path, sample_rate=16000, num_channels=1)
            decoder.get_samples_played_in_range(start, end)
        options = {"num_ffmpeg_threads": 1, "seek_mode": "approximate", "dimension_order": "NHWC"}
        # A little later, lest rounding gives the frame before.
        return VideoDecoder(path, **options).get_frames_played_at(times + 1e-4).data.numpy()
    if name == "decord":
        import decord

        if sound:
            samples = decord.AudioReader(path, sample_rate=16000, mono=True)
            samples[round(start * 16000) : round(end * 16000)].asnumpy()
        reader = decord.VideoReader(path, num_threads=1)
        return reader.get_batch(np.round(times * FPS).astype(int)).asnumpy()
    from pytorchvideo.data.encoded_video import EncodedVideo

    video = EncodedVideo.from_path(path, decode_audio=sound, decoder="pyav")
    frames = video.get_clip(start - 1e-4, end - 1e-4)["video"]
    video.close()
    step = round((times[1] - times[0]) * FPS)
    return frames[:, ::step].permute(1, 2, 3, 0).byte().numpy()


def compare(path: Path, seconds: list[int], repeats: int, cfg: CfgNode) -> list[list]:
    """Rows of reader, milliseconds per clip without and with sound, and these over ours."""
    mapper, silent = KeyframeMapper(cfg, True), KeyframeMapper(cfg, True)
    silent.clip_reader.mute = True
    around = np.arange(-16, 16) * 2 / FPS

    def read_with(name: str, sound: bool) -> None:
        for second in seconds:
            clip = ClipInput(peer_reader(name, str(path), second + around, sound))
            T.AugmentationList(mapper.source.augmentations)(clip)
            np.ascontiguousarray(clip.image.transpose(3, 0, 1, 2))

    ways = {
        ("avsf_det", False): lambda: read_clips(silent, path, seconds),
        ("avsf_det", True): lambda: read_clips(mapper, path, seconds),
    }
    for name, package in PEERS.items():
        if find_spec(package) is None:
            print(f'{package} is not installed: pip install -e ".[benchmark]"')
            continue
        for sound in (False, True):
            ways[name, sound] = lambda name=name, sound=sound: read_with(name, sound)
    medians = interleaved(ways, repeats)
    ms = {way: 1000 * duration / len(seconds) for way, duration in medians.items()}
    ours = ms["avsf_det", False], ms["avsf_det", True]
    rows = [[name, ms[name, False], ms[name, True]] for name, sound in ms if sound]
    return [[path.stem, *row, row[1] / ours[0], row[2] / ours[1]] for row in rows]


def bound(cfg: CfgNode, path: Path, seconds: list[int], batch: int, repeats: int) -> str:
    """What bounds training, in words."""
    detects = cfg.MODEL.META_ARCHITECTURE == "ActionDetector"
    mapper = (KeyframeMapper if detects else SegmentMapper)(cfg, is_train=True)
    clips = read_clips(mapper, path, (seconds * batch)[:batch])
    loading = interleaved({"": lambda: read_clips(mapper, path, seconds)}, repeats)[""]
    per_clip = loading / len(seconds)
    torch.set_num_threads(os.cpu_count())
    model = build_model(cfg).train()
    optimizer = build_optimizer(cfg, model)

    def iterate() -> None:
        amp = torch.autocast(model.device.type, enabled=cfg.SOLVER.AMP.ENABLED)
        with EventStorage(), amp:  # Detectron2's heads log
            loss = sum(model(clips).values())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    rate = batch / interleaved({"": iterate}, repeats)[""]
    workers, cores = cfg.DATALOADER.NUM_WORKERS, os.cpu_count()
    wanted = math.ceil(per_clip * rate)
    verdict = "model" if min(workers, cores) / per_clip >= rate else "loader"
    return (
        f"A worker loads a clip in {1000 * per_clip:.0f} ms. The model trains {rate:.2f} clips/s "
        f"on {model.device}, {batch} an iteration of {batch / rate:.2f} s. That takes "
        f"{wanted} worker{'s' * (wanted > 1)}, each with a core of its own; with "
        f"DATALOADER.NUM_WORKERS {workers} on {cores} cores the {verdict} bounds training."
    )


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLE, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--videos", nargs="+", required=True, help="clips to join")
    parser.add_argument("--folder", type=Path, required=True, help="for the movies; kept there")
    parser.add_argument("--config-file", metavar="FILE", help="say what bounds its training")
    parser.add_argument("--batch", type=int, default=8, help="clips an iteration, on this machine")
    parser.add_argument("--sizes", nargs="+", choices=SIZES, default=list(SIZES)[:1])
    parser.add_argument("--gop", type=int, default=30, help="of the movie encoded anew")
    parser.add_argument("--seconds", type=int, default=900, help="length of the movies")
    parser.add_argument("--clips", type=int, default=10, help="that each reader reads in a round")
    parser.add_argument("--repeats", type=int, default=5, help="rounds")
    parser.add_argument("opts", nargs=argparse.REMAINDER, help="KEY VALUE ... of the configuration")
    args = parser.parse_args(argv)
    torch.set_num_threads(1)
    cfg = get_cfg()
    add_avsf_config(cfg)
    cfg.merge_from_file(args.config_file or str(CONFIG))
    cfg.merge_from_list(args.opts)
    args.folder.mkdir(parents=True, exist_ok=True)
    # Whole seconds, as AVA's, at any distance from the key frame before.
    seconds = np.random.default_rng(0).integers(2, args.seconds - 2, args.clips).tolist()
    packages = [package for package in ("av", *PEERS.values()) if find_spec(package)]
    print(f"{hardware(*packages)}; one thread each; median of {args.repeats}", flush=True)
    rows, stages = [], {}
    try:
        for size in args.sizes:
            movie = args.folder / f"{size}_{args.seconds}s.mp4"
            if not movie.exists():
                make_movie(movie, args.videos, args.seconds, SIZES[size], fps=FPS)
            if args.config_file:
                print(bound(cfg, movie, seconds, args.batch, args.repeats))
                continue
            anew = movie.with_stem(f"{movie.stem}_gop{args.gop}")
            if not anew.exists():
                cut_video(movie, anew, 0, args.seconds, args.gop)
            for path in (movie, anew):
                rows += compare(path, seconds, args.repeats, cfg)
                stages[path.stem] = time_stages(cfg, path, seconds)
    except (VideoDecodeError, ValueError, OSError) as error:
        sys.exit(f"error: {error}")
    if rows:
        header = ["movie", "reader", "frames, ms", "with sound, ms", "/ ours", "/ ours"]
        print(markdown_table(header, rows))
        totals = {name: sum(times.values()) for name, times in stages.items()}
        table = [
            [
                stage,
                *(
                    f"{1000 * t[stage]:.1f} ms, {t[stage] / totals[n]:.0%}"
                    for n, t in stages.items()
                ),
            ]
            for stage in next(iter(stages.values()))
        ]
        print(markdown_table(["stage of ours", *stages], table))
    return 0


if __name__ == "__main__":
    sys.exit(main())
