"""Access to Detectron2's model zoo, whatever the release of setuptools."""

import importlib
import sys
from importlib.resources import files
from importlib.util import find_spec
from types import ModuleType


def import_detectron2_model_zoo() -> ModuleType:
    """Return the module ``detectron2.model_zoo``.

    It imports pkg_resources for a single function, ``resource_filename``. setuptools 82 removed
    pkg_resources, so this function lends the import a module with that function.
    """
    if find_spec("pkg_resources") is not None:
        return importlib.import_module("detectron2.model_zoo")
    substitute = ModuleType("pkg_resources")
    vars(substitute)["resource_filename"] = lambda package, name: str(files(package) / name)
    sys.modules["pkg_resources"] = substitute
    try:
        return importlib.import_module("detectron2.model_zoo")
    finally:
        # Other packages probe for pkg_resources and must not find a part of it.
        del sys.modules["pkg_resources"]
