"""Values of command-line options that several tools take."""

import argparse
from collections.abc import Iterable

from avsf_det.structures import AVSFError


def named_path(text: str) -> tuple[str, str]:
    """Return name and path of an argument ``NAME=PATH``, a type for argparse."""
    name, equals, path = text.partition("=")
    if not (name and equals and path):
        raise argparse.ArgumentTypeError(f"'{text}' is not NAME=PATH")
    return name, path


def join_runs(pairs: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Return name to path of all ``--run``.

    Raises:
        AVSFError: two runs have the same name.
    """
    pairs = [*pairs]
    runs = dict(pairs)
    if len(runs) < len(pairs):
        raise AVSFError("two runs have the same name; give each --run a name of its own")
    return runs
