"""Table of training and testing speed on a GPU: number formats, channels last, compiled.

Training steps (forward and backward) start from uint8 clips on the CPU, 224 x 224; tests have
folded batch norms and frames of 256 x 256 on the GPU; detectors have 10 persons per clip.
"fraction" is of the rate of a plain matrix product in the same number format; float32 is TF32.
"largest" is the largest batch of 2^n clips that trains in bfloat16. Rows that do not fit into the
time are left out: those that tell least are measured last. Without a GPU, the CPU is measured.
"""

import argparse
import gc
import sys
import time
import traceback
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

import torch

from avsf_det import model_zoo
from avsf_det.engine.defaults import at_least, load_config
from avsf_det.utils.atomic import atomic_path

from .display import format_table
from .measure import describe_hardware, time_interleaved
from .model_variants import PEER, Bench, Variant, autocast_options, name_of

CONFIGS = [
    *("AVA/avsf_r50_4x16.yaml", "AVA/avsf_r101_8x8.yaml", "Kinetics/avsf_r50_4x16.yaml"),
    "Kinetics/slowfast_r50_4x16.yaml",  # the one that PyTorchVideo has, too
]
CHANNELS_LAST = ("MODEL.CHANNELS_LAST", True)
COMPILED = (*CHANNELS_LAST, "MODEL.COMPILE", True)
BOXES = 10
MAX_CLIPS = 1024
COLUMNS = ["train clips/s", "fraction", "GiB", "test clips/s", "fraction", "GiB", "largest"]
EXAMPLES = """examples:
  python ava_tools/benchmark.py cuda --output table.md
  python ava_tools/benchmark.py cuda --configs mini/avsf_mini.yaml --crop 32 --clips 1"""


class Row(NamedTuple):
    """Way to run a config's model: config options, or a number format of PyTorchVideo's."""

    config: str
    name: str
    options: tuple
    peer_dtype: torch.dtype | None = None


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the sub-command."""
    parser.add_argument("--configs", nargs="+", default=CONFIGS, help="names in configs/")
    parser.add_argument("--crop", type=at_least(32), default=224, help="side for training (224)")
    parser.add_argument("--clips", type=at_least(1), default=8, help="batch size (8)")
    parser.add_argument("--repeats", type=at_least(1), default=5, help="steps that count (5)")
    parser.add_argument("--seconds", type=at_least(0), default=330, help="time for rows (330)")
    parser.add_argument("--output", metavar="FILE", help="also write the table there")


def run(args: argparse.Namespace) -> int:
    """Measure row by row; print and write the table."""
    deadline = time.monotonic() + args.seconds
    benches: dict[str, tuple[Bench, Bench]] = {}  # for training and for testing
    for config in args.configs:
        cfg = load_config(model_zoo.get_config_file(config))
        benches[config] = (
            Bench(cfg, args.crop, args.clips, BOXES),
            Bench(cfg, args.crop * 8 // 7, args.clips, BOXES),  # 256 for 224
        )
    train, _ = benches[args.configs[0]]
    packages = [name for name in ("torch", "pytorchvideo") if find_spec(name)]
    title = f"{describe_hardware(*packages)}, batches of {args.clips} clips"
    if train.device.type == "cuda":
        title = f"{torch.cuda.get_device_name()}, {title}"
    rates = ", ".join(f"{2e-12 * x:.1f} {name_of(dtype)}" for dtype, x in train.rates.items())
    title += f". Matrix products: {rates} TFLOP/s"
    print(title, flush=True)
    lines: list[list[str]] = []
    skipped, table = 0, ""
    for row in list_rows(benches):
        if time.monotonic() > deadline:
            skipped += 1
        else:
            cells = measure_row(row, *benches[row.config], args.repeats)
            lines.append([row.config.removesuffix(".yaml"), row.name, *cells])
            print(*lines[-1], sep=" | ", flush=True)
            lines.sort(key=lambda line: args.configs.index(f"{line[0]}.yaml"))  # keeps their order
        table = f"{title}\n\n{format_table(['config', 'format', *COLUMNS], lines)}\n"
        table += f"\n{skipped} rows did not fit into {args.seconds} seconds.\n" if skipped else ""
        if args.output:  # after each row: what ends the process early loses none before
            with atomic_path(args.output) as temporary:
                Path(temporary).write_text(table, encoding="utf-8")
    print(f"\n{table}", flush=True)
    return 0


def list_rows(benches: dict[str, tuple[Bench, Bench]]) -> Iterator[Row]:
    """Yield the rows, those that tell most first; compiling takes minutes."""
    train, _ = next(iter(benches.values()))
    steps = [(torch.bfloat16, False), (torch.float32, False), (torch.bfloat16, True)]
    steps += [(torch.float16, False), (torch.float16, True), (torch.float32, True)]
    for dtype, is_compiled in steps:
        if dtype not in train.rates or (is_compiled and train.device.type != "cuda"):
            continue
        name, options = name_of(dtype), autocast_options(dtype)
        for config, (bench, _) in benches.items():
            if is_compiled:
                yield Row(config, f"{name}, channels last, compiled", options + COMPILED)
                continue
            yield Row(config, name, options)
            yield Row(config, f"{name}, channels last", options + CHANNELS_LAST)
            if dtype != torch.float16 and bench.peer():
                yield Row(config, f"{PEER} {name}", (), dtype)


def measure_row(row: Row, train: Bench, test: Bench, repeats: int) -> list[str]:
    """Return the cells of a row; an error stands in its cell, and the others are measured."""
    cells: list[str] = []
    for bench, is_train in ((train, True), (test, False)):
        # As in the recipes: cuDNN searches for the fastest kernels in training alone.
        torch.backends.cudnn.benchmark = is_train
        try:
            cells += measure(bench, build_variant(row, bench, is_train), 1 + 2 * is_train, repeats)
        # Errors of compilers have no common base, and must not cost the rows that follow. Each is
        # shown whole here and in short in the table.
        except Exception as error:
            error_text = traceback.format_exc()
            print(f"{row.config}, {row.name}: {error_text}", file=sys.stderr, flush=True)
            cells += [" ".join(str(error).split())[:60], "", ""]
        free_memory()
    torch.backends.cudnn.benchmark = False
    # The search takes a while, so it is made in one format.
    fastest = autocast_options(torch.bfloat16) + CHANNELS_LAST
    is_searched = train.device.type == "cuda" and row.options == fastest
    return [*cells, str(find_largest_batch(train, row.options)) if is_searched else ""]


def build_variant(row: Row, bench: Bench, is_train: bool) -> Variant:
    """Return the call that a row measures."""
    if row.peer_dtype is None:
        return (bench.training if is_train else bench.inference)(row.options)
    peer = bench.peer()
    assert peer is not None  # for mypy: list_rows has asked
    return (bench.peer_training if is_train else bench.peer_inference)(peer, row.peer_dtype)


def measure(bench: Bench, variant: Variant, factor: int, repeats: int) -> list[str]:
    """Return clips/s, fraction of the matrix product's rate, and GiB of the peak, on a GPU.

    Args:
        bench: model and batch.
        variant: the timed call.
        factor: multiply-adds of the call over those of inference.
        repeats: number of calls that count.
    """
    is_cuda = bench.device.type == "cuda"
    if is_cuda:
        torch.cuda.reset_peak_memory_stats()
    seconds = time_interleaved({"": variant.call}, repeats, warmup=2)[""]
    fraction = bench.macs * factor / seconds / bench.rates[variant.dtype]
    peak = f"{torch.cuda.max_memory_allocated() / 2**30:.1f}" if is_cuda else ""
    return [f"{bench.clips / seconds:.2f}", f"{fraction:.0%}", peak]


def find_largest_batch(bench: Bench, options: tuple) -> int:
    """Return the largest 2^n of clips whose training step fits into the GPU's memory."""
    before, largest, clips = bench.clips, 0, 4
    while clips <= MAX_CLIPS:
        bench.resize(clips)
        try:
            bench.training(options).call()
        except RuntimeError:  # torch.OutOfMemoryError, or cuDNN's for the same reason
            break
        finally:
            free_memory()
        largest, clips = clips, 2 * clips
    bench.resize(before)
    free_memory()
    return largest


def free_memory() -> None:
    """Free the models of the last row, and what was compiled for them."""
    torch.compiler.reset()
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
