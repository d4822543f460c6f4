#!/usr/bin/env python
"""Draw validation error and training loss along one or several trainings, as Fig. 3 of the paper.

The trainings evaluate themselves every TEST.EVAL_PERIOD iterations, in TEST.VIEWS_IN_TRAINING.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from ava_tools.support.arguments import join_runs, named_path
from avsf_det.engine.defaults import at_least, make_parser, run_command

if TYPE_CHECKING:
    from ava_tools.charts.training_curves import Curve

EXAMPLE = """example:
  python train_net.py --config-file configs/mini/avsf_kinetics_mini.yaml TEST.EVAL_PERIOD 40
  python train_net.py --config-file configs/mini/slowfast_kinetics_mini.yaml TEST.EVAL_PERIOD 40
  python ava_tools/visualize_training.py --run audiovisual=output/mini/avsf_kinetics_mini \\
      --run visual=output/mini/slowfast_kinetics_mini --output training.png"""


def read_run(folder: Path, task: str, num_clips: int) -> tuple[Curve, Curve]:
    """Return validation error in percent and training loss of a run.

    Args:
        folder: OUTPUT_DIR of the run.
        task: task whose top-1 accuracy and loss are read.
        num_clips: training clips of an epoch; 0 for curves over iterations.

    Raises:
        TrainingRunError: the run has not been evaluated, or has no such task.
    """
    import yaml

    from ava_tools.charts.training_curves import Curve
    from ava_tools.experiments.training_runs import TrainingRunError, read_curve

    top1 = read_curve(folder, f"{task}/top1")
    # Detectron2 writes the parts of the loss only if there are several.
    loss = read_curve(folder, f"loss_{task}") or read_curve(folder, "total_loss")
    if not top1 or not loss:
        raise TrainingRunError(
            f"{folder / 'metrics.json'} has no '{task}/top1' or no loss; train with "
            "TEST.EVAL_PERIOD, and give a --task of the model"
        )
    scale = 1.0
    if num_clips:
        config = yaml.safe_load((folder / "config.yaml").read_text(encoding="utf-8"))
        scale = config["SOLVER"]["IMS_PER_BATCH"] / num_clips
    error = Curve([i * scale for i in top1], [100 - percent for percent in top1.values()])
    return error, Curve([i * scale for i in loss], [*loss.values()])


def run(args: argparse.Namespace) -> None:
    """Write the image."""
    from ava_tools.charts.training_curves import draw_training_curves

    runs = join_runs(args.run)
    curves = {name: read_run(Path(path), args.task, args.clips) for name, path in runs.items()}
    errors = {name: error for name, (error, _) in curves.items()}
    losses = {name: loss for name, (_, loss) in curves.items()}
    unit = "epoch" if args.clips else "iteration"
    draw_training_curves(errors, losses, args.output, unit=unit)
    for name, error in errors.items():
        print(f"{name}: top-1 error {error.y[-1]:.1f} % at {unit} {error.x[-1]:g}")


def main(argv: list[str] | None = None) -> int:
    """Run the command line and return its exit code."""
    parser = make_parser(__doc__, EXAMPLE)
    parser.add_argument(
        "--run",
        action="append",
        required=True,
        type=named_path,
        metavar="NAME=PATH",
        help="name and OUTPUT_DIR of a training; repeat it for several",
    )
    parser.add_argument(
        "--output", default="training.png", metavar="FILE", help="image to write (training.png)"
    )
    parser.add_argument("--task", default="action", help="task of the model (action)")
    parser.add_argument(
        "--clips", type=at_least(0), default=0, metavar="N", help="clips of an epoch, for that axis"
    )
    return run_command(run, parser.parse_args(argv))


if __name__ == "__main__":
    sys.exit(main())
