"""Time to read a training clip, by one worker with one thread, beside other readers.

With --config-file: whether loader or model bounds the training of a config on this machine.

The video is made of your clips, end to end and again: 30 frames per second, with audio, an I-frame
at every 250th frame; and re-encoded as by ``prepare_ava.py --gop``. Clips are AVA's for training,
32 of 64 frames around a second. Ours are whole model inputs with log-mel. Those of others are their
frames with the same augmentation; with audio also their samples, mono at 16 kHz where they can.
decord decodes the whole audio stream for each clip.
"""

import argparse
import functools
import math
import os
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
from detectron2.config import CfgNode
from detectron2.data import transforms as T
from detectron2.modeling import build_model
from detectron2.solver import build_optimizer
from detectron2.utils.events import EventStorage

from avsf_det import model_zoo
from avsf_det.data import KeyframeMapper, SegmentMapper
from avsf_det.data.transforms import ClipInput, build_clip_augmentations
from avsf_det.data.video.cut import cut_video
from avsf_det.engine.defaults import add_config_arguments, at_least, load_config

from .clip_timing import read_clips, time_stages
from .display import format_table
from .joined_video import join_videos
from .measure import describe_hardware, time_interleaved

CONFIG = "AVA/avsf_r50_4x16.yaml"
FPS, SIZES = 30, {"480p": (480, 854), "720p": (720, 1280)}
PEERS = {"torchcodec": "torchcodec", "decord": "decord", "EncodedVideo": "pytorchvideo"}
EXAMPLES = """examples:
  python ava_tools/benchmark.py clips --videos a.mp4 b.mp4 --folder videos
  python ava_tools/benchmark.py clips --videos a.mp4 --folder videos \\
      --config-file configs/AVA/avsf_r101_8x8.yaml --batch 2"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the sub-command."""
    parser.add_argument("--videos", nargs="+", required=True, help="clips to join")
    parser.add_argument("--folder", type=Path, required=True, help="for the joined videos; kept")
    parser.add_argument("--batch", type=at_least(1), default=8, help="clips per iteration (8)")
    parser.add_argument("--sizes", nargs="+", choices=SIZES, default=list(SIZES)[:1])
    parser.add_argument("--gop", type=at_least(1), default=30, help="of the re-encoded video (30)")
    parser.add_argument(
        "--seconds", type=at_least(1), default=900, help="length of a joined video (900)"
    )
    parser.add_argument(
        "--clips", type=at_least(1), default=10, help="clips of each reader in a round (10)"
    )
    parser.add_argument("--repeats", type=at_least(1), default=5, help="rounds (5)")
    add_config_arguments(parser, help="report what bounds the training of this config")


def run(args: argparse.Namespace) -> int:
    """Measure and print."""
    torch.set_num_threads(1)
    cfg = load_config(args.config_file or model_zoo.get_config_file(CONFIG), args.opts)
    args.folder.mkdir(parents=True, exist_ok=True)
    # Whole seconds, as AVA's, at any distance from the I-frame before.
    seconds = np.random.default_rng(0).integers(2, args.seconds - 2, args.clips).tolist()
    packages = [package for package in ("av", *PEERS.values()) if find_spec(package)]
    print(f"{describe_hardware(*packages)}; one thread each; median of {args.repeats}", flush=True)
    rows: list[list] = []
    stages: dict[str, dict[str, float]] = {}
    for size in args.sizes:
        video = args.folder / f"{size}_{args.seconds}s.mp4"
        if not video.exists():
            join_videos(video, args.videos, args.seconds, SIZES[size], fps=FPS)
        if args.config_file:
            print(describe_bound(cfg, video, seconds, args.batch, args.repeats))
            continue
        re_encoded = video.with_stem(f"{video.stem}_gop{args.gop}")
        if not re_encoded.exists():
            cut_video(video, re_encoded, 0, args.seconds, args.gop)
        for path in (video, re_encoded):
            rows += compare(path, seconds, args.repeats, cfg)
            stages[path.stem] = time_stages(cfg, path, seconds)
    if rows:
        header = ["video", "reader", "frames, ms", "with audio, ms", "/ ours", "/ ours"]
        print(format_table(header, rows))
        print(format_table(["stage of ours", *stages], tabulate_stages(stages)))
    return 0


def tabulate_stages(stages: dict[str, dict[str, float]]) -> list[list[str]]:
    """Return rows of stage, then milliseconds and percentage for each video."""
    totals = {name: sum(times.values()) for name, times in stages.items()}
    return [
        [
            stage,
            *(f"{1000 * t[stage]:.1f} ms, {t[stage] / totals[n]:.0%}" for n, t in stages.items()),
        ]
        for stage in next(iter(stages.values()))
    ]


def read_with_peer(name: str, path: str, times: np.ndarray, with_audio: bool) -> np.ndarray:
    """Return frames uint8 (T, H, W, 3) at T times in seconds; read and drop their audio."""
    start, end = times[0], times[-1] + times[1] - times[0]
    if name == "torchcodec":
        from torchcodec.decoders import AudioDecoder, VideoDecoder

        if with_audio:
            decoder = AudioDecoder(path, sample_rate=16000, num_channels=1)
            decoder.get_samples_played_in_range(start, end)
        options = {"num_ffmpeg_threads": 1, "seek_mode": "approximate", "dimension_order": "NHWC"}
        # A little later, lest rounding gives the frame before.
        return VideoDecoder(path, **options).get_frames_played_at(times + 1e-4).data.numpy()
    if name == "decord":
        import decord

        if with_audio:
            samples = decord.AudioReader(path, sample_rate=16000, mono=True)
            samples[round(start * 16000) : round(end * 16000)].asnumpy()
        reader = decord.VideoReader(path, num_threads=1)
        return reader.get_batch(np.round(times * FPS).astype(int)).asnumpy()
    from pytorchvideo.data.encoded_video import EncodedVideo

    video = EncodedVideo.from_path(path, decode_audio=with_audio, decoder="pyav")
    frames = video.get_clip(start - 1e-4, end - 1e-4)["video"]
    video.close()
    step = round((times[1] - times[0]) * FPS)
    return frames[:, ::step].permute(1, 2, 3, 0).byte().numpy()


def compare(path: Path, seconds: list[int], repeats: int, cfg: CfgNode) -> list[list]:
    """Return rows of reader, milliseconds per clip without and with audio, and both over ours."""
    mapper, muted = (KeyframeMapper(cfg, is_train=True) for _ in range(2))
    muted.clip_reader.mute = True
    augmentations = build_clip_augmentations(cfg, is_train=True)
    around = np.arange(-16, 16) * 2 / FPS

    def read_with(name: str, with_audio: bool) -> None:
        for second in seconds:
            clip = ClipInput(read_with_peer(name, str(path), second + around, with_audio))
            T.AugmentationList(augmentations)(clip)
            np.ascontiguousarray(clip.image.transpose(3, 0, 1, 2))

    readers: dict[tuple[str, bool], Callable[[], object]] = {
        ("avsf_det", False): lambda: read_clips(muted, path, seconds),
        ("avsf_det", True): lambda: read_clips(mapper, path, seconds),
    }
    for name, package in PEERS.items():
        if find_spec(package) is None:
            print(f'{package} is not installed: pip install -e ".[benchmark]"')
            continue
        for with_audio in (False, True):
            readers[name, with_audio] = functools.partial(read_with, name, with_audio)
    medians = time_interleaved(readers, repeats)
    ms = {reader: 1000 * duration / len(seconds) for reader, duration in medians.items()}
    ours = ms["avsf_det", False], ms["avsf_det", True]
    rows: list[list] = [
        [name, ms[name, False], ms[name, True]] for name, with_audio in ms if with_audio
    ]
    return [[path.stem, *row, row[1] / ours[0], row[2] / ours[1]] for row in rows]


def describe_bound(cfg: CfgNode, path: Path, seconds: list[int], batch: int, repeats: int) -> str:
    """Return a sentence on what bounds training: the loader or the model."""
    mapper: KeyframeMapper | SegmentMapper
    if cfg.INPUT.KIND == "keyframes":
        mapper = KeyframeMapper(cfg, is_train=True)
    else:
        mapper = SegmentMapper(cfg, is_train=True)
    clips = read_clips(mapper, path, (seconds * batch)[:batch])
    loading = time_interleaved({"": lambda: read_clips(mapper, path, seconds)}, repeats)[""]
    per_clip = loading / len(seconds)
    torch.set_num_threads(os.cpu_count() or 1)
    model = build_model(cfg).train()
    optimizer = build_optimizer(cfg, model)

    def iterate() -> None:
        amp = torch.autocast(model.device.type, enabled=cfg.SOLVER.AMP.ENABLED)
        with EventStorage(), amp:  # Detectron2's heads log
            loss = sum(model(clips).values())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    rate = batch / time_interleaved({"": iterate}, repeats)[""]
    workers, cores = cfg.DATALOADER.NUM_WORKERS, os.cpu_count()
    wanted = math.ceil(per_clip * rate)
    verdict = "model" if min(workers, cores) / per_clip >= rate else "loader"
    return (
        f"A worker loads a clip in {1000 * per_clip:.0f} ms. The model trains {rate:.2f} clips/s "
        f"on {model.device}, {batch} an iteration of {batch / rate:.2f} s. That takes "
        f"{wanted} worker{'s' * (wanted > 1)}, each with a core of its own; with "
        f"DATALOADER.NUM_WORKERS {workers} on {cores} cores the {verdict} bounds training."
    )
