"""Folders of trainings and evaluations: no run overwrites the results of another one."""

import os
import re
import zlib
from collections.abc import Sequence
from pathlib import Path

from detectron2.config import CfgNode

from avsf_det.checkpoint.checkpointer import FINAL, TAG
from avsf_det.structures import ConfigError

from .config_file import read_options

_PREFIX = "eval"
_MAX_NAME = 80  # characters


def _checkpoints(folder: str) -> list[str]:
    names = os.listdir(folder) if os.path.isdir(folder) else []
    return [x for x in names if x in (TAG, FINAL) or re.fullmatch(r"model_\d+\.pth", x)]


def remove_checkpoints(folder: str) -> None:
    """Remove the model of an earlier training, from which a later one would resume."""
    for name in _checkpoints(folder):
        os.remove(os.path.join(folder, name))


def check_output_folder(folder: str) -> None:
    """Check that a new training overwrites no model.

    Raises:
        ConfigError: it would.
    """
    if _checkpoints(folder):
        raise ConfigError(
            f"OUTPUT_DIR {folder} holds a trained model. Give --resume to go on with it, "
            "--overwrite to replace it, or another OUTPUT_DIR"
        )


def check_resumed_batch(cfg: CfgNode) -> None:
    """Check that a resumed recipe is scaled to as many processes as before.

    An iteration would mean other clips otherwise, and the learning rate would be that of the
    checkpoint, for another batch. Numbers that are not scaled are somebody's decision.

    Raises:
        ConfigError: the batch differs.
    """
    file = Path(cfg.OUTPUT_DIR, "config.yaml")
    if not (cfg.SOLVER.REFERENCE_WORLD_SIZE and _checkpoints(cfg.OUTPUT_DIR) and file.exists()):
        return
    # By pattern: a run that was killed may have left a part of the file.
    found = re.search(r"^  IMS_PER_BATCH: (\d+)$", file.read_text(), re.MULTILINE)
    if found and int(found[1]) != (batch := cfg.SOLVER.IMS_PER_BATCH):
        raise ConfigError(
            f"{file} has SOLVER.IMS_PER_BATCH {found[1]}, this run would go on with {batch}. Start "
            f"as many processes as before, or keep the numbers: --config-file {file} "
            "SOLVER.REFERENCE_WORLD_SIZE 0"
        )


def evaluation_folder(cfg: CfgNode, options: Sequence[object]) -> str:
    """Return the folder of an evaluation: OUTPUT_DIR, or one in it if that holds a model.

    The training has evaluated its model in OUTPUT_DIR, and keeps its config there. The name of the
    evaluation's folder is made of the options, for example ``eval_AUDIO_MODE_mute``.
    """
    if not _checkpoints(cfg.OUTPUT_DIR):
        return cfg.OUTPUT_DIR
    parts = [_PREFIX]
    for setting in read_options(options):
        key, value = setting.key.rpartition(".")[2], str(setting.value)
        if setting.key == "MODEL.WEIGHTS":
            parts += [stem for stem in [Path(value).stem] if stem != Path(FINAL).stem]
        elif setting.key != "OUTPUT_DIR":
            # Of files the names alone, without folder and ending.
            value = re.sub(r"[^\s,()\[\]]*[/\\]|\.[a-z]\w{2,3}\b", "", value)
            parts += [key, *re.findall(r"[\w.\-]+", value)]
    name = "_".join(parts)
    if len(name) > _MAX_NAME:
        name = f"{name[:_MAX_NAME]}_{zlib.crc32(name.encode()):08x}"
    return os.path.join(cfg.OUTPUT_DIR, name)


def trained_folder(folder: str) -> str:
    """Return the folder of the training whose evaluation is in a folder, else the folder itself."""
    parent, name = os.path.split(folder)
    is_inside = name.split("_")[0] == _PREFIX and _checkpoints(parent)
    return parent if is_inside else folder
