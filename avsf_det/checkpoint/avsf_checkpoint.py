"""Detectron2's checkpointer for weights of every format that :mod:`convert_names` knows."""

import re
from typing import Any

import torch
from torch import nn

from .convert_names import convert_to_avsf, detect_format
from .match_weights import NONLOCAL, LoadReport, match_weights
from .safe_checkpointer import SafeCheckpointer
from .safe_load import CheckpointError, find_weights, safe_load


def read_checkpoint(path: str) -> tuple[dict[str, torch.Tensor], str, dict]:
    """Read the weights of a local file of any known format, and give them this project's names.

    Returns:
        the weights by name; the name of their format; and, for a file of this project, its other
        entries (the state of an interrupted training).

    Raises:
        CheckpointError: the file cannot be used; no code in it is run.
    """
    state, rest = find_weights(safe_load(path), path)
    try:
        name_format = detect_format(state)
        converted = convert_to_avsf(state, name_format)
    except ValueError as error:
        raise CheckpointError(f"{path}: {error}") from None
    return converted, name_format, rest if name_format == "avsf_det" else {}


class AVSFCheckpointer(SafeCheckpointer):
    """Checkpointer that loads weights of every format that :mod:`convert_names` knows.

    It logs which weights match. A file that fills too little of the model is an error, and the
    model stays unchanged. Where nothing is required, this is the fraction ``min_matched``, 0..1, of
    the backbone's tensors. ``part`` is the prefix of the names that are loaded, "" for all. For the
    other arguments see :class:`SafeCheckpointer`.

    Attributes:
        report: report of the last :meth:`load`.
    """

    def __init__(
        self,
        model: nn.Module,
        save_dir: str = "",
        *,
        min_matched: float = 0.9,
        part: str = "",
        **kwargs: Any,
    ) -> None:
        super().__init__(model, save_dir, **kwargs)
        self.min_matched, self.part = min_matched, part
        self.report: LoadReport | None = None

    def _read(self, filename: str) -> dict:
        state, name_format, rest = read_checkpoint(filename)
        return {**rest, "model": state, "__source__": f"{filename} ({name_format} names)"}

    def _load_model(self, checkpoint: dict) -> None:
        """Load the matching weights; None tells the base class that everything is logged."""
        source = checkpoint.pop("__source__")
        # Match and check before anything is loaded, so that an error leaves the model unchanged.
        state, model_state = checkpoint.pop("model"), self.model.state_dict()
        if self.part:
            state = {k: v for k, v in state.items() if k.startswith(self.part)}
            model_state = {k: v for k, v in model_state.items() if k.startswith(self.part)}
        loadable, self.report = match_weights(state, model_state)
        self.logger.info(f"Weights of {source}:\n{self.report}")

        # A non-local block adds its normalised output to its input: a norm of zeros adds nothing.
        blocks = {found[0] for n in self.report.missing if (found := re.match(NONLOCAL, n))}
        identities = []
        for block in sorted(blocks):
            affine = [model_state.get(f"{block}.out.norm.{x}") for x in ("weight", "bias")]
            if all(x is not None and not x.any() for x in affine):
                self.logger.info(f"{block} is not in the file and starts as the identity")
                identities.append(f"{block}.")
        if self.required is not None:
            self.report.check_complete(self.required, source, without=identities)
        else:
            self.report.check(self.min_matched, source)
            if names := ", ".join(self.report.not_loaded(without=identities)):
                self.logger.warning(f"Not loaded from {source}, start at random: {names}")
        # Not strict: the report has already named what is missing.
        self.model.load_state_dict(loadable, strict=False)
