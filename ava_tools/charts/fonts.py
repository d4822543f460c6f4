"""Fonts of charts whose texts come from users."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import matplotlib
from matplotlib import font_manager

from ava_tools.support.text import find_font_files, printable


def literal(text: str) -> str:
    """Return what matplotlib can draw of a text of several lines."""
    return "\n".join(map(printable, text.split("\n")))


@contextmanager
def fonts_for(*texts: str) -> Iterator[None]:
    """Make matplotlib draw texts in fonts that cover them; both making and saving belong inside.

    A script without a font is reported once, with the remedy, instead of matplotlib's warning for
    each character.
    """
    families = []
    for file in find_font_files(texts):
        font_manager.fontManager.addfont(file)
        families.append(font_manager.FontProperties(fname=file).get_name())
    with warnings.catch_warnings(), matplotlib.rc_context({"font.family": families}):
        warnings.filterwarnings("ignore", "Glyph .* missing from")
        yield
