"""A config's model, and PyTorchVideo's like it, on one batch of random clips."""

from collections.abc import Callable
from functools import cache
from importlib.util import find_spec
from typing import NamedTuple

import torch
import torch.nn.functional as F
from detectron2.config import CfgNode
from detectron2.modeling import build_model
from detectron2.structures import Boxes, Instances
from detectron2.utils.events import EventStorage
from torch import nn

from ava_tools.measurement.analysis import analyze_model
from avsf_det.export import TensorModel, make_inputs
from avsf_det.layers import fold_batch_norms

from .measure import time_interleaved

PEER = "PyTorchVideo"
MATRIX, SMALL_MATRIX, CUDA_MATRIX = 2048, 256, 8192
EMULATED = 10  # a number format that is so many times slower than float32 is emulated


def name_of(dtype: torch.dtype) -> str:
    """Return the name of a number format, such as "float32"."""
    return str(dtype).removeprefix("torch.")


def autocast_options(dtype: torch.dtype) -> tuple:
    """Return the config options of a number format."""
    return () if dtype == torch.float32 else ("MODEL.AUTOCAST_DTYPE", name_of(dtype))


def dtype_of(options: tuple) -> torch.dtype:
    """Return the number format that config options ask for."""
    asked = [dtype for dtype in (torch.bfloat16, torch.float16) if name_of(dtype) in options]
    return asked[0] if asked else torch.float32


@cache  # so that all models of a run are measured in the same number formats
@torch.no_grad()
def matmul_rates(device: torch.device) -> dict[torch.dtype, float]:
    """Return the multiply-adds per second of a matrix product, by number format.

    On a CPU bfloat16 is left out where it is emulated. On a GPU there is float16 too, and float32
    is TF32.
    """
    dtypes, size = [torch.float32, torch.bfloat16], MATRIX
    if device.type == "cuda":
        # TF32 in matrix products too, as it is cuDNN's default: rates compare like with like.
        torch.set_float32_matmul_precision("high")
        dtypes.append(torch.float16)
        size = CUDA_MATRIX  # launching smaller products takes longer than computing them
    else:
        full, half = (_matmul_rate(x, SMALL_MATRIX, device) for x in dtypes)
        # Emulated it is 500 times slower, and a larger product would take minutes. A busy moment
        # of a machine that has the instructions costs less than the factor.
        if half < full / EMULATED:
            dtypes.remove(torch.bfloat16)
    return {dtype: _matmul_rate(dtype, size, device) for dtype in dtypes}


def _matmul_rate(dtype: torch.dtype, size: int, device: torch.device) -> float:
    a, b = (torch.randn(size, size, device=device).to(dtype) for _ in range(2))
    return size**3 / time_interleaved({"product": lambda: a @ b}, 5)["product"]


class Variant(NamedTuple):
    """One of several ways to run a model.

    Attributes:
        dtype: number format that the model computes in.
        call: the timed call.
        output: returns the scores, to compare them with those of other variants.
    """

    dtype: torch.dtype
    call: Callable[[], object]
    output: Callable[[], torch.Tensor] | None = None


class Bench:
    """Variants of the model of one config, on one batch of random clips.

    Attributes:
        weights: state dict that all variants share.
        batch: model inputs by name.
        macs: multiply-adds of one inference of the batch.
        rates: see `matmul_rates`.

    Args:
        cfg: config of a detector or classifier.
        crop: side of the frames, in pixels.
        clips: number of clips N in the batch.
        boxes: persons per clip, for detectors.
    """

    def __init__(self, cfg: CfgNode, crop: int, clips: int, boxes: int) -> None:
        self.cfg, self.crop, self.clips = cfg, crop, clips
        self.device = torch.device(cfg.MODEL.DEVICE)
        self.weights: dict[str, torch.Tensor] = {}
        # On the CPU, so that the peak memory of a row is of its model alone.
        self.weights = {name: x.cpu() for name, x in self.build().model.state_dict().items()}
        self.batch = self._make_batch(boxes * clips)
        self.macs = analyze_model(cfg, (crop, crop))["gflops"] * 1e9 * clips
        self.rates = matmul_rates(self.device)

    def resize(self, clips: int) -> None:
        """Change the number of clips in the batch; each keeps its number of boxes."""
        num_boxes = len(self.batch.get("boxes", ())) * clips // self.clips
        self.macs = self.macs * clips / self.clips
        self.clips = clips
        self.batch = self._make_batch(num_boxes)

    def build(self, *options: object) -> TensorModel:
        """Build the model with KEY, VALUE, ... options, always with the same weights."""
        cfg = self.cfg.clone()
        cfg.merge_from_list(list(options))
        model = TensorModel(build_model(cfg))
        if self.weights:
            model.model.load_state_dict(self.weights)
        return model

    def _make_batch(self, num_boxes: int) -> dict[str, torch.Tensor]:
        names = self.build().input_names
        size = (self.crop, self.crop)
        inputs = make_inputs(self.cfg, names, size, num_clips=self.clips, num_boxes=num_boxes)
        return {name: x.to(self.device) for name, x in inputs.items()}

    def inference(self, options: tuple = (), fold: bool = True) -> Variant:
        """Return inference with config options, by default with folded batch norms."""
        model = self.build(*options)
        if fold:
            fold_batch_norms(model.model, model.model.autocast_dtype)

        @torch.no_grad()
        def scores() -> torch.Tensor:
            return next(iter(model(**self.batch).values()))

        return Variant(dtype_of(options), scores, scores)

    def training(self, options: tuple = ()) -> Variant:
        """Return a training step (forward and backward) with config options."""
        model = self.build(*options).model.train()
        clips, dtype = self._labelled_clips(), dtype_of(options)
        is_half = dtype == torch.float16
        scaler = torch.amp.GradScaler(self.device.type, enabled=is_half)

        def step() -> None:
            model.zero_grad()
            with EventStorage(), torch.autocast(self.device.type, dtype, enabled=is_half):
                losses = model(clips)
            scaler.scale(sum(losses.values())).backward()

        return Variant(dtype, step)

    def _labelled_clips(self) -> list[dict]:
        """Return the batch as the training loader gives it, on the CPU."""
        clips, batch = [], {name: x.cpu() for name, x in self.batch.items()}
        for i in range(self.clips):
            clip: dict = {name: x[i] for name, x in batch.items() if name != "boxes"}
            if "audio" in clip:
                clip["has_audio"] = bool(clip["has_audio"])
                clip |= {"audio_negative": clip["audio"], "has_audio_negative": True}
            clip["labels"] = {task: torch.tensor(0) for task in self.cfg.MODEL.CLIP_HEAD.TASKS}
            if "boxes" in batch:
                boxes = batch["boxes"]
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
        """Return PyTorchVideo's model like that of the config, if it has one and is installed."""
        slowfast = self.cfg.MODEL.SLOWFAST
        if not find_spec("pytorchvideo") or (
            self.cfg.MODEL.META_ARCHITECTURE != "ClipClassifier"
            or self.cfg.MODEL.BACKBONE.NAME != "build_slowfast_backbone"
            or slowfast.WIDTH != 64
            or slowfast.NONLOCAL.RES3 + slowfast.NONLOCAL.RES4
        ):
            return None
        from pytorchvideo.models.slowfast import create_slowfast  # an extra

        frames = self.cfg.INPUT.CLIP.NUM_FRAMES
        side = self.crop // 32
        return create_slowfast(
            model_depth=slowfast.DEPTH,
            slowfast_channel_reduction_ratio=(slowfast.BETA_INV,),
            slowfast_conv_channel_fusion_ratio=slowfast.FUSION_RATIO,
            slowfast_fusion_conv_kernel_size=(slowfast.FUSION_KERNEL, 1, 1),
            slowfast_fusion_conv_stride=(slowfast.ALPHA, 1, 1),
            head_pool_kernel_sizes=((frames // slowfast.ALPHA, side, side), (frames, side, side)),
        ).to(self.device)

    def _peer_input(self) -> list[torch.Tensor]:
        """Return the frames of the Slow and of the Fast pathway, scaled to 0..1."""
        fast = self.batch["frames"].float() / 255
        return [fast[:, :, :: self.cfg.MODEL.SLOWFAST.ALPHA].contiguous(), fast]

    def peer_inference(self, peer: nn.Module, dtype: torch.dtype = torch.float32) -> Variant:
        """Return inference of PyTorchVideo's model on the batch."""
        peer, pathways = peer.eval(), self._peer_input()

        @torch.no_grad()
        def scores() -> torch.Tensor:
            with torch.autocast(self.device.type, dtype, enabled=dtype != torch.float32):
                return peer(list(pathways))

        return Variant(dtype, scores)

    def peer_training(self, peer: nn.Module, dtype: torch.dtype = torch.float32) -> Variant:
        """Return a training step of PyTorchVideo's model on the batch."""
        pathways, labels = self._peer_input(), torch.zeros(self.clips, dtype=torch.int64)

        def step() -> None:
            peer.zero_grad()
            with torch.autocast(self.device.type, dtype, enabled=dtype != torch.float32):
                scores = peer.train()(list(pathways))
            F.cross_entropy(scores.float(), labels.to(self.device)).backward()

        return Variant(dtype, step)
