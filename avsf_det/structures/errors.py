"""Errors that a user can act on. Their message names the file, the place in it and the remedy."""


class AVSFError(ValueError):
    """Base class of all errors that this project raises about its input."""


class AnnotationError(AVSFError):
    """Annotation file that is missing, or has a row that cannot be used."""


class ConfigError(AVSFError):
    """Config file, config key, command-line option or device that cannot be used."""
