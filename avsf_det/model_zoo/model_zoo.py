"""Find the configs of this package, in a wheel and in a checkout."""

from pathlib import Path

import torch
from detectron2.config import CfgNode, get_cfg
from detectron2.modeling import build_model
from torch import nn

from ..checkpoint import AVSFCheckpointer
from ..config import add_avsf_config
from ..structures import AVSFError
from ..structures.addresses import beside, is_address, local_path
from .public_weights import get_url

# A wheel holds a copy of the configs beside this file. A checkout has them at its root.
_FOLDERS = (Path(__file__).parent / "configs", Path(__file__).parents[2] / "configs")


CONFIG_NAME = "config.yaml"  # of a published folder


class ModelZooError(AVSFError):
    """A config name that is not in the model zoo."""


def get_config_file(config_path: str) -> str:
    """Return the path of a config.

    Args:
        config_path: name relative to ``configs/``, such as "AVA/avsf_r101_8x8.yaml".

    Raises:
        ModelZooError: there is no such config.
    """
    folder = next(folder for folder in _FOLDERS if folder.is_dir())
    path = folder / config_path
    if not path.is_file() or folder.resolve() not in path.resolve().parents:
        groups = sorted(p.name for p in folder.iterdir() if p.is_dir())
        raise ModelZooError(
            f"There is no config {config_path!r} in {folder}. Give a name relative to that "
            f"folder, such as 'AVA/avsf_r101_8x8.yaml'; its groups are {', '.join(groups)}"
        )
    return str(path)


def find_config_file(path: str) -> str:
    """Return the path of a config: that in a published folder, a file, or one of this name.

    Args:
        path: folder of ``ava_tools/publish_model.py`` or its address (``hf://org/name``); yaml file
            or its address; or a name as for :func:`get_config_file`. Others stay as they are.
    """
    is_published = is_address(path) and not path.endswith((".yaml", ".yml"))
    if is_published or (Path(path) / CONFIG_NAME).is_file():
        return f"{path.rstrip('/')}/{CONFIG_NAME}"
    folder = next(folder for folder in _FOLDERS if folder.is_dir())
    is_name = not Path(path).exists() and (folder / path).is_file()
    return get_config_file(path) if is_name else path


def get_checkpoint_url(config_path: str) -> str:
    """Return the URL, or the path, of a config's published weights.

    Args:
        config_path: name as for :func:`get_config`.

    Raises:
        ModelZooError: the config names no weights.
    """
    weights = get_config(config_path).MODEL.WEIGHTS
    if not weights:
        raise ModelZooError(f"{config_path} has no published weights; those of zoo/ have")
    return get_url(weights)


def get(config_path: str, *, trained: bool = False, device: str | None = None) -> nn.Module:
    """Build the model of a config, in eval mode.

    Args:
        config_path: name as for :func:`get_config`.
        trained: whether to load MODEL.WEIGHTS of the config; else weights are random.
        device: device of the model; None for MODEL.DEVICE, or the CPU where there is no CUDA.

    Raises:
        CheckpointError: the weights cannot be used, or lack a part of the model.
    """
    cfg = get_config(config_path)
    cfg.MODEL.DEVICE = device or ("cuda" if torch.cuda.is_available() else "cpu")
    model = build_model(cfg)
    if trained:
        get_checkpoint_url(config_path)  # or raises
        AVSFCheckpointer(model, required="model").load(cfg.MODEL.WEIGHTS)
    return model.eval()


def get_config(config_path: str) -> CfgNode:
    """Return Detectron2's and this package's defaults, overridden by a config.

    Args:
        config_path: name as for :func:`get_config_file`, or what :func:`find_config_file` takes.
    """
    file = find_config_file(config_path)
    if not is_address(file) and not Path(file).is_file():
        file = get_config_file(config_path)  # raises
    cfg = get_cfg()
    add_avsf_config(cfg)
    try:
        cfg.merge_from_file(local_path(file), allow_unsafe=False)
    except OSError as error:
        raise ModelZooError(f"{file}: cannot be read ({error})") from error
    cfg.MODEL.WEIGHTS = beside(file, cfg.MODEL.WEIGHTS)
    return cfg
