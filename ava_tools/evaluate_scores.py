#!/usr/bin/env python
"""Score the clips of a run again, fuse runs or compare them, from their scores.npz alone."""

import argparse
import os
import sys
from statistics import fmean

from tabulate import tabulate

from ava_tools.charts.class_differences import draw_class_differences
from avsf_det.evaluation import (
    ClipEvaluationError,
    ClipScores,
    TaskResult,
    check_same_clips,
    class_differences,
    format_results,
    fuse_scores,
    read_scores,
    read_verb_noun_counts,
    score_clips,
    select_classes,
    write_class_metrics,
    write_differences,
    write_scores,
)

EXAMPLE = """examples (RUN stands for output/<run>/inference):
  one run again           python ava_tools/evaluate_scores.py RUN/scores.npz
  late fusion of two      python ava_tools/evaluate_scores.py slowfast.npz audio.npz --weights 2 1
  EPIC's two models       python ava_tools/evaluate_scores.py verb.npz noun.npz \\
                              --prior EPIC_100_train.csv
  mean of three splits    python ava_tools/evaluate_scores.py --mean-of-splits 1.npz 2.npz 3.npz
  what did sound change?  python ava_tools/evaluate_scores.py avsf.npz --compare slowfast.npz \\
                              --output output/compare
  Kinetics-Sounds         python ava_tools/evaluate_scores.py RUN/scores.npz --classes names.txt

Figures are percent. Of several files, the scores of each clip are averaged first, by task."""


def evaluate(
    scores: ClipScores, class_file: str | None = None, prior: str | None = None
) -> dict[str, TaskResult]:
    """Score clips.

    Args:
        class_file: names of classes, one a line; only their clips count.
        prior: training csv of EPIC-Kitchens, for the actions.
    """
    if class_file:
        with open(class_file) as file:
            names = [line.strip() for line in file if line.strip()]
        scores = select_classes(scores, names)
    results = score_clips(scores, read_verb_noun_counts(prior, scores) if prior else None)
    if not results:
        raise ClipEvaluationError(f"{scores.source}: no clip has a label, nothing can be scored")
    return results


def mean_of_splits(results: dict[str, dict[str, TaskResult]]) -> str:
    """A table of file -> task -> result, with the means of the files in its last line."""
    rows = [
        {f"{task} {m}": v for task, r in result.items() for m, v in r.metrics.items()}
        for result in results.values()
    ]
    if any(row.keys() != rows[0].keys() for row in rows):
        raise ClipEvaluationError(f"{', '.join(results)} have different tasks; there is no mean")
    rows.append({column: fmean(row[column] for row in rows) for column in rows[0]})
    index = [*results, "mean"]
    return tabulate(rows, headers="keys", tablefmt="pipe", floatfmt=".2f", showindex=index)


def compare(
    before: dict[str, TaskResult], after: dict[str, TaskResult], title: str, output: str
) -> None:
    """Write ``difference_<task>.csv`` and ``.png`` of the common tasks into the folder."""
    for task in [task for task in after if task in before and after[task].class_names]:
        path = os.path.join(output, f"difference_{task}")
        rows = class_differences(before[task], after[task])
        write_differences(rows, f"{path}.csv")
        names, points = [row.name for row in rows], [row.difference for row in rows]
        metric = next(iter(after[task].class_metrics))
        draw_class_differences(names, points, f"{path}.png", title=f"{task}, {metric}\n{title}")
        print(f"{task}: from {names[0]} {points[0]:+.1f} to {names[-1]} {points[-1]:+.1f}")
        print(f"Wrote {path}.csv and {path}.png")


def run(args: argparse.Namespace) -> None:
    runs = [read_scores(file) for file in args.scores]
    if args.mean_of_splits:
        results = {scores.source: evaluate(scores, args.classes, args.prior) for scores in runs}
        print(mean_of_splits(results))
        return
    scores = fuse_scores(runs, args.weights)
    if args.output:
        os.makedirs(args.output, exist_ok=True)
        if len(runs) > 1:
            write_scores(scores, os.path.join(args.output, "scores.npz"))
    results = evaluate(scores, args.classes, args.prior)
    print(format_results(results))
    if args.output:
        for task in [task for task, result in results.items() if result.class_names]:
            write_class_metrics(results[task], os.path.join(args.output, f"per_class_{task}.csv"))
    if args.compare:
        other = read_scores(args.compare)
        check_same_clips(scores, other)
        title = f"{scores.source}\nminus {other.source}"
        compare(evaluate(other, args.classes), results, title, args.output)


def main(argv: list[str] | None = None) -> int:
    """Returns 1 after a line on stderr if input is bad."""
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLE, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("scores", nargs="+", metavar="SCORES.npz", help="one run, or several")
    parser.add_argument("--weights", nargs="+", type=float, metavar="W", help="one for each file")
    parser.add_argument(
        "--mean-of-splits",
        action="store_true",
        help="score each file by itself and print the mean (UCF101, HMDB51)",
    )
    parser.add_argument(
        "--compare",
        metavar="OTHER.npz",
        help="what is gained over this run, by class, as csv and picture in --output",
    )
    parser.add_argument("--classes", metavar="FILE", help="count clips of these classes only")
    parser.add_argument(
        "--prior", metavar="TRAIN.csv", help="EPIC: also rank actions with P(noun | verb) of this"
    )
    parser.add_argument("--output", metavar="DIR", help="write tables and fused scores here")
    args = parser.parse_args(argv)
    if args.mean_of_splits and (args.weights or args.compare or args.output):
        parser.error(
            "--mean-of-splits prints a table; it goes without --weights, --compare, --output"
        )
    if args.compare and not args.output:
        parser.error("--compare needs --output DIR for its csv and picture")
    try:
        run(args)
    except (ClipEvaluationError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
