#!/usr/bin/env python
"""Print the parameters and GFLOPs of a config's model by pathway, or all of the paper's figures.

One multiply-add is one FLOP, as in the paper; norms, activations and pooling do not count. The
input is one clip of 256 x 256 pixels; for detectors 256 x 320 pixels, and one person.
"""

import argparse
import json
import sys

from avsf_det.engine.defaults import (
    add_config_options,
    at_least,
    load_config,
    make_parser,
    run_command,
)

EXAMPLES = """examples:
  python ava_tools/analyze_model.py --config-file configs/AVA/avsf_r101_8x8.yaml
  python ava_tools/analyze_model.py --paper"""


def print_paper(rows: list[dict]) -> None:
    """Print published figures against ours."""
    for row in rows:
        change = row["ours"] / row["published"] - 1
        print(
            f"{row['name']:34s} published {row['published']:6.1f}  ours {row['ours']:8.3f} "
            f"{row['unit']} ({change:+.1%})  {row['status']}\n    {row['config']}"
            + (f"  ({row['note']})" if row["note"] else "")
        )


def print_model(result: dict) -> None:
    """Print GFLOPs and parameters of each pathway, their sums, and what audio adds."""
    total = {key: result[key] for key in ("gflops", "params")}
    for name, row in {**result["by_pathway"], "total": total}.items():
        print(f"{name:6s} {row['gflops']:9.3f} GFLOPs {row['params'] / 1e6:9.3f} M parameters")
    if added := result.get("added_by_audio"):
        flops, params = (f"{added[k] / (total[k] - added[k]):.1%}" for k in ("gflops", "params"))
        print(
            f"audio, its laterals and columns of the classifier add {added['gflops']:.3f} GFLOPs "
            f"({flops}) and {added['params'] / 1e6:.3f} M parameters ({params})"
        )


def run(args: argparse.Namespace) -> None:
    """Print the figures as a table or as one line of JSON."""
    from ava_tools.measurement.analysis import analyze_model
    from ava_tools.measurement.paper_compute import reproduce_paper

    if args.paper:
        rows = reproduce_paper()
        print(json.dumps({"rows": rows})) if args.json else print_paper(rows)
        return
    result = analyze_model(load_config(args.config_file, args.opts), args.crop_size)
    print(json.dumps(result)) if args.json else print_model(result)


def main(argv: list[str] | None = None) -> int:
    """Return the exit code: 1 after one line on stderr if the input is bad."""
    parser = make_parser(__doc__, EXAMPLES)
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--config-file", metavar="FILE", help="config of the model")
    what.add_argument("--paper", action="store_true", help="all published figures against ours")
    parser.add_argument(
        "--crop-size",
        type=at_least(16),
        nargs=2,
        metavar=("H", "W"),
        help="size of the frames in pixels",
    )
    parser.add_argument("--json", action="store_true", help="print one line of JSON")
    add_config_options(parser)
    return run_command(run, parser.parse_args(argv))


if __name__ == "__main__":
    sys.exit(main())
