#!/usr/bin/env python
"""Speed of a configuration's model, and of PyTorchVideo's SlowFast of the same depth, frames and
crop, in one run: clips per second of inference and of a training step (forward and backward).

Runs are interleaved and the median counts. Ratios are to PyTorchVideo's model as it comes, float32
and eager, or to this model in float32 where PyTorchVideo has no such model. "share" is of the
rate at which the same device multiplies two 2048 x 2048 matrices in the same number format. Weights
are random, and the same for all ways but the peer; "difference" is of scores, to float32.
"""

import argparse
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

import torch
import torch.nn.functional as F
from detectron2.config import CfgNode, get_cfg
from detectron2.modeling import build_model
from detectron2.structures import Boxes, Instances
from detectron2.utils.events import EventStorage
from torch import nn

from avsf_det import add_avsf_config
from avsf_det.export import TensorModel, export_onnx, export_program, make_inputs
from avsf_det.layers import fold_batch_norms
from avsf_det.utils.analysis import analyze_model
from avsf_det.utils.benchmark import Panel, hardware, interleaved, markdown_table, plot_growth

CONFIG = Path(__file__).resolve().parents[1] / "configs/Kinetics/slowfast_r50_4x16.yaml"
PEER = "PyTorchVideo"
BFLOAT16 = ("MODEL.AUTOCAST_DTYPE", "bfloat16")
CHANNELS_LAST = ("MODEL.CHANNELS_LAST", True)
COMPILE = ("MODEL.COMPILE", True)
MATRIX, SMALL_MATRIX = 2048, 256
GROWTH = {"frames": (16, 32, 48, 64), "crop": (112, 160, 224, 320), "boxes": (1, 10, 40, 80)}
EXAMPLE = """example:
  python ava_tools/benchmark_model.py
  python ava_tools/benchmark_model.py --export --compile
  python ava_tools/benchmark_model.py --config-file configs/AVA/avsf_r50_4x16.yaml --crop 256
  python ava_tools/benchmark_model.py --config-file configs/AVA/avsf_r50_4x16.yaml --plot x.svg"""


class Way(NamedTuple):
    """A way to run a model: what one timed call does, and what it gives for comparison."""

    dtype: torch.dtype
    call: Callable[[], object]
    output: Callable[[], torch.Tensor] | None = None


class Bench:
    """One configuration, one batch of random clips.

    Attributes:
        rates: of matrix products, multiply-adds per second by dtype; only dtypes that pay.
    """

    def __init__(self, cfg: CfgNode, crop: int, clips: int, boxes: int):
        """
        Args:
            crop: side of the frames, in pixels.
            boxes: persons per clip, for detectors.
        """
        self.cfg, self.crop, self.clips = cfg, crop, clips
        self.device = torch.device(cfg.MODEL.DEVICE)
        self.weights = self.build().model.state_dict()
        self.batch = self._make_batch(boxes * clips)
        self.macs = analyze_model(cfg, (crop, crop))["gflops"] * 1e9 * clips
        self.rates = {torch.float32: self._matmul_rate(torch.float32)}
        rate = self._matmul_rate(torch.bfloat16, SMALL_MATRIX)  # emulated, it takes for ever
        if rate > self._matmul_rate(torch.float32, SMALL_MATRIX):
            self.rates[torch.bfloat16] = self._matmul_rate(torch.bfloat16)

    def build(self, *options) -> TensorModel:
        """The model with these keys of the configuration, always with the same weights."""
        cfg = self.cfg.clone()
        cfg.merge_from_list(list(options))
        model = TensorModel(build_model(cfg))
        if hasattr(self, "weights"):
            model.model.load_state_dict(self.weights)
        return model

    def _make_batch(self, num_boxes: int) -> dict[str, torch.Tensor]:
        names = self.build().input_names
        size = (self.crop, self.crop)
        inputs = make_inputs(self.cfg, names, size, num_clips=self.clips, num_boxes=num_boxes)
        return {name: x.to(self.device) for name, x in inputs.items()}

    @torch.no_grad()
    def _matmul_rate(self, dtype: torch.dtype, size: int = MATRIX) -> float:
        a, b = (torch.randn(size, size, device=self.device).to(dtype) for _ in range(2))
        return size**3 / interleaved({"product": lambda: a @ b}, 5)["product"]

    def inference(self, options: tuple = (), fold: bool = True) -> Way:
        model = self.build(*options)
        if fold:
            fold_batch_norms(model.model)

        @torch.no_grad()
        def scores() -> torch.Tensor:
            return next(iter(model(**self.batch).values()))

        return Way(_dtype(options), scores, scores)

    def training(self, options: tuple = ()) -> Way:
        model = self.build(*options).model.train()
        clips = self._labelled_clips()

        def step() -> None:
            model.zero_grad()
            with EventStorage():
                sum(model(clips).values()).backward()

        return Way(_dtype(options), step)

    def _labelled_clips(self) -> list[dict]:
        """The batch as a training loader gives it."""
        clips = []
        for i in range(self.clips):
            clip = {name: x[i] for name, x in self.batch.items() if name != "boxes"}
            if "audio" in clip:
                clip |= {"audio_negative": clip["audio"], "has_audio_negative": True}
            clip["labels"] = {task: torch.tensor(0) for task in self.cfg.MODEL.CLIP_HEAD.TASKS}
            if "boxes" in self.batch:
                boxes = self.batch["boxes"]
                persons = Boxes(boxes[boxes[:, 0] == i, 1:])
                actions = torch.zeros(len(persons), self.cfg.MODEL.ROI_ACTION_HEAD.NUM_CLASSES)
                clip["instances"] = Instances(
                    (self.crop, self.crop),
                    gt_boxes=persons,
                    gt_classes=torch.zeros(len(persons), dtype=torch.int64),
                    gt_actions=actions,
                )
            clips.append(clip)
        return clips

    def peer(self) -> nn.Module | None:
        """PyTorchVideo's model like that of the configuration, if it has one and is installed."""
        c = self.cfg.MODEL.SLOWFAST
        if not find_spec("pytorchvideo") or (
            self.cfg.MODEL.META_ARCHITECTURE != "ClipClassifier"
            or self.cfg.MODEL.BACKBONE.NAME != "build_slowfast_backbone"
            or c.WIDTH != 64
            or c.NONLOCAL.RES3 + c.NONLOCAL.RES4
        ):
            return None
        from pytorchvideo.models.slowfast import create_slowfast  # an extra

        frames = self.cfg.INPUT.CLIP.NUM_FRAMES
        side = self.crop // 32
        return create_slowfast(
            model_depth=c.DEPTH,
            slowfast_channel_reduction_ratio=(c.BETA_INV,),
            slowfast_conv_channel_fusion_ratio=c.FUSION_RATIO,
            slowfast_fusion_conv_kernel_size=(c.FUSION_KERNEL, 1, 1),
            slowfast_fusion_conv_stride=(c.ALPHA, 1, 1),
            head_pool_kernel_sizes=((frames // c.ALPHA, side, side), (frames, side, side)),
        ).to(self.device)

    def _peer_input(self) -> list[torch.Tensor]:
        """Slow and Fast frames, normalised."""
        fast = self.batch["frames"].float() / 255
        return [fast[:, :, :: self.cfg.MODEL.SLOWFAST.ALPHA].contiguous(), fast]

    def peer_inference(self, peer: nn.Module) -> Way:
        peer, pathways = peer.eval(), self._peer_input()
        return Way(torch.float32, torch.no_grad()(lambda: peer(list(pathways))))

    def peer_training(self, peer: nn.Module) -> Way:
        pathways, labels = self._peer_input(), torch.zeros(self.clips, dtype=torch.int64)

        def step() -> None:
            peer.zero_grad()
            F.cross_entropy(peer.train()(list(pathways)), labels.to(self.device)).backward()

        return Way(torch.float32, step)

    def exported(self, folder: Path) -> Iterator[tuple[str, Way]]:
        """Exported with folded batch norms; those whose packages are installed."""
        inputs = make_inputs(self.cfg, tuple(self.batch), (self.crop, self.crop))
        for dtype in self.rates:
            name = _name(dtype)
            model = self.build(*(BFLOAT16 if dtype == torch.bfloat16 else ()))
            fold_batch_norms(model.model)
            program = export_program(model, inputs)
            yield f"AOTInductor {name}", _ahead_of_time(program, folder, dtype, self.batch)
            if self.device.type == "cpu" and find_spec("openvino"):
                yield f"OpenVINO {name}", _openvino(program, dtype, self.batch)
            if self.device.type == "cpu" and dtype == torch.float32 and find_spec("onnxruntime"):
                export_onnx(model, program, folder / "model.onnx")
                yield f"ONNX Runtime {name}", _onnx_runtime(folder / "model.onnx", self.batch)


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def _dtype(options: tuple) -> torch.dtype:
    return torch.bfloat16 if "bfloat16" in options else torch.float32


@torch.no_grad()  # or nothing is frozen
def _ahead_of_time(program, folder: Path, dtype: torch.dtype, batch: dict) -> Way:
    path = torch._inductor.aoti_compile_and_package(
        program,
        package_path=str(folder / f"{_name(dtype)}.pt2"),
        inductor_configs={"freezing": True},  # weights may be reordered
    )
    run = torch._inductor.aoti_load_package(path)
    call = torch.no_grad()(lambda: next(iter(run(**batch).values())))
    return Way(dtype, call, call)


def _openvino(program, dtype: torch.dtype, batch: dict) -> Way:
    import openvino  # an extra

    hint = {torch.float32: "f32", torch.bfloat16: "bf16"}[dtype]
    compiled = openvino.compile_model(
        openvino.convert_model(program), "CPU", {"INFERENCE_PRECISION_HINT": hint}
    )
    arrays = [x.numpy() for x in batch.values()]
    return Way(dtype, lambda: compiled(arrays), lambda: torch.from_numpy(compiled(arrays)[0]))


def _onnx_runtime(path: Path, batch: dict) -> Way:
    import onnxruntime  # an extra

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    arrays = {name: x.numpy() for name, x in batch.items()}

    def scores() -> torch.Tensor:
        return torch.from_numpy(session.run(None, arrays)[0])

    return Way(torch.float32, scores, scores)


def inference_ways(bench: Bench, compile_: bool) -> dict[str, Way]:
    """Name to way, the one that ratios refer to first."""
    ways = _references(bench)
    for name, options in _options(bench, compile_).items():
        ways[f"{name}, folded"] = bench.inference(options)
    return ways


def exported_ways(bench: Bench, folder: Path) -> dict[str, Way]:
    """As :func:`inference_ways`; apart from these, as other runtimes have threads of their own."""
    return {**_references(bench), **dict(bench.exported(folder))}


def _references(bench: Bench) -> dict[str, Way]:
    ways = {}
    if peer := bench.peer():
        ways[PEER] = bench.peer_inference(peer)
    ways["float32"] = bench.inference(fold=False)
    return ways


def training_ways(bench: Bench, compile_: bool) -> dict[str, Way]:
    """As :func:`inference_ways`."""
    ways = {}
    if peer := bench.peer():
        ways[PEER] = bench.peer_training(peer)
    for name, options in _options(bench, compile_).items():
        ways[name] = bench.training(options)
    return ways


def _options(bench: Bench, compile_: bool) -> dict[str, tuple]:
    """Name to keys of the configuration."""
    ways = {}
    for dtype in bench.rates:
        autocast = BFLOAT16 if dtype == torch.bfloat16 else ()
        name = _name(dtype)
        ways[name] = autocast
        ways[f"{name}, channels last"] = autocast + CHANNELS_LAST
        if compile_:
            ways[f"{name}, compiled"] = autocast + COMPILE
    return ways


def table(bench: Bench, ways: dict[str, Way], repeats: int, macs_factor: int) -> str:
    """
    Args:
        macs_factor: multiply-adds of a call, in those of inference.
    """
    cuda = bench.device.type == "cuda"
    seconds = interleaved({name: way.call for name, way in ways.items()}, repeats)
    base = next(iter(seconds.values()))
    expected = ways["float32"].output() if ways["float32"].output else None
    header = ["", "ms", "clips/s", "ratio", "share"]
    header += ["difference"] if expected is not None else []
    header += ["GPU MiB"] if cuda else []
    rows = []
    for name, way in ways.items():
        rate = bench.macs * macs_factor / seconds[name]
        row = [name, 1e3 * seconds[name], bench.clips / seconds[name], base / seconds[name]]
        row.append(f"{rate / bench.rates[way.dtype]:.0%}")
        if expected is not None:
            known = way.output is not None
            row.append(f"{(way.output() - expected).abs().max().item():.1g}" if known else "")
        if cuda:
            torch.cuda.reset_peak_memory_stats()
            way.call()
            row.append(f"{torch.cuda.max_memory_allocated() / 2**20:.0f}")
        rows.append(row)
    return markdown_table(header, rows)


def growth(cfg: CfgNode, crop: int, clips: int, boxes: int, repeats: int) -> list[Panel]:
    """Milliseconds of inference (folded, the configuration's number format) and of a training step
    over frames and crop and, of a detector, over boxes per clip."""
    alpha, audio_alpha = cfg.MODEL.SLOWFAST.ALPHA, cfg.MODEL.AUDIO.ALPHA
    detects = cfg.MODEL.META_ARCHITECTURE == "ActionDetector"
    panels = []
    for quantity, values in GROWTH.items():
        if quantity == "boxes" and not detects:
            continue
        curves = {"inference": [], "training step": []}
        for value in values:
            of = {"crop": crop, "boxes": boxes, "frames": cfg.INPUT.CLIP.NUM_FRAMES}
            of[quantity] = value
            changed = cfg.clone()
            changed.INPUT.CLIP.NUM_FRAMES = of["frames"]
            changed.INPUT.AUDIO.NUM_FRAMES = of["frames"] // alpha * audio_alpha
            bench = Bench(changed, of["crop"], clips, of["boxes"])
            ways = {"inference": bench.inference(), "training step": bench.training()}
            seconds = interleaved({name: way.call for name, way in ways.items()}, repeats)
            for name, x in seconds.items():
                curves[name].append(1e3 * x)
            line = ", ".join(f"{name} {1e3 * x:.0f} ms" for name, x in seconds.items())
            print(f"{quantity} {value}: {line}", flush=True)
        panels.append(Panel(quantity, "ms", values, curves))
    return panels


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLE, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--config-file", default=str(CONFIG), metavar="FILE")
    parser.add_argument("--crop", type=int, default=224, help="side of the frames (224)")
    parser.add_argument("--clips", type=int, default=1, help="batch size (1)")
    parser.add_argument("--boxes", type=int, default=10, help="persons per clip of a detector (10)")
    parser.add_argument("--repeats", type=int, default=5, help="counted rounds (5)")
    parser.add_argument("--threads", type=int, help="of PyTorch (all cores)")
    parser.add_argument("--compile", action="store_true", help="also compiled (minutes)")
    parser.add_argument("--export", action="store_true", help="also exported (minutes)")
    parser.add_argument("--plot", metavar="FILE", help="draw growth there instead of the tables")
    parser.add_argument("opts", nargs=argparse.REMAINDER, help="KEY VALUE ... of the configuration")
    args = parser.parse_args(argv)
    if args.threads:
        torch.set_num_threads(args.threads)
    warnings.filterwarnings("ignore", module="torch|copyreg|pytorchvideo")
    cfg = get_cfg()
    add_avsf_config(cfg)
    cfg.merge_from_file(args.config_file)
    cfg.merge_from_list(args.opts)
    if not torch.cuda.is_available():
        cfg.MODEL.DEVICE = "cpu"
    packages = [name for name in ("torch", "pytorchvideo", "openvino") if find_spec(name)]
    print(f"{hardware(*packages)}, {torch.get_num_threads()} threads", flush=True)
    if cfg.MODEL.DEVICE != "cpu":
        print(torch.cuda.get_device_name())
    print(f"{args.config_file}: {args.clips} x {cfg.INPUT.CLIP.NUM_FRAMES} frames of {args.crop}")
    if args.plot:
        panels = growth(cfg, args.crop, args.clips, args.boxes, args.repeats)
        plot_growth(panels, args.plot, Path(args.config_file).stem)
        return 0
    bench = Bench(cfg, args.crop, args.clips, args.boxes)
    rates = ", ".join(f"{2e-9 * rate:.0f} {_name(x)}" for x, rate in bench.rates.items())
    print(f"Matrix products: {rates} GFLOP/s")
    if torch.bfloat16 not in bench.rates:
        print("bfloat16 is slower than float32 here (no instructions for it), and left out")
    if not find_spec("pytorchvideo"):
        print(f"{PEER} is not installed: pip install -e '.[benchmark]'")
    ways = inference_ways(bench, args.compile)
    print("\nInference\n" + table(bench, ways, args.repeats, macs_factor=1), flush=True)
    ways = training_ways(bench, args.compile)
    print("\nTraining step\n" + table(bench, ways, args.repeats, macs_factor=3), flush=True)
    if args.export:
        with tempfile.TemporaryDirectory() as folder:
            ways = exported_ways(bench, Path(folder))
            print("\nExported\n" + table(bench, ways, args.repeats, macs_factor=1), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
