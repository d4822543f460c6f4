"""Audiovisual spatiotemporal action detection (AVSlowFast) on Detectron2.

``from avsf_det import add_avsf_config`` registers the models and datasets with Detectron2. The
import of the package alone does not, so that scoring (``structures`` and ``evaluation.ava_map``)
loads neither torch nor Detectron2.
"""

import sys
from importlib.machinery import ModuleSpec
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .config import add_avsf_config

__all__ = ["add_avsf_config"]
__version__ = "0.1.0"


class _MissingDetectron2:
    """Last finder of modules: says how to install Detectron2 if no other finds it."""

    @staticmethod
    def find_spec(name: str, path: object = None, target: object = None) -> ModuleSpec | None:
        if name == "detectron2":
            raise ImportError(
                "avsf_det needs Detectron2, which is not installed; run: "
                "python ava_tools/install_detectron2.py",
                name=name,
            )
        return None


sys.meta_path.append(_MissingDetectron2)


def __getattr__(name: str) -> object:
    if name != "add_avsf_config":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    # These register datasets, models and the addresses of public weights.
    from . import data, model_zoo, modeling  # noqa: F401
    from .config import add_avsf_config

    return add_avsf_config
