"""Find the configs of this package, in a wheel and in a checkout."""

from pathlib import Path

from detectron2.config import CfgNode, get_cfg

from ..config import add_avsf_config
from ..structures import AVSFError

# A wheel holds a copy of the configs beside this file. A checkout has them at its root.
_FOLDERS = (Path(__file__).parent / "configs", Path(__file__).parents[2] / "configs")


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


def get_config(config_path: str) -> CfgNode:
    """Return Detectron2's and this package's defaults, overridden by a config.

    Args:
        config_path: name as for :func:`get_config_file`.
    """
    cfg = get_cfg()
    add_avsf_config(cfg)
    cfg.merge_from_file(get_config_file(config_path), allow_unsafe=False)
    return cfg
