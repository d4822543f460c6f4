"""Models with plain tensors as inputs and outputs, as torch.export and ONNX require.

Shorthands: N clips of T frames; T_a time steps and F mel bins of the log-mel spectrogram; R person
boxes of all clips; K classes. An exported file accepts any N and R, and that of a detector in ONNX
any H and W; all other sizes are fixed.
"""

from pathlib import Path
from typing import Any

import torch
from detectron2.config import CfgNode
from detectron2.structures import Boxes, Instances
from torch import nn

from ..modeling import ActionDetector, ClipClassifier
from ..structures import AVSFError

Tensors = dict[str, torch.Tensor]


class ExportError(AVSFError):
    """Model that cannot be exported, or exported file that is wrong."""


class TensorModel(nn.Module):
    """:class:`ActionDetector` or :class:`ClipClassifier` for inference.

    The clips of a batch have the same size; nothing is padded.

    Args:
        model: the model; it is set to evaluation mode.

    Attributes:
        input_names: names of the arguments of :meth:`forward` that the model uses.
        output_names: names of the scores that :meth:`forward` returns.

    Raises:
        ExportError: the model is of another class.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        if not isinstance(model, (ActionDetector, ClipClassifier)):
            raise ExportError(
                f"{type(model).__name__} cannot be exported; ActionDetector and ClipClassifier can"
            )
        self.model = model.eval()
        pathways = model.backbone.pathways
        self.input_names = tuple(
            name
            for name, is_used in {
                "frames": not pathways.keys().isdisjoint(("slow", "fast")),
                "audio": "audio" in pathways,
                "has_audio": "audio" in pathways,
                "boxes": isinstance(model, ActionDetector),
            }.items()
            if is_used
        )
        self.output_names: tuple[str, ...] = ("action_scores",)
        if isinstance(model, ClipClassifier):
            self.output_names = tuple(f"scores_{task}" for task in model.head.predictors)

    def forward(
        self,
        frames: torch.Tensor | None = None,
        audio: torch.Tensor | None = None,
        has_audio: torch.Tensor | None = None,
        boxes: torch.Tensor | None = None,
    ) -> Tensors:
        """Compute the scores of a batch.

        Args:
            frames: RGB frames (N, 3, T, H, W), uint8, or float32 in 0..255.
            audio: log-mel spectrograms (N, 1, T_a, F), float32.
            has_audio: mask (N,), bool; False where ``audio`` must have no effect.
            boxes: person boxes (R, 5), float32: index of the clip, then x1, y1, x2, y2 in pixels
                of ``frames``.

        Returns:
            scores, float32, 0..1: "action_scores" (R, K) of a detector; "scores_<task>" (N, K) for
            each task of a classifier.
        """
        model = self.model
        x: Tensors = {}
        if frames is not None:
            frames = (frames - model.pixel_mean) / model.pixel_std
            x["frames"] = frames.contiguous(memory_format=model.memory_format)
        if audio is not None:
            x["audio"] = (audio - model.audio_mean) / model.audio_std
            assert has_audio is not None
            x["has_audio"] = has_audio
        with model.autocast():
            features = model.backbone(x)
            if boxes is None:  # a classifier
                scores = model.head.scores(model.head(features))
                return {f"scores_{task}": rows for task, rows in scores.items()}
            # A list of boxes per clip would fix their number; a clip index in each box does not.
            heads = model.roi_heads
            logits = heads.predictor(heads.dropout(heads.roi_features(features, boxes)))
            return {"action_scores": logits.float().sigmoid()}

    def eager(self, inputs: Tensors) -> Tensors:
        """Return what :meth:`forward` returns, computed by the model's own forward on dicts.

        Args:
            inputs: arguments of :meth:`forward` by name; the boxes are sorted by clip.
        """
        num_clips = len(inputs["frames"] if "frames" in inputs else inputs["audio"])
        clips = [
            {name: inputs[name][i] for name in self.input_names if name != "boxes"}
            for i in range(num_clips)
        ]
        if "boxes" not in inputs:
            outputs = [output["scores"] for output in self.model(clips)]
            return {
                f"scores_{task}": torch.stack([x[task] for x in outputs]) for task in outputs[0]
            }
        # A detector takes the boxes as the proposals of each clip.
        for i, clip in enumerate(clips):
            boxes = inputs["boxes"][inputs["boxes"][:, 0] == i, 1:]
            clip["proposals"] = Instances(
                tuple(clip["frames"].shape[2:]),
                proposal_boxes=Boxes(boxes),
                objectness_logits=torch.ones(len(boxes)),
            )
        scores = [output["instances"].action_scores for output in self.model(clips)]
        return {"action_scores": torch.cat(scores)}


def make_inputs(
    cfg: CfgNode,
    names: tuple[str, ...],
    size: tuple[int, int],
    *,
    num_clips: int = 2,
    num_boxes: int = 3,
    seed: int = 0,
) -> Tensors:
    """Make random inputs of :class:`TensorModel`, in which every second clip has no audio.

    Args:
        cfg: config of the model.
        names: names of the inputs to return.
        size: (height, width) of the frames in pixels.
        num_clips: number of clips N.
        num_boxes: number of boxes R of all clips together.
        seed: seed of the random numbers.
    """
    generator = torch.Generator().manual_seed(seed)
    num_steps, num_mels = cfg.INPUT.AUDIO.NUM_FRAMES, cfg.INPUT.AUDIO.NUM_MELS
    noise = torch.randn(num_clips, 1, num_steps, num_mels, generator=generator)
    shape = (num_clips, 3, cfg.INPUT.CLIP.NUM_FRAMES, *size)
    # (R, 2, 2): sorted along axis 1, so that x1 < x2 and y1 < y2.
    corners = torch.rand(num_boxes, 2, 2, generator=generator).sort(dim=1).values
    corners = corners * torch.tensor([size[1], size[0]])
    # (R,): box r belongs to clip floor(r N / R), so the boxes are sorted by clip.
    clip_of = torch.arange(num_boxes) * num_clips // max(num_boxes, 1)
    inputs = {
        "frames": torch.randint(256, shape, generator=generator, dtype=torch.uint8),
        "audio": noise * cfg.MODEL.AUDIO_STD + cfg.MODEL.AUDIO_MEAN,
        "has_audio": torch.arange(num_clips) % 2 == 0,
        "boxes": torch.cat([clip_of[:, None], corners.flatten(1)], dim=1),
    }
    return {name: inputs[name] for name in names}


@torch.no_grad()
def export_program(
    model: TensorModel, inputs: Tensors, *, free_size: bool = False
) -> torch.export.ExportedProgram:
    """Trace the model.

    Args:
        model: the model.
        inputs: inputs with two or more clips and, if any, two or more boxes: torch.export treats an
            axis of length 1 as fixed.
        free_size: whether height and width of the frames are free multiples of 4: the shape
            function of max-pooling in torch tells even lengths from odd ones. The size of
            ``inputs`` is a multiple of 4 then. ONNX files take other sizes too.
    """
    clips, persons = torch.export.Dim("clips", min=1), torch.export.Dim("persons", min=0)
    free: dict[str, dict[int, Any]] = {
        name: {0: persons if name == "boxes" else clips} for name in inputs
    }
    if free_size:
        quarters = (torch.export.Dim(f"quarter_{side}", min=8) for side in ("height", "width"))
        free["frames"] |= {axis: 4 * dim for axis, dim in zip((3, 4), quarters, strict=True)}
    return torch.export.export(model, (), kwargs=inputs, dynamic_shapes=free)


def export_onnx(
    model: TensorModel,
    program: torch.export.ExportedProgram,
    path: Path,
    *,
    free_size: bool = False,
) -> None:
    """Write a traced model, with its weights, to one ONNX file.

    Args:
        model: the model, which gives the names of inputs and outputs.
        program: result of :func:`export_program` for the model.
        path: file to write.
        free_size: as for :func:`export_program`.
    """
    axes: dict[str, dict[int, str] | None] = dict.fromkeys(model.input_names)
    axes[model.input_names[0]] = {0: "clips"}  # inputs of the same length share this name
    if "boxes" in axes:
        axes["boxes"] = {0: "persons"}
    if free_size:
        axes["frames"] = {0: "clips", 3: "height", 4: "width"}
    torch.onnx.export(
        program,
        f=path,
        input_names=model.input_names,
        output_names=model.output_names,
        dynamic_shapes=axes,
        external_data=False,
        verbose=False,
    )
