"""Audiovisual spatiotemporal action detection (AVSlowFast) on Detectron2.

Importing this package registers its models and data sets with Detectron2.
"""

from importlib.util import find_spec

if find_spec("detectron2") is None:
    raise ImportError(
        "avsf_det needs Detectron2, which is not installed; run: "
        "python ava_tools/install_detectron2.py"
    )

import detectron2  # noqa: F401  (first: DETECTRON2_ENV_MODULE may register data sets with ours)

from . import data, modeling  # noqa: F401  (they register data sets and models)
from .config import add_avsf_config

__all__ = ["add_avsf_config"]
__version__ = "0.1.0"
