"""Fields of annotation files: times, class indices and names. Messages name file and line."""

import math
import unicodedata

from ...structures import AnnotationError

_MAX_SECOND = 1e9  # 31 years; a larger time is a number of another kind
_MAX_CLASSES = 100_000


def parse_seconds(place: str, column: str, text: str) -> float:
    """Parse a time in seconds, at least 0; ``place`` and ``column`` are for messages."""
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 0 <= seconds <= _MAX_SECOND or "_" in text:  # true for nan as well
        raise AnnotationError(
            f"{place}: {column} '{text}'. It must be seconds from the start of the video, at least "
            "0, such as 11.9."
        )
    return seconds


def parse_class_id(place: str, column: str, text: str, num_classes: int) -> int:
    """Parse a class index in 0..num_classes-1; ``place`` and ``column`` are for messages."""
    index = to_index(text)
    if index is None or index >= num_classes:
        raise AnnotationError(
            f"{place}: {column} '{text}'. It must be an integer 0..{num_classes - 1}: there are "
            f"{num_classes} classes and ids start at 0."
        )
    return index


def to_index(text: str) -> int | None:
    """Return the integer in 0..10**9 that a text gives, also as "3.0"; else None."""
    digits = text.partition(".")[0] if text.rstrip("0").endswith(".") else text
    # Longer numbers take time that grows with the square of their length, or are refused by int.
    return int(digits) if digits.isdecimal() and len(digits) <= 9 else None


def is_number(text: str) -> bool:
    """Return whether a label is an index or looks like one that is too large."""
    return text.isdecimal() or to_index(text) is not None


def parse_index(place: str, label: str) -> int:
    """Parse a class index where the number of classes is unknown."""
    index = to_index(label)
    if index is None or index >= _MAX_CLASSES:
        raise AnnotationError(
            f"{place}: label '{label}' as an index would need as many classes. Indices are below "
            f"{_MAX_CLASSES}."
        )
    return index


def normal_form(name: str) -> str:
    """Return a name in the Unicode form in which each accent is one character with its letter."""
    return name if name.isascii() else unicodedata.normalize("NFC", name)
