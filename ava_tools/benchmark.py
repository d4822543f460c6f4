#!/usr/bin/env python
"""Measure speed and memory, beside public peers where they are installed.

Runs are interleaved, medians and ratios are printed. docs/performance.md shows results. The peers
are installed with: pip install -e ".[benchmark]"
"""

import argparse
import sys
from importlib import import_module

COMMANDS = {
    "model": "inference and training of a config's model, beside PyTorchVideo's SlowFast",
    "cuda": "table of training and testing on a GPU, for docs/performance.md",
    "clips": "reading of training clips, beside other readers; whether it bounds a training",
    "videos": "keyframes per second read from whole videos, as for evaluation",
    "growth": "time and memory of the test loader over the length of videos",
    "scoring": "time and memory of AVA scoring, beside PySlowFast's evaluator",
}
EXAMPLES = """examples:
  python ava_tools/benchmark.py model --export
  python ava_tools/benchmark.py clips --videos a.mp4 b.mp4 --folder videos
  python ava_tools/benchmark.py scoring

python ava_tools/benchmark.py COMMAND --help shows more of each."""


def build_parser(command: str | None) -> argparse.ArgumentParser:
    """Return the parser; only the module of the given command is imported.

    Scoring is measured in processes that import this file. They must not load torch, therefore
    imports of the package are inside functions.
    """
    from avsf_det.engine.defaults import make_parser

    parser = make_parser(__doc__, EXAMPLES)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, summary in COMMANDS.items():
        if name != command:
            commands.add_parser(name, help=summary)
            continue
        module = import_module(f"ava_tools.benchmarks.{name}")
        command_parser = commands.add_parser(
            name,
            help=summary,
            description=module.__doc__,
            epilog=module.EXAMPLES,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        module.add_arguments(command_parser)
        command_parser.set_defaults(run=module.run)
    return parser


def main(argv: list[str] | None = None) -> int:
    """Run the tool; return its exit code, 1 after a line on stderr if the input is bad."""
    from avsf_det.engine.defaults import run_command

    argv = sys.argv[1:] if argv is None else argv
    args = build_parser(argv[0] if argv else None).parse_args(argv)
    return run_command(args.run, args)


if __name__ == "__main__":
    sys.exit(main())
