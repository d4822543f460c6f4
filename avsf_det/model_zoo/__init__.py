"""Configs by name, wherever the package is installed; the API is that of Detectron2's model zoo."""

from .model_zoo import get_config, get_config_file

__all__ = ["get_config", "get_config_file"]
