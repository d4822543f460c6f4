"""Detectron2's checkpointer with strict reading, atomic files and a search for a whole file."""

import os
import re
from typing import Any

import torch
from detectron2.checkpoint import DetectionCheckpointer
from torch import nn

from ..structures.addresses import HTTP, DownloadError, local_path
from ..utils.atomic import atomic_path, write_atomic
from .convert_names import convert_to_avsf, detect_format
from .match_weights import NONLOCAL, LoadReport, match_weights
from .safe_load import CheckpointError, find_weights, safe_load

PUBLISHED = "model.safetensors"  # the weights in a folder of ava_tools/publish_model.py
TAG = "last_checkpoint"  # the file that names the newest checkpoint
FINAL = "model_final.pth"


class SafeCheckpointer(DetectionCheckpointer):
    """Checkpointer that survives a kill, a full disk and a damaged file, and runs no code in files.

    A checkpoint is written whole or not at all. Training resumes from the newest whole checkpoint
    of its folder: a damaged or missing one is skipped with a warning.

    ``required`` is the part of the model that a file must fill, because a result depends on it:
    "model", "backbone", or None for a training, whose other weights start at random. For the other
    arguments see :class:`DetectionCheckpointer`.
    """

    def __init__(
        self,
        model: nn.Module,
        save_dir: str = "",
        *,
        required: str | None = None,
        save_to_disk: bool | None = None,
        **checkpointables: object,
    ) -> None:
        super().__init__(model, save_dir, save_to_disk=save_to_disk, **checkpointables)
        self.required = required

    def save(self, name: str, **kwargs: Any) -> None:
        """Write the states of model and checkpointables, and ``kwargs``, to ``<name>.pth``.

        Raises:
            OSError: the disk is full, or the folder is read-only; older files are unchanged.
        """
        if not self.save_dir or not self.save_to_disk:
            return
        parts = {key: part.state_dict() for key, part in self.checkpointables.items()}
        path = os.path.join(self.save_dir, f"{name}.pth")
        self.logger.info(f"Saving checkpoint to {path}")
        with atomic_path(path) as temporary, open(temporary, "wb") as file:
            # A file object, because torch names no reason where it writes to a path itself.
            torch.save({"model": self.model.state_dict(), **parts, **kwargs}, file)
        self.tag_last_checkpoint(f"{name}.pth")

    def tag_last_checkpoint(self, last_filename_basename: str) -> None:
        """Write the name of the newest checkpoint to the file "last_checkpoint"."""
        write_atomic(os.path.join(self.save_dir, TAG), last_filename_basename)

    def has_checkpoint(self) -> bool:
        """Return whether there is a checkpoint to resume from, whole or not."""
        return bool(self._candidates())

    def get_checkpoint_file(self) -> str:
        """Return the path of the checkpoint that was saved last; "" if that is not known."""
        try:
            with open(os.path.join(self.save_dir, TAG), "rb") as file:
                name = file.read(4096).decode(errors="replace").strip()
        except OSError:
            return ""
        return os.path.join(self.save_dir, name) if name.isprintable() and name else ""

    def load(self, path: str, checkpointables: list[str] | None = None) -> dict[str, Any]:
        """Load a checkpoint; see Detectron2's checkpointer.

        Raises:
            CheckpointError: there is no such file, it cannot be used, or it lacks what is required.
            DownloadError: the file of a URL cannot be fetched.
        """
        if not path and self.required is not None:
            raise CheckpointError("MODEL.WEIGHTS is empty; give the file of a trained model")
        if not path:
            self.logger.warning("MODEL.WEIGHTS is empty: all weights start at random")
            return {}
        try:
            local = local_path(path)
        except OSError as error:
            if path.startswith(HTTP):
                raise DownloadError(path, error) from error
            raise CheckpointError(
                f"{path}: cannot be read ({error}). Without network, fetch the file elsewhere and "
                "give its path"
            ) from error
        local = find_weights_file(local)
        if not os.path.isfile(local):
            raise CheckpointError(f"{path}: there is no such checkpoint")
        return super().load(local, checkpointables)

    def resume_or_load(self, path: str, *, resume: bool = True) -> dict[str, Any]:
        """Resume from the newest whole checkpoint of the folder, or load the weights of ``path``.

        Returns:
            the entries of the file that are neither weights nor a checkpointable's state.

        Raises:
            CheckpointError: no checkpoint of the folder is whole; or a whole one does not fit.
        """
        candidates = self._candidates() if resume else []
        if not candidates:
            return self.load(path, checkpointables=[])
        damaged = []
        for file in candidates:
            try:
                self._loaded = file, self._load_file(file)
            except (CheckpointError, OSError) as error:
                damaged.append(str(error))
                continue
            if file != candidates[0] or not self.get_checkpoint_file():
                reason = damaged[0] if damaged else f"{self.save_dir}/{TAG} is missing or damaged"
                self.logger.warning(f"{reason}. Resuming from {file}, the newest whole checkpoint")
            return self.load(file)
        raise CheckpointError(
            f"{self.save_dir}: no checkpoint to resume from is whole, such as "
            f"{os.path.basename(candidates[0])}. To start again, choose another OUTPUT_DIR, or "
            "delete the checkpoints"
        )

    # File and content that resume_or_load has read, so that load does not read it again.
    _loaded: tuple[str, dict] | None = None

    def _candidates(self) -> list[str]:
        """Return the checkpoints to resume from: the last one, then the older ones, newest first.

        Files of later iterations than the last one are of another training in the same folder.
        """
        tagged = self.get_checkpoint_file()
        names = os.listdir(self.save_dir) if os.path.isdir(self.save_dir) else []
        ages = {name: age for name in names if (age := _iteration(name)) is not None}
        limit = _iteration(os.path.basename(tagged))
        older = [name for name in ages if limit is None or ages[name] < limit]
        older.sort(key=lambda name: ages[name], reverse=True)
        files = [os.path.join(self.save_dir, name) for name in older]
        return [tagged, *(file for file in files if file != tagged)] if tagged else files

    def _load_file(self, filename: str) -> dict:
        loaded, self._loaded = self._loaded, None
        return loaded[1] if loaded and loaded[0] == filename else self._read(filename)

    def _read(self, filename: str) -> dict:
        """Read a file of Detectron2, or of its Caffe2 predecessor, whose names it converts."""
        data = safe_load(filename)
        state, rest = find_weights(data, filename)
        content = {**rest, "model": dict(state), "__source__": filename}
        if "blobs" in (data if isinstance(data, dict) else ()):
            content |= {"__author__": "Caffe2", "matching_heuristics": True}
        return content

    def _load_model(self, checkpoint: dict) -> object:
        # Detectron2 logs what does not fit, and goes on with random weights.
        source = checkpoint.pop("__source__")
        incompatible = super()._load_model(checkpoint)
        shapes = {name: shapes for name, *shapes in incompatible.incorrect_shapes}
        missing = [n for n in incompatible.missing_keys if not n.endswith("num_batches_tracked")]
        wrong = [*dict.fromkeys([*shapes, *missing])]
        if wrong and self.required is not None:
            # Two shapes if there are any: they come first.
            found = " ({} in the file, {} in the model)".format(*shapes[wrong[0]]) if shapes else ""
            raise CheckpointError(
                f"{source}: {len(wrong)} weights of the detector, such as {wrong[0]}, are not in "
                f"the file or have another shape there{found}. Config and weights must belong "
                "together"
            )
        return incompatible


def find_weights_file(path: str) -> str:
    """Return the file of the weights in a published folder; another path stays as it is."""
    inside = os.path.join(path, PUBLISHED)
    return inside if os.path.isfile(inside) else path


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
    the backbone's tensors. ``part`` is the prefix of the names that are loaded, "" for all. The
    attribute ``report`` is that of the last :meth:`load`.
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


def _iteration(name: str) -> float | None:
    """Return the iteration of a checkpoint of this name; infinity for the final one."""
    if name == FINAL:
        return float("inf")
    found = re.fullmatch(r"model_(\d+)\.pth", name)
    return int(found[1]) if found else None
