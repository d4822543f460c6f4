#!/usr/bin/env python
"""Score the clips of a run again, fuse runs or compare them, from their scores.npz alone."""

import argparse
import os
import sys

from avsf_det.engine.defaults import make_parser, run_command

EXAMPLES = """examples (RUN is output/<run>/inference):
  one run again           python ava_tools/evaluate_scores.py RUN/scores.npz
  late fusion of two      python ava_tools/evaluate_scores.py slowfast.npz audio.npz --weights 2 1
  EPIC's two models       python ava_tools/evaluate_scores.py verb.npz noun.npz \\
                              --prior EPIC_100_train.csv
  file for EPIC's server  python ava_tools/evaluate_scores.py verb.npz noun.npz \\
                              --submission test.json --sls 2 3 3
  mean of three splits    python ava_tools/evaluate_scores.py --mean-of-splits 1.npz 2.npz 3.npz
  effect of audio         python ava_tools/evaluate_scores.py avsf.npz --compare slowfast.npz \\
                              --output output/compare
  Kinetics-Sounds         python ava_tools/evaluate_scores.py RUN/scores.npz --classes names.txt

Figures are percent. For several files, the scores of each clip are averaged first, by task."""


def run(args: argparse.Namespace) -> None:
    """Print the results, and write tables into ``--output``."""
    from ava_tools.measurement.clip_results import compare, evaluate, mean_of_splits
    from ava_tools.measurement.epic_submission import write_epic_submission
    from ava_tools.measurement.run_scores import check_same_clips, fuse_scores
    from avsf_det.evaluation import (
        format_results,
        read_scores,
        write_class_metrics,
        write_scores,
    )

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
    if args.submission:
        write_epic_submission(scores, args.submission, args.sls)
        print(f"{args.submission}: {len(scores.clip_ids)} clips")
        return
    tasks = evaluate(scores, args.classes, args.prior)
    print(format_results(tasks))
    if args.output:
        for task in [task for task, result in tasks.items() if result.class_names]:
            write_class_metrics(tasks[task], os.path.join(args.output, f"per_class_{task}.csv"))
    if args.compare:
        other = read_scores(args.compare)
        check_same_clips(scores, other)
        title = f"{scores.source}\nminus {other.source}"
        compare(evaluate(other, args.classes), tasks, title, args.output)


def main(argv: list[str] | None = None) -> int:
    """Return the exit code: 1 after one line on stderr if the input is bad."""
    parser = make_parser(__doc__, EXAMPLES)
    add = parser.add_argument
    add("scores", nargs="+", metavar="SCORES.npz", help="one run, or several")
    add("--weights", nargs="+", type=float, metavar="W", help="one for each file")
    mean = "score each file by itself and print the mean (UCF101, HMDB51)"
    add("--mean-of-splits", action="store_true", help=mean)
    gain = "difference to this run for each class, as csv and chart in --output"
    add("--compare", metavar="OTHER.npz", help=gain)
    add("--classes", metavar="FILE", help="count clips of these classes only")
    prior = "EPIC: also rank actions with P(noun | verb) of this file"
    add("--prior", metavar="TRAIN.csv", help=prior)
    server = "EPIC: write the result file of the test server instead, whose labels are not public"
    add("--submission", metavar="FILE.json", help=server)
    levels = "EPIC-100: supervision levels of pretraining, labels and data, 0 to 5, for that file"
    add("--sls", nargs=3, type=int, choices=range(6), metavar=("PT", "TL", "TD"), help=levels)
    add("--output", metavar="DIR", help="write tables and fused scores here")
    args = parser.parse_args(argv)
    if args.mean_of_splits and (args.weights or args.compare or args.output):
        parser.error("--mean-of-splits excludes --weights, --compare and --output")
    if args.compare and not args.output:
        parser.error("--compare needs --output DIR for its csv and chart")
    return run_command(run, args)


if __name__ == "__main__":
    sys.exit(main())
