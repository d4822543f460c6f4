"""Batch, learning rate and iterations of a recipe on another number of processes."""

from collections.abc import Collection

from detectron2.config import CfgNode
from detectron2.engine import DefaultTrainer

from avsf_det.structures import ConfigError

WORLD_SIZE = "REFERENCE_WORLD_SIZE"
# Keys of SOLVER. Written without REFERENCE_WORLD_SIZE, one of these turns scaling off.
NUMBERS = ("IMS_PER_BATCH", "BASE_LR", "MAX_ITER", "STEPS", "WARMUP_ITERS")
# These count iterations too, but do not change what is learnt: they keep their value alone.
PERIODS = ("SOLVER.CHECKPOINT_PERIOD", "TEST.EVAL_PERIOD")


class Recipe:
    """Who wrote the numbers that Detectron2 scales: a recipe, or somebody on top of it.

    The file (or the options) that writes SOLVER.REFERENCE_WORLD_SIZE says for how many processes
    the numbers that it writes are. Numbers elsewhere are meant as they are.

    Attributes:
        notes: lines for the log.
    """

    def __init__(self) -> None:
        self.notes: list[str] = []
        self._fixed: set[str] = set()

    def add_source(self, cfg: CfgNode, keys: Collection[str]) -> None:
        """Note the full keys of a file, which have been set; turn scaling off if it means so."""
        if f"SOLVER.{WORLD_SIZE}" in keys:
            self._fixed -= {*keys}
            return
        self._fixed |= {*PERIODS} & {*keys}
        written = [name for name in NUMBERS if f"SOLVER.{name}" in keys]
        if written and cfg.SOLVER[WORLD_SIZE]:
            self.notes.append(
                f"SOLVER.{written[0]} is given: batch, rate and iterations are used as they are, "
                f"not scaled from {cfg.SOLVER[WORLD_SIZE]} processes ({_describe(cfg)})"
            )
            cfg.SOLVER[WORLD_SIZE] = 0

    def scale(self, cfg: CfgNode, num_processes: int) -> tuple[CfgNode, list[str]]:
        """Return the config for a number of processes, and lines for the log.

        Raises:
            ConfigError: the recipe has a part of a clip for each process.
        """
        reference = cfg.SOLVER[WORLD_SIZE]
        if reference in (0, num_processes):
            return cfg, []
        if cfg.SOLVER.IMS_PER_BATCH % reference:
            raise ConfigError(
                f"SOLVER.{WORLD_SIZE} is {reference}; it must be a divisor of "
                f"SOLVER.IMS_PER_BATCH {cfg.SOLVER.IMS_PER_BATCH}, or 0"
            )
        scaled = DefaultTrainer.auto_scale_workers(cfg, num_processes)
        for key in self._fixed:
            group, name = key.split(".")
            scaled[group][name] = cfg[group][name]
        # On one GPU the same number of clips would be days of work that a crash loses. Rounding
        # down to 0 would divide by it.
        period = min(scaled.SOLVER.CHECKPOINT_PERIOD, cfg.SOLVER.CHECKPOINT_PERIOD)
        scaled.SOLVER.CHECKPOINT_PERIOD = max(1, period)
        scaled.SOLVER.MAX_ITER = max(1, scaled.SOLVER.MAX_ITER)
        note = (
            f"The recipe for {reference} processes is scaled to {num_processes}: "
            f"{_describe(cfg)} -> {_describe(scaled)}"
        )
        return scaled, [note]


def _describe(cfg: CfgNode) -> str:
    return ", ".join(f"{name} {cfg.SOLVER[name]}" for name in NUMBERS)
