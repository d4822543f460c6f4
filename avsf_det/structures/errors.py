"""Errors that a user can act on. Their message names the file, the place in it and the remedy."""

import re

MAX_MESSAGE = 300  # characters
# Problems of video files, in the order of a summary. They are here because the command line names
# them before it imports the package that finds them.
VIDEO_PROBLEMS = (
    *("missing", "undecodable", "no sound", "silent", "out of sync", "too short"),
    "second after the end",
)
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")


class AVSFError(ValueError):
    """Base class of all errors that this project raises about its input.

    The message is one line of at most ``MAX_MESSAGE`` characters, whatever values it quotes.
    """

    def __init__(self, message: object = "") -> None:
        super().__init__(one_line(str(message)))


class AnnotationError(AVSFError):
    """Annotation file that is missing, or has a row that cannot be used."""


class ConfigError(AVSFError):
    """Config file, config key, command-line option or device that cannot be used."""


def one_line(text: str, limit: int = MAX_MESSAGE) -> str:
    """Return a text on one line, without control characters, cut in the middle to ``limit``."""
    text = " ".join(part for line in text.splitlines() if (part := line.strip()))
    # Escaped, a terminal cannot be made to move its cursor or to show text in another order.
    text = _CONTROL.sub(lambda found: found[0].encode("unicode_escape").decode(), text)
    if len(text) <= limit:
        return text
    # The start names file and line, the end the remedy: both stay.
    end = limit // 3
    return f"{text[: limit - end - 5]} ... {text[-end:]}"
