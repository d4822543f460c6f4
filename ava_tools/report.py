#!/usr/bin/env python
"""Write one HTML file about an AVA evaluation: AP by class, precision-recall curves, errors,
confusions, and playable examples with their sound; with several runs, what the first does better.

The file holds everything: it opens from disk, without a server or a network.
"""

import argparse
import sys
from pathlib import Path

from detectron2.config import get_cfg

from ava_tools.report_page.page import build_report
from ava_tools.report_page.sources import (
    add_arguments,
    evaluated_set_of_arguments,
    find_detections,
)
from avsf_det import add_avsf_config
from avsf_det.data import AnnotationError
from avsf_det.evaluation import AVAEvaluationError, read_detections
from avsf_det.evaluation.ava_map import PROTOCOLS

EXAMPLE = """example:
  python ava_tools/report.py --config-file configs/mini/avsf_mini.yaml \\
      --run AVSlowFast=output/demo/avsf --run SlowFast=output/demo/slowfast \\
      --run "sound swapped=output/demo/avsf_swap" --output report.html
or, of any csv in AVA's format:
  python ava_tools/report.py -l labels.pbtxt -g val.csv --videos videos/ \\
      --run mine=detections.csv --output report.html"""


def run(args: argparse.Namespace) -> list[str]:
    """Write the report; returns a line for each clip that cannot be read."""
    cfg = get_cfg()
    add_avsf_config(cfg)
    evaluated = evaluated_set_of_arguments(args, cfg)
    paths = dict(text.split("=", 1) for text in args.run)
    files = {name: find_detections(path, evaluated.name) for name, path in paths.items()}
    detections = {name: read_detections(file) for name, file in files.items()}
    html, problems = build_report(
        evaluated,
        detections,
        title=args.title or f"{next(iter(paths))} on {evaluated.name}",
        protocol=args.protocol,
        max_clips=args.max_clips if evaluated.files else 0,
    )
    output = Path(args.output)
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text(html, encoding="utf-8")
    print(f"{output}: {output.stat().st_size / 1e6:.1f} MB")
    return problems


def named_run(text: str) -> str:
    name, equals, path = text.partition("=")
    if not (name and equals and path):
        raise argparse.ArgumentTypeError(f"'{text}' is not NAME=PATH")
    return text


def main(argv: list[str] | None = None) -> int:
    """Returns 1 after a line on stderr if input is bad or a clip cannot be read."""
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLE, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--run",
        action="append",
        required=True,
        type=named_run,
        metavar="NAME=PATH",
        help="detections csv, or the OUTPUT_DIR of an evaluation; again for a run to compare with",
    )
    parser.add_argument("--output", default="report.html", metavar="FILE", help="(report.html)")
    parser.add_argument("--protocol", choices=list(PROTOCOLS), default="default")
    parser.add_argument(
        "--max-clips", type=int, default=50, metavar="N", help="examples, 0: none (50)"
    )
    parser.add_argument("--title", help="of the page")
    add_arguments(parser)
    args = parser.parse_args(argv)
    try:
        problems = run(args)
    except (AVAEvaluationError, AnnotationError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    if problems:
        print(f"error: {len(problems)} clips are missing: {problems[0]}", file=sys.stderr)
    return int(bool(problems))


if __name__ == "__main__":
    sys.exit(main())
