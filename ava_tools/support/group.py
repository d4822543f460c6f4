"""Let a tool run in the processes that torchrun or srun has started; see ``ranks.py``."""

import argparse
import functools
from collections.abc import Callable
from datetime import timedelta


def in_ranks(
    run: Callable[[argparse.Namespace], int | None],
) -> Callable[[argparse.Namespace], int | None]:
    """Decorate the body of a tool, so that processes of torchrun or srun are one group in it.

    All must return the same exit code, after the last work: torchrun ends the others on an error.
    """

    @functools.wraps(run)
    def run_in_group(args: argparse.Namespace) -> int | None:
        from avsf_det.engine.ranks import read_ranks

        ranks = read_ranks()
        if ranks.size == 1:
            return run(args)
        from detectron2.utils import comm

        from avsf_det.engine.launch import joined

        # A process with short videos may wait for days.
        with joined(ranks, on_cpu=True, timeout=timedelta(days=30)):
            code = run(args)
            comm.synchronize()
        return code

    return run_in_group
