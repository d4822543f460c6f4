#!/usr/bin/env python
"""Draw the model inputs of a dataset as an image.

It shows frames after augmentation with boxes and labels, and the log-mel spectrogram.
"""

import argparse
import sys

from avsf_det.engine.defaults import (
    add_config_arguments,
    at_least,
    load_config,
    make_parser,
    run_command,
)
from avsf_det.utils.atomic import atomic_path

EXAMPLE = """example:
  python ava_tools/visualize_data.py --config-file configs/mini/avsf_mini.yaml --output data.png
  python ava_tools/visualize_data.py --config-file configs/mini/avsf_kinetics_mini.yaml \\
      --split test --num 4 --seed 7 --output test.png"""


def run(args: argparse.Namespace) -> None:
    """Write the image."""
    from ava_tools.charts.image_sheet import draw_sheet
    from ava_tools.charts.model_input_sheet import draw_model_input, read_model_inputs

    cfg = load_config(args.config_file, args.opts)
    clips = read_model_inputs(cfg, args.split, args.num, args.seed)
    name = cfg.DATASETS[args.split.upper()][0]
    sheet = draw_sheet([draw_model_input(clip, name) for clip in clips])
    with atomic_path(args.output) as path:
        sheet.save(path)
    print(f"{args.output}: {len(clips)} clips of {name}, {sheet.width} x {sheet.height} pixels")


def main(argv: list[str] | None = None) -> int:
    """Run the command line and return its exit code."""
    parser = make_parser(__doc__, EXAMPLE)
    parser.add_argument(
        "--output", default="data.png", metavar="FILE", help="image to write (data.png)"
    )
    split = "whether DATASETS.TRAIN or DATASETS.TEST is drawn (train)"
    parser.add_argument("--split", choices=("train", "test"), default="train", help=split)
    parser.add_argument("--num", type=at_least(1), default=6, metavar="N", help="clips to draw (6)")
    parser.add_argument("--seed", type=at_least(0), default=0, help="seed of the choice (0)")
    add_config_arguments(parser, required=True, help="config of the dataset and the model")
    args = parser.parse_args(argv)
    return run_command(run, args)


if __name__ == "__main__":
    sys.exit(main())
