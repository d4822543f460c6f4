#!/usr/bin/env python
"""Export a trained ActionDetector or ClipClassifier to a file that runs without this project.

The suffix of the output says the format: .pt2 of torch.export, or .onnx. Inputs (of those, what the
model looks at): frames (N, 3, T, H, W) uint8, RGB; audio (N, 1, T_a, F) float32, log-mel;
has_audio (N,) bool; boxes (R, 5) float32, index of the clip and x1, y1, x2, y2 in pixels of the
frames. Outputs: action_scores (R, K), or scores_<task> (N, K), in 0..1. N and R are free, the rest
is fixed. The file is run and compared with the model before it gets its name. A detector's .pt2
needs "import torchvision" first, for RoIAlign.
"""

import argparse
import logging
import sys
import warnings
from importlib.util import find_spec
from pathlib import Path

import torch
from detectron2.config import CfgNode, get_cfg
from detectron2.modeling import build_model

from avsf_det import add_avsf_config
from avsf_det.checkpoint import AVSFCheckpointer, CheckpointError
from avsf_det.export import (
    ExportError,
    TensorModel,
    compare_with_eager,
    export_onnx,
    export_program,
    make_inputs,
)
from avsf_det.layers import fold_batch_norms

EXAMPLE = """example:
  python ava_tools/export_model.py --config-file configs/mini/avsf_mini.yaml --output model.onnx \\
      MODEL.WEIGHTS output/demo/avsf/model_final.pth"""
TOLERANCE = 1e-4
# Clips and boxes with which an exported file is compared; it is traced with others.
BATCHES = ((1, 1), (3, 5))


def load_config(config_file: str, options: list[str]) -> CfgNode:
    """On the CPU, so that the file runs everywhere; without the loss of MODEL.AVSYNC."""
    cfg = get_cfg()
    add_avsf_config(cfg)
    cfg.merge_from_file(config_file)
    cfg.merge_from_list(options)
    cfg.MODEL.DEVICE, cfg.MODEL.AVSYNC.ENABLED = "cpu", False
    return cfg


def load_model(cfg: CfgNode) -> TensorModel:
    """Raises: ExportError if there is no weight for a part of the model, or no such export."""
    if not cfg.MODEL.WEIGHTS:
        raise ExportError("MODEL.WEIGHTS is empty; give the file of a trained model")
    model = TensorModel(build_model(cfg))
    checkpointer = AVSFCheckpointer(model.model, min_matched=cfg.MODEL.WEIGHTS_MIN_MATCHED)
    checkpointer.load(cfg.MODEL.WEIGHTS)
    if checkpointer.report.missing:
        raise ExportError(f"{cfg.MODEL.WEIGHTS}: lacks {', '.join(checkpointer.report.missing)}")
    fold_batch_norms(model.model)
    return model


def export(
    model: TensorModel, cfg: CfgNode, output: Path, size: tuple[int, int]
) -> tuple[float, dict[str, torch.Tensor]]:
    """Write ``output`` and compare it with the model.

    Args:
        size: (height, width) of the frames.

    Returns:
        the largest difference between scores, and the inputs that it was traced with.

    Raises:
        ExportError: if it is more than TOLERANCE; then the file is called "<stem>.wrong<suffix>".
    """
    output.parent.mkdir(parents=True, exist_ok=True)
    inputs = make_inputs(cfg, model.input_names, size)
    program = export_program(model, inputs)
    unchecked = output.with_name(f"{output.stem}.wrong{output.suffix}")
    if output.suffix == ".onnx":
        export_onnx(model, program, unchecked)
    else:
        torch.export.save(program, unchecked)
    difference = max(
        compare_with_eager(
            model,
            unchecked,
            make_inputs(cfg, model.input_names, size, num_clips=clips, num_boxes=boxes, seed=clips),
        )
        for clips, boxes in BATCHES
    )
    if not difference <= TOLERANCE:  # also if it is not a number
        raise ExportError(
            f"{unchecked}: differs from the model by {difference:.2g}, more than {TOLERANCE:g}"
        )
    unchecked.replace(output)
    return difference, inputs


def run(args: argparse.Namespace) -> None:
    output = Path(args.output)
    if output.suffix not in (".onnx", ".pt2"):
        raise ExportError(f"{output}: the name must end in .onnx or .pt2")
    needed = ("onnx", "onnxscript", "onnxruntime") if output.suffix == ".onnx" else ()
    if missing := [name for name in needed if find_spec(name) is None]:
        raise ExportError(f"{' and '.join(missing)} needed: pip install {' '.join(missing)}")
    cfg = load_config(args.config_file, args.opts)
    model = load_model(cfg)
    side = cfg.INPUT.MIN_SIZE_TEST
    size = args.size or (side, round(side * 16 / 9) if "boxes" in model.input_names else side)
    difference, inputs = export(model, cfg, output, tuple(size))
    for name, x in inputs.items():
        shape = ("R" if name == "boxes" else "N", *x.shape[1:])
        print(f"{name:<10} ({', '.join(map(str, shape))}) {str(x.dtype).removeprefix('torch.')}")
    print(f"Wrote {output}; its scores differ from the model's by {difference:.2g} at most")


def main(argv: list[str] | None = None) -> int:
    """Returns 1 after a line on stderr if something is wrong."""
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLE, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--config-file", required=True, metavar="FILE", help="of the model")
    parser.add_argument("--output", required=True, metavar="FILE", help=".onnx or .pt2 to write")
    parser.add_argument(
        "--size",
        nargs=2,
        type=int,
        metavar=("H", "W"),
        help="of the frames, in pixels (INPUT.MIN_SIZE_TEST, square; with boxes 16:9)",
    )
    parser.add_argument("opts", nargs=argparse.REMAINDER, help="KEY VALUE ... of the configuration")
    args = parser.parse_args(argv)
    warnings.filterwarnings("ignore", module="torch|copyreg")
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    try:
        run(args)
    except (ExportError, CheckpointError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
