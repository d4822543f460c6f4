"""Configs and public weights by name; the API is that of Detectron2's model zoo."""

from .model_zoo import find_config_file, get, get_checkpoint_url, get_config, get_config_file

__all__ = ["find_config_file", "get", "get_checkpoint_url", "get_config", "get_config_file"]
