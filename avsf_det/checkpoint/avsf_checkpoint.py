"""Detectron2's checkpointer, for weights of all the formats that ``convert_names`` knows."""

import re

import torch
from detectron2.checkpoint import DetectionCheckpointer
from torch import nn

from .convert_names import convert_to_avsf, detect_format
from .file_formats import CheckpointError, find_state, read_file
from .fitting import NONLOCAL, LoadReport, fit_to_model


def read_checkpoint(path: str) -> tuple[dict[str, torch.Tensor], str, dict]:
    """Weights of any known format, with our names.

    Args:
        path: of a local file.

    Returns:
        the weights by name; the name of their format; and, if that is ours, what else the file
        holds (of an interrupted training).

    Raises:
        CheckpointError: if the file cannot be used; nothing in it is run.
    """
    state, rest = find_state(read_file(path), path)
    try:
        name_format = detect_format(state)
        converted = convert_to_avsf(state, name_format)
    except ValueError as error:
        raise CheckpointError(f"{path}: {error}") from None
    return converted, name_format, rest if name_format == "avsf_det" else {}


class AVSFCheckpointer(DetectionCheckpointer):
    """Loads weights of every format that :mod:`convert_names` knows, says what fitted, and refuses
    those that fill too little of the backbone; then nothing in the model has changed.

    Args:
        min_matched: share of the backbone's tensors that a file must fill, 0..1.
        *args, **kwargs: of :class:`DetectionCheckpointer`.

    Attributes:
        report: of the last :meth:`load`.
    """

    def __init__(
        self,
        model: nn.Module,
        save_dir: str = "",
        *,
        min_matched: float = 0.9,
        save_to_disk: bool | None = None,
        **checkpointables: object,
    ):
        super().__init__(model, save_dir, save_to_disk=save_to_disk, **checkpointables)
        self.min_matched = min_matched
        self.report: LoadReport | None = None

    def _load_file(self, filename: str) -> dict:
        state, name_format, rest = read_checkpoint(filename)
        return {**rest, "model": state, "__source__": f"{filename} ({name_format} names)"}

    def _load_model(self, checkpoint: dict) -> None:
        """Returns None, by which the base class knows that all is logged."""
        source = checkpoint.pop("__source__")
        model_state = self.model.state_dict()
        fitted, self.report = fit_to_model(checkpoint.pop("model"), model_state)
        self.logger.info(f"Weights of {source}:\n{self.report}")
        self.report.check(self.min_matched, source)
        blocks = {found[0] for n in self.report.missing if (found := re.match(NONLOCAL, n))}
        for block in sorted(blocks):
            affine = [model_state.get(f"{block}.out.norm.{x}") for x in ("weight", "bias")]
            if all(x is not None and not x.any() for x in affine):
                self.logger.info(f"{block} is not in the file and starts as the identity")
        self.model.load_state_dict(fitted, strict=False)
