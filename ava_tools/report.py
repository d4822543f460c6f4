#!/usr/bin/env python
"""Write one HTML file about an AVA evaluation, or about runs of classifiers.

It shows AP by class, precision-recall curves, errors, confusions, and examples that play with their
audio; with several runs, the differences between the first and the others. Of classifiers (runs
with a scores.npz) it shows figures by task and class, confusions, config and command. The file is
self-contained: it opens from disk, without a server or a network.
"""

import argparse
import csv
import io
import sys

from ava_tools.report_page.sources import (
    ReportError,
    add_arguments,
    evaluated_dataset_of_arguments,
    find_thresholds_file,
    find_timelines,
    read_run,
)
from ava_tools.support.arguments import join_runs, named_path
from avsf_det.engine.defaults import at_least, make_parser, run_command
from avsf_det.evaluation.ava_map import PROTOCOLS
from avsf_det.structures.addresses import join
from avsf_det.utils.atomic import write_atomic

EXAMPLE = """example:
  python ava_tools/report.py --config-file configs/mini/avsf_mini.yaml \\
      --run AVSlowFast=output/demo/avsf --run SlowFast=output/demo/slowfast \\
      --run "audio swapped=output/demo/avsf_swap" --output report.html
or, for any csv in AVA's format:
  python ava_tools/report.py -l labels.pbtxt -g val.csv --videos videos/ \\
      --run mine=detections.csv --output report.html
or, for classifiers:
  python ava_tools/report.py --run mine=output/my_classifier --output report.html"""


def run(args: argparse.Namespace) -> int:
    """Write the report; return 1 if a clip cannot be read."""
    from ava_tools.report_page.clip_page import build_clip_report, find_scores
    from ava_tools.report_page.page import build_report
    from ava_tools.report_page.training import read_training

    if args.max_clips < 0:
        raise ReportError(f"--max-clips is {args.max_clips}; it must be 0 or more")
    paths = join_runs(args.run)
    if files := find_scores(paths):
        write_atomic(args.output, build_clip_report(files, args.title or ""))
        print(f"{args.output}: {len(files)} runs of classifiers")
        return 0
    evaluated = evaluated_dataset_of_arguments(args)
    detections = {name: read_run(path, evaluated.name) for name, path in paths.items()}
    first = next(iter(paths.values()))
    videos = {video for video, _ in evaluated.ground_truth.keyframes}
    trainings = {name: read_training(path) for name, path in paths.items()}
    report = build_report(
        evaluated,
        detections,
        title=args.title or f"{next(iter(paths))} on {evaluated.name}",
        protocol=args.protocol,
        max_clips=args.max_clips if evaluated.files else 0,
        trainings={name: curves for name, curves in trainings.items() if curves},
        timelines=find_timelines(args.timelines or join(first, "timelines"), args.output, videos),
        thresholds_file=find_thresholds_file(first),
    )
    write_atomic(args.output, report.html)
    print(f"{args.output}: {len(report.html.encode()) / 1e6:.1f} MB")
    if args.errors:
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerows(report.errors)
        write_atomic(args.errors, text.getvalue().encode(errors="replace"))
        print(f"{args.errors}: {len(report.errors) - 1} errors of {next(iter(paths))}")
    if problems := report.problems:
        print(f"error: {len(problems)} clips are missing: {problems[0]}", file=sys.stderr)
    return int(bool(problems))


def main(argv: list[str] | None = None) -> int:
    """Run the command line and return its exit code."""
    parser = make_parser(__doc__, EXAMPLE)
    add = parser.add_argument
    runs = "detections csv, or OUTPUT_DIR of an evaluation; repeat it for runs to compare with"
    add("--run", action="append", required=True, type=named_path, metavar="NAME=PATH", help=runs)
    add("--output", default="report.html", metavar="FILE", help="page to write (report.html)")
    add("--errors", metavar="FILE", help="also write the errors as csv there")
    protocol = "rules of the matching; see docs/evaluation.md (default)"
    add("--protocol", choices=list(PROTOCOLS), default="default", help=protocol)
    clips = "examples with clips (50)"
    add("--max-clips", type=at_least(0), default=50, metavar="N", help=clips)
    pages = "link to the pages of timeline.py in this folder (timelines in the first run's)"
    add("--timelines", metavar="DIR", help=pages)
    add("--title", help="title of the page")
    add_arguments(parser)
    return run_command(run, parser.parse_args(argv))


if __name__ == "__main__":
    sys.exit(main())
