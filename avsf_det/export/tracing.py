"""Models with plain tensors in and out, as torch.export and ONNX want them.

Shorthands: N clips of T frames; T_a columns and F mel bins of the log-mel spectrogram; R person
boxes of all clips; K classes. N and R stay free in an exported file, all else is fixed.
"""

from pathlib import Path

import torch
from detectron2.config import CfgNode
from detectron2.structures import Boxes, Instances
from torch import nn

from ..modeling import ActionDetector, ClipClassifier
from ..structures import AVSFError

Tensors = dict[str, torch.Tensor]


class ExportError(AVSFError):
    """What was asked for cannot be exported, or came out wrong."""


class TensorModel(nn.Module):
    """An :class:`ActionDetector` or a :class:`ClipClassifier` for inference.

    Clips of a batch have the same size: nothing is padded.

    Attributes:
        input_names: those of :meth:`forward`'s arguments that the model looks at.
        output_names: of the scores that it gives.
    """

    def __init__(self, model: nn.Module):
        """Raises: ExportError if ``model`` is of another kind."""
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
        self.output_names = ("action_scores",)
        if isinstance(model, ClipClassifier):
            self.output_names = tuple(f"scores_{task}" for task in model.head.predictors)

    def forward(
        self,
        frames: torch.Tensor | None = None,
        audio: torch.Tensor | None = None,
        has_audio: torch.Tensor | None = None,
        boxes: torch.Tensor | None = None,
    ) -> Tensors:
        """
        Args:
            frames: (N, 3, T, H, W) uint8, RGB, or float32 in 0..255.
            audio: (N, 1, T_a, F) float32, log-mel.
            has_audio: (N,) bool, False where ``audio`` must have no effect.
            boxes: (R, 5) float32: index of the clip, and x1, y1, x2, y2 in pixels of ``frames``.

        Returns:
            of a detector "action_scores" (R, K); of a classifier "scores_<task>" (N, K) for each
            task. float32, 0..1.
        """
        model, x = self.model, {}
        if frames is not None:
            frames = (frames - model.pixel_mean) / model.pixel_std
            x["frames"] = frames.contiguous(memory_format=model.memory_format)
        if audio is not None:
            x["audio"] = (audio - model.audio_mean) / model.audio_std
            x["has_audio"] = has_audio
        with model.autocast():
            features = model.backbone(x)
            if boxes is None:
                scores = model.head.scores(model.head(features))
                return {f"scores_{task}": rows for task, rows in scores.items()}
            heads = model.roi_heads
            logits = heads.predictor(heads.dropout(heads.roi_features(features, boxes)))
            return {"action_scores": logits.float().sigmoid()}

    def eager(self, inputs: Tensors) -> Tensors:
        """As :meth:`forward`, by the model's own way from dicts to dicts. Boxes come clip by
        clip."""
        num_clips = len(inputs.get("frames", inputs.get("audio")))
        clips = [
            {name: inputs[name][i] for name in self.input_names if name != "boxes"}
            for i in range(num_clips)
        ]
        if "boxes" not in inputs:
            outputs = [output["scores"] for output in self.model(clips)]
            return {
                f"scores_{task}": torch.stack([x[task] for x in outputs]) for task in outputs[0]
            }
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
    """Random inputs of :class:`TensorModel`; of the clips every other one, from the second on, is
    silent.

    Args:
        cfg: of the model.
        names: of the inputs wanted.
        size: (height, width) of the frames.
        num_boxes: of all clips together.
    """
    generator = torch.Generator().manual_seed(seed)
    columns, mels = cfg.INPUT.AUDIO.NUM_FRAMES, cfg.INPUT.AUDIO.NUM_MELS
    noise = torch.randn(num_clips, 1, columns, mels, generator=generator)
    shape = (num_clips, 3, cfg.INPUT.CLIP.NUM_FRAMES, *size)
    corners = torch.rand(num_boxes, 2, 2, generator=generator).sort(dim=1).values
    corners = corners * torch.tensor([size[1], size[0]])
    clip_of = torch.arange(num_boxes) * num_clips // max(num_boxes, 1)
    inputs = {
        "frames": torch.randint(256, shape, generator=generator, dtype=torch.uint8),
        "audio": noise * cfg.MODEL.AUDIO_STD + cfg.MODEL.AUDIO_MEAN,
        "has_audio": torch.arange(num_clips) % 2 == 0,
        "boxes": torch.cat([clip_of[:, None], corners.flatten(1)], dim=1),
    }
    return {name: inputs[name] for name in names}


@torch.no_grad()
def export_program(model: TensorModel, inputs: Tensors) -> torch.export.ExportedProgram:
    """Trace the model.

    Args:
        inputs: two clips or more and, if any, two boxes or more: torch.export takes a number of one
            for fixed.
    """
    clips, persons = torch.export.Dim("clips", min=1), torch.export.Dim("persons", min=0)
    free = {name: {0: persons if name == "boxes" else clips} for name in inputs}
    return torch.export.export(model, (), kwargs=inputs, dynamic_shapes=free)


def export_onnx(model: TensorModel, program: torch.export.ExportedProgram, path: Path) -> None:
    """Write what :func:`export_program` made of the model, with its weights, to one ONNX file. Its
    inputs and outputs have the names of the model's."""
    axes = dict.fromkeys(model.input_names)
    axes[model.input_names[0]] = {0: "clips"}  # the others of that size share the name
    if "boxes" in axes:
        axes["boxes"] = {0: "persons"}
    torch.onnx.export(
        program,
        f=path,
        input_names=model.input_names,
        output_names=model.output_names,
        dynamic_shapes=axes,
        external_data=False,
        verbose=False,
    )


@torch.no_grad()
def run_file(path: Path, inputs: Tensors) -> Tensors:
    """Run an exported file, .pt2 or .onnx, on the CPU."""
    if path.suffix == ".pt2":
        return torch.export.load(path).module()(**inputs)
    import onnxruntime  # an extra: only those who export to ONNX need it

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    outputs = session.run(None, {name: x.numpy() for name, x in inputs.items()})
    names = [output.name for output in session.get_outputs()]
    return {name: torch.from_numpy(x) for name, x in zip(names, outputs, strict=True)}


@torch.no_grad()
def compare_with_eager(model: TensorModel, path: Path, inputs: Tensors) -> float:
    """The largest absolute difference between the scores of an exported file and the model's.

    Raises:
        ExportError: if the file has other outputs.
    """
    expected, found = model.eager(inputs), run_file(path, inputs)
    if expected.keys() != found.keys():
        raise ExportError(f"{path}: gives {list(found)}, and the model {list(expected)}")
    differences = [(found[name] - expected[name]).abs() for name in expected]
    return max(x.max().item() for x in differences if x.numel())
