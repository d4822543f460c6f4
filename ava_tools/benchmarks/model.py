"""Speed of a config's model beside PyTorchVideo's SlowFast of the same depth, frames and crop.

Measured are inference and a training step (forward and backward), interleaved; the median counts.
Ratios are to PyTorchVideo's model as it comes, float32 and eager, or to this model in float32 where
PyTorchVideo has no such model. "fraction" is of the rate at which the same device multiplies two
square matrices in the same number format (float32 is TF32 on a GPU). Weights are random, and the
same for all variants but the peer; "difference" is of scores, to float32.
"""

import argparse
import tempfile
import warnings
from importlib.util import find_spec
from pathlib import Path

import torch
from detectron2.config import CfgNode

from avsf_det import model_zoo
from avsf_det.engine.defaults import add_config_arguments, at_least, load_config

from .display import Panel, format_table, plot_growth
from .exported_models import export_variants
from .layers import measure_layers
from .measure import describe_hardware, time_interleaved
from .model_variants import PEER, Bench, Variant, autocast_options, name_of

CONFIG = "Kinetics/slowfast_r50_4x16.yaml"
CHANNELS_LAST = ("MODEL.CHANNELS_LAST", True)
COMPILE = ("MODEL.COMPILE", True)
GROWTH = {"frames": (16, 32, 48, 64), "crop": (112, 160, 224, 320), "boxes": (1, 10, 40, 80)}
EXAMPLES = """examples:
  python ava_tools/benchmark.py model
  python ava_tools/benchmark.py model --export --compile
  python ava_tools/benchmark.py model --layers
  python ava_tools/benchmark.py model --config-file configs/AVA/avsf_r50_4x16.yaml --crop 256
  python ava_tools/benchmark.py model --config-file configs/AVA/avsf_r50_4x16.yaml --plot x.svg"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the sub-command."""
    parser.add_argument("--crop", type=at_least(32), default=224, help="side of the frames (224)")
    parser.add_argument("--clips", type=at_least(1), default=1, help="batch size (1)")
    parser.add_argument(
        "--boxes", type=at_least(1), default=10, help="persons per clip of a detector (10)"
    )
    parser.add_argument("--repeats", type=at_least(1), default=5, help="counted rounds (5)")
    parser.add_argument("--threads", type=at_least(1), help="threads of PyTorch (all cores)")
    parser.add_argument("--compile", action="store_true", help="also compiled (minutes)")
    parser.add_argument("--export", action="store_true", help="also exported (minutes)")
    parser.add_argument(
        "--layers", action="store_true", help="instead, each convolution in its forms on a CPU"
    )
    parser.add_argument("--plot", metavar="FILE", help="draw growth there instead of the tables")
    add_config_arguments(parser, help=f"config of the model ({CONFIG})")


def run(args: argparse.Namespace) -> int:
    """Measure; print tables, or draw growth."""
    if args.threads:
        torch.set_num_threads(args.threads)
    warnings.filterwarnings("ignore", module="torch|copyreg|pytorchvideo")
    config = args.config_file or model_zoo.get_config_file(CONFIG)
    cfg = load_config(config, args.opts)
    packages = [name for name in ("torch", "pytorchvideo", "openvino") if find_spec(name)]
    print(f"{describe_hardware(*packages)}, {torch.get_num_threads()} threads", flush=True)
    if cfg.MODEL.DEVICE != "cpu":
        print(torch.cuda.get_device_name())
    print(f"{config}: {args.clips} x {cfg.INPUT.CLIP.NUM_FRAMES} frames of {args.crop}")
    if args.plot:
        panels = measure_growth(cfg, args.crop, args.clips, args.boxes, args.repeats)
        plot_growth(panels, args.plot, Path(config).stem)
        return 0
    bench = Bench(cfg, args.crop, args.clips, args.boxes)
    rates = ", ".join(f"{2e-9 * rate:.0f} {name_of(x)}" for x, rate in bench.rates.items())
    print(f"Matrix products: {rates} GFLOP/s")
    if torch.bfloat16 not in bench.rates:
        print("bfloat16 is emulated here (no instructions for it), and left out")
    if args.layers:
        for dtype in bench.rates:
            for training, title in ((False, "Inference"), (True, "Training step")):
                table = measure_layers(bench, dtype, training=training, repeats=args.repeats)
                print(f"\n{title}, {name_of(dtype)}, ms\n{table}", flush=True)
        return 0
    if not find_spec("pytorchvideo"):
        print(f"{PEER} is not installed: pip install -e '.[benchmark]'")
    variants = inference_variants(bench, args.compile)
    print("\nInference\n" + measure(bench, variants, args.repeats, macs_factor=1), flush=True)
    variants = training_variants(bench, args.compile)
    print("\nTraining step\n" + measure(bench, variants, args.repeats, macs_factor=3), flush=True)
    if args.export:
        with tempfile.TemporaryDirectory() as folder:
            variants = exported_variants(bench, Path(folder))
            report = measure(bench, variants, args.repeats, macs_factor=1)
            print("\nExported\n" + report, flush=True)
    return 0


def inference_variants(bench: Bench, compile_: bool) -> dict[str, Variant]:
    """Return variants by name; ratios refer to the first."""
    variants = _references(bench)
    for name, options in _options(bench, compile_).items():
        variants[f"{name}, folded"] = bench.inference(options)
    return variants


def exported_variants(bench: Bench, folder: Path) -> dict[str, Variant]:
    """Return exported variants by name, in a table of its own: other runtimes have own threads."""
    return {**_references(bench), **dict(export_variants(bench, folder))}


def _references(bench: Bench) -> dict[str, Variant]:
    variants: dict[str, Variant] = {}
    if peer := bench.peer():
        variants[PEER] = bench.peer_inference(peer)
    variants["float32"] = bench.inference(fold=False)
    return variants


def training_variants(bench: Bench, compile_: bool) -> dict[str, Variant]:
    """Return variants of a training step by name; ratios refer to the first."""
    variants = {}
    if peer := bench.peer():
        variants[PEER] = bench.peer_training(peer)
    for name, options in _options(bench, compile_).items():
        variants[name] = bench.training(options)
    return variants


def _options(bench: Bench, compile_: bool) -> dict[str, tuple]:
    """Return config options by the name of the variant."""
    variants: dict[str, tuple] = {}
    for dtype in bench.rates:
        autocast = autocast_options(dtype)
        name = name_of(dtype)
        variants[name] = autocast
        variants[f"{name}, channels last"] = autocast + CHANNELS_LAST
        if compile_:
            variants[f"{name}, compiled"] = autocast + COMPILE
    return variants


def measure(bench: Bench, variants: dict[str, Variant], repeats: int, macs_factor: int) -> str:
    """Time variants; return a table.

    Args:
        bench: model and batch.
        variants: variants by name; ratios refer to the first.
        repeats: rounds.
        macs_factor: multiply-adds of a call over those of inference.
    """
    cuda = bench.device.type == "cuda"
    seconds = time_interleaved({name: variant.call for name, variant in variants.items()}, repeats)
    base = next(iter(seconds.values()))
    reference = variants["float32"].output
    expected = reference() if reference else None
    header = ["", "ms", "clips/s", "ratio", "fraction"]
    header += ["difference"] if expected is not None else []
    header += ["GPU MiB"] if cuda else []
    rows = []
    for name, variant in variants.items():
        rate = bench.macs * macs_factor / seconds[name]
        row: list[object] = [
            name,
            1e3 * seconds[name],
            bench.clips / seconds[name],
            base / seconds[name],
        ]
        row.append(f"{rate / bench.rates[variant.dtype]:.0%}")
        if expected is not None:
            difference = (
                (variant.output() - expected).abs().max().item() if variant.output else None
            )
            row.append("" if difference is None else f"{difference:.1g}")
        if cuda:
            torch.cuda.reset_peak_memory_stats()
            variant.call()
            row.append(f"{torch.cuda.max_memory_allocated() / 2**20:.0f}")
        rows.append(row)
    return format_table(header, rows)


def measure_growth(cfg: CfgNode, crop: int, clips: int, boxes: int, repeats: int) -> list[Panel]:
    """Return panels of milliseconds over frames, crop and, for a detector, boxes per clip.

    Curves are inference (folded, the config's number format) and a training step.

    Args:
        cfg: config of the model.
        crop: side of the frames in pixels, where it is not varied.
        clips: number of clips in the batch.
        boxes: persons per clip, where they are not varied.
        repeats: rounds.
    """
    alpha, audio_alpha = cfg.MODEL.SLOWFAST.ALPHA, cfg.MODEL.AUDIO.ALPHA
    detects = cfg.MODEL.META_ARCHITECTURE == "ActionDetector"
    panels = []
    for quantity, values in GROWTH.items():
        if quantity == "boxes" and not detects:
            continue
        curves: dict[str, list[float]] = {"inference": [], "training step": []}
        for value in values:
            sizes = {"crop": crop, "boxes": boxes, "frames": cfg.INPUT.CLIP.NUM_FRAMES}
            sizes[quantity] = value
            changed = cfg.clone()
            changed.INPUT.CLIP.NUM_FRAMES = sizes["frames"]
            changed.INPUT.AUDIO.NUM_FRAMES = sizes["frames"] // alpha * audio_alpha
            bench = Bench(changed, sizes["crop"], clips, sizes["boxes"])
            variants = {"inference": bench.inference(), "training step": bench.training()}
            seconds = time_interleaved(
                {name: variant.call for name, variant in variants.items()}, repeats
            )
            for name, x in seconds.items():
                curves[name].append(1e3 * x)
            line = ", ".join(f"{name} {1e3 * x:.0f} ms" for name, x in seconds.items())
            print(f"{quantity} {value}: {line}", flush=True)
        panels.append(Panel(quantity, "ms", values, curves))
    return panels
