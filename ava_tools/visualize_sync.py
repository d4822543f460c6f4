#!/usr/bin/env python
"""Measure by how much the audio of a video is late or early, and draw the similarity.

A model trained with MODEL.AVSYNC compares the frames with audio of other times. The offset is the
shift with the highest similarity.
"""

import argparse
import sys
from pathlib import Path

from avsf_det.engine.defaults import add_config_arguments, make_parser, positive, run_command
from avsf_det.structures.addresses import is_folder

EXAMPLE = """example:
  python ava_tools/visualize_sync.py --config-file configs/mini/avsf_ssl_mini.yaml \\
      --input video.mp4 --output sync.png MODEL.WEIGHTS output/mini/avsf_ssl_mini/model_final.pth
To check your model and videos: with --shift-sound 0.3, the result must be 0.3 s more."""


def run(args: argparse.Namespace) -> None:
    """Measure the video or the folder."""
    from ava_tools.sync.audio_offset import SyncError, Windows
    from ava_tools.sync.measure import OffsetMeasurer, load_model

    model, cfg = load_model(args.config_file, args.opts)
    assert model.avsync_head is not None  # load_model has checked it
    levels = model.avsync_head.levels
    if args.level not in (*levels, "mean"):
        raise SyncError(f"--level {args.level}: this model has {', '.join(levels)}, mean")
    options = {
        "levels": levels if args.level == "mean" else [args.level],
        "max_shift": args.max_shift,
        "step": args.step,
        "delay": args.shift_sound,
    }
    measurer = OffsetMeasurer(model, Windows(cfg), options, args.json)
    if is_folder(args.input):
        measurer.measure_folder(args.input, args.output)
    else:
        measurer.measure(args.input, args.input, args.output)


def main(argv: list[str] | None = None) -> int:
    """Run the command line and return its exit code."""
    parser = make_parser(__doc__, EXAMPLE)
    parser.add_argument("--input", required=True, help="video, or folder of videos")
    parser.add_argument(
        "--output",
        type=Path,
        help="image to write; for a folder, the folder of images and offsets.csv",
    )
    parser.add_argument("--level", default="mean", help="level to compare: res3, ...; all (mean)")
    parser.add_argument(
        "--max-shift", type=positive, default=1.0, metavar="S", help="largest shift, seconds (1.0)"
    )
    parser.add_argument(
        "--step", type=positive, default=0.05, metavar="S", help="seconds between shifts (0.05)"
    )
    parser.add_argument(
        "--shift-sound", type=float, default=0.0, metavar="S", help="delay the audio first"
    )
    parser.add_argument("--json", action="store_true", help="print a line of JSON per video")
    add_config_arguments(parser, required=True)
    args = parser.parse_args(argv)
    if args.step > args.max_shift:
        parser.error("--step must be at most --max-shift")
    return run_command(run, args)


if __name__ == "__main__":
    sys.exit(main())
