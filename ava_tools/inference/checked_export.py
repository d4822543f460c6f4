"""Export a trained model to a file, and compare the file with the model before it gets its name."""

import io
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from detectron2.config import CfgNode
from detectron2.modeling import build_model

from avsf_det.engine.defaults import load_weights
from avsf_det.export import (
    ExportError,
    TensorModel,
    export_onnx,
    export_program,
    make_inputs,
)
from avsf_det.layers import fold_batch_norms
from avsf_det.utils.atomic import atomic_path, replace_atomic, write_atomic

from .onnx_metadata import add_metadata, make_metadata

TOLERANCE = 1e-4
# (clips, boxes) of the comparisons; the model is traced with other numbers.
BATCHES = ((1, 1), (3, 5))
_ODD = 13, 7  # rows and columns by which frames of a free size are larger in the comparisons


def load_tensor_model(cfg: CfgNode) -> TensorModel:
    """Build the model of a config for export, with MODEL.WEIGHTS and folded batch norms.

    Raises:
        CheckpointError: a part of the model has no weights.
        ExportError: the model cannot be exported.
    """
    model = TensorModel(build_model(cfg))
    load_weights(model.model, cfg)
    fold_batch_norms(model.model)
    return model


def export_checked(
    model: TensorModel,
    cfg: CfgNode,
    output: Path,
    size: tuple[int, int] | None = None,
    classes: Mapping[str, Sequence[str]] | None = None,
) -> tuple[float, dict[str, str]]:
    """Write ``output`` and compare its scores with the model's.

    Args:
        model: the model.
        cfg: its config.
        output: .pt2 or .onnx to write.
        size: (height, width) of the frames in pixels; None: any in an .onnx of a detector, else
            that of INPUT.MIN_SIZE_TEST, square or, with boxes, 16:9.
        classes: task to class names, for the metadata of an .onnx; None: not known.

    Returns:
        the largest difference between scores, and name to type and shape of the file's inputs.

    Raises:
        ExportError: the difference is more than TOLERANCE; the file then keeps the name
            "<stem>.wrong<suffix>".
    """
    detects, to_onnx = "boxes" in model.input_names, output.suffix == ".onnx"
    free_size = size is None and detects and to_onnx
    if size is None:
        side = cfg.INPUT.MIN_SIZE_TEST
        size = (side, round(side * 16 / 9)) if detects else (side, side)
    if free_size:  # few pixels to trace, of a size that export_program takes
        size = 64, 96
    inputs = make_inputs(cfg, model.input_names, size)
    program = export_program(model, inputs, free_size=free_size)
    unchecked = output.with_name(f"{output.stem}.wrong{output.suffix}")
    if to_onnx:
        with atomic_path(unchecked) as temporary:
            export_onnx(model, program, temporary, free_size=free_size)
            add_metadata(temporary, make_metadata(cfg, classes or {}))
    else:
        # Through memory, because torch ends the process if the disk is full.
        buffer = io.BytesIO()
        torch.export.save(program, buffer)
        write_atomic(unchecked, buffer.getvalue())
    differences = []
    if free_size:
        size = size[0] + _ODD[0], size[1] + _ODD[1]
    for clips, boxes in BATCHES:
        batch = make_inputs(
            cfg, model.input_names, size, num_clips=clips, num_boxes=boxes, seed=clips
        )
        differences.append(compare_with_eager(model, unchecked, batch))
    if not (difference := max(differences)) <= TOLERANCE:  # also refuses NaN
        raise ExportError(
            f"{unchecked}: differs from the model by {difference:.2g}, more than {TOLERANCE:g}"
        )
    replace_atomic(unchecked, output)
    return difference, {name: _describe(name, x, free_size) for name, x in inputs.items()}


def _describe(name: str, x: torch.Tensor, free_size: bool) -> str:
    """Return shape and type of an input; letters stand for free lengths."""
    shape = ["R" if name == "boxes" else "N", *x.shape[1:]]
    if name == "frames" and free_size:
        shape[3:] = "H", "W"
    return f"({', '.join(map(str, shape))}) {str(x.dtype).removeprefix('torch.')}"


@torch.no_grad()
def run_file(path: Path, inputs: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Run an exported file on the CPU.

    Args:
        path: file that ends in .pt2 or .onnx.
        inputs: inputs by name.

    Returns:
        the scores by name.
    """
    if path.suffix == ".pt2":
        return torch.export.load(path).module()(**inputs)
    import onnxruntime  # in the extra "export", needed for ONNX only

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    outputs = session.run(None, {name: x.numpy() for name, x in inputs.items()})
    names = [output.name for output in session.get_outputs()]
    return {name: torch.from_numpy(x) for name, x in zip(names, outputs, strict=True)}


@torch.no_grad()
def compare_with_eager(model: TensorModel, path: Path, inputs: dict[str, torch.Tensor]) -> float:
    """Return the largest absolute difference between the scores of an exported file and the model.

    Args:
        model: the model, which computes the expected scores by :meth:`TensorModel.eager`.
        path: exported file.
        inputs: inputs by name.

    Raises:
        ExportError: the outputs of the file have other names.
    """
    expected, found = model.eager(inputs), run_file(path, inputs)
    if expected.keys() != found.keys():
        raise ExportError(f"{path}: returns {list(found)}, the model {list(expected)}")
    differences = [(found[name] - expected[name]).abs() for name in expected]
    return max(x.max().item() for x in differences if x.numel())
