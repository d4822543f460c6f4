#!/usr/bin/env python
"""Export a trained ActionDetector or ClipClassifier to a file that runs without this project.

The suffix of the output is the format: .pt2 of torch.export, or .onnx. Inputs, as far as the model
uses them: frames (N, 3, T, H, W) uint8, RGB; audio (N, 1, T_a, F) float32, log-mel; has_audio (N,)
bool; boxes (R, 5) float32, index of the clip and x1, y1, x2, y2 in pixels of the frames. Outputs:
action_scores (R, K), or scores_<task> (N, K), in 0..1. N and R are free, and in a detector's .onnx
H and W; the rest is fixed. Pixels and spectrograms are normalised inside. The metadata of an .onnx
has all that its inputs depend on; docs/onnx_example.py runs it on a video. The file is run and
compared with the model before it gets its name. A detector's .pt2 needs "import torchvision" first.
"""

import argparse
import logging
import sys
import warnings
from importlib.util import find_spec
from pathlib import Path

from ava_tools.support.arguments import named_path
from avsf_det.engine.defaults import (
    add_config_arguments,
    at_least,
    load_config,
    make_parser,
    run_command,
)

EXAMPLES = """example:
  python ava_tools/export_model.py --config-file configs/mini/avsf_mini.yaml --output model.onnx \\
      MODEL.WEIGHTS output/demo/avsf/model_final.pth"""
# On the CPU, so that the file runs everywhere; without the loss of MODEL.AVSYNC.
FOR_EXPORT = ("MODEL.DEVICE", "cpu", "MODEL.AVSYNC.ENABLED", False)


def run(args: argparse.Namespace) -> None:
    """Export the model, and print its inputs and how much its scores differ."""
    from ava_tools.inference.checked_export import export_checked, load_tensor_model
    from ava_tools.inference.onnx_metadata import find_classes
    from avsf_det.export import ExportError

    output = Path(args.output)
    if output.suffix not in (".onnx", ".pt2"):
        raise ExportError(f"{output}: the name must end in .onnx or .pt2")
    needed = ("onnx", "onnxscript", "onnxruntime") if output.suffix == ".onnx" else ()
    if missing := [name for name in needed if find_spec(name) is None]:
        raise ExportError(f"{' and '.join(missing)} needed: pip install {' '.join(missing)}")
    cfg = load_config(args.config_file, [*args.opts, *FOR_EXPORT])
    model = load_tensor_model(cfg)
    classes = find_classes(cfg, args.classes)
    size = None if args.size is None else (args.size[0], args.size[1])
    difference, inputs = export_checked(model, cfg, output, size, classes)
    for name, description in inputs.items():
        print(f"{name:<10} {description}")
    print(f"Wrote {output}; its scores differ from the model's by {difference:.2g} at most")


def main(argv: list[str] | None = None) -> int:
    """Return the exit code: 1 after one line on stderr if the input is bad."""
    parser = make_parser(__doc__, EXAMPLES)
    parser.add_argument("--output", required=True, metavar="FILE", help=".onnx or .pt2 to write")
    add = parser.add_argument
    size = "fix the size of the frames (any, if .onnx has boxes; else INPUT.MIN_SIZE_TEST)"
    add("--size", nargs=2, type=at_least(16), metavar=("H", "W"), help=size)
    names = (
        "class names, or action=label map, if not those of DATASETS.TEST; repeat for other tasks"
    )
    add("--classes", action="append", type=named_path, default=[], metavar="TASK=FILE", help=names)
    add_config_arguments(parser, required=True)
    args = parser.parse_args(argv)
    warnings.filterwarnings("ignore", module="torch|copyreg")
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    return run_command(run, args)


if __name__ == "__main__":
    sys.exit(main())
