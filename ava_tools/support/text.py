"""Text in images, in any script that an installed font covers.

OpenCV draws ASCII: quickly, and the same on every machine. Its versions before 5 draw "?" for every
other character, so Pillow draws those. Each character comes from the first of these fonts that has
it: DejaVu Sans, which comes with matplotlib (Latin, Greek, Cyrillic, Arabic, Hebrew); the CJK font
inside OpenCV 5; a font of the package noto-cjk-sans-otc; a font of the system.
"""

import functools
import importlib.util
import logging
import unicodedata
from collections.abc import Collection, Iterable, Iterator
from itertools import groupby
from operator import itemgetter
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

Color = tuple[int, int, int]

_HERSHEY = cv2.FONT_HERSHEY_SIMPLEX
_PIXELS_PER_SCALE = 30  # size of other fonts whose capitals are as high as _HERSHEY's at scale 1
_OPENCV = "font inside OpenCV"  # in the place of a file name
_MISSING = "\N{WHITE SQUARE}"
# Parts of file names of fonts that are chosen last: they are no upright sans-serif of book weight.
_UNUSUAL = ("bold", "italic", "oblique", "black", "light", "thin", "serif", "mono", "narrow", "kai")
# Fonts that claim every character, and draw none of them legibly.
_PLACEHOLDERS = ("lastresort", "adobeblank", "notdef")
_CJK = {"CJK", "HANGUL", "HIRAGANA", "KATAKANA", "BOPOMOFO", "IDEOGRAPHIC", "FULLWIDTH"}

_file_of: dict[str, str | None] = {}  # character -> file of its font, _OPENCV, or None
_reported: set[str] = set()  # scripts without a font

logger = logging.getLogger(__name__)


def measure_text(text: str, scale: float) -> tuple[int, int, int]:
    """Return the width of a line, the height above the baseline and that below it, in pixels.

    ``scale`` is OpenCV's: capitals are about 22 * ``scale`` pixels high.
    """
    if text.isascii() and text.isprintable():
        (width, height), below = cv2.getTextSize(text, _HERSHEY, scale, 1)
        return width, height, below
    mask, above = _draw_mask(text, round(scale * _PIXELS_PER_SCALE))
    return mask.shape[1], above, len(mask) - above


def draw_text(
    image: np.ndarray, text: str, origin: tuple[int, int], scale: float, color: Color
) -> None:
    """Write one line into an image (H, W, 3) uint8; what lies outside the image is cut off.

    ``origin`` (x, y) is the left end of the baseline in pixels; for ``scale`` see measure_text.
    """
    if text.isascii() and text.isprintable():
        cv2.putText(image, text, origin, _HERSHEY, scale, color, 1, cv2.LINE_AA)
        return
    mask, above = _draw_mask(text, round(scale * _PIXELS_PER_SCALE))
    left, top = origin[0], origin[1] - above
    mask = mask[max(-top, 0) :, max(-left, 0) :]
    part = image[max(top, 0) :, max(left, 0) :][: len(mask), : mask.shape[1]]
    opacity = mask[: len(part), : part.shape[1], None] / np.float32(255)
    part[:] = np.rint(part + opacity * (np.array(color, np.float32) - part))


def printable(text: str) -> str:
    """Replace line breaks and other control characters by blanks, undecodable bytes by a mark.

    OpenCV 5 ends the process at a lone surrogate, which Python makes of such a byte in a file name.
    """
    marks = dict.fromkeys(("Cc", "Zl", "Zp"), " ") | {"Cs": "\N{REPLACEMENT CHARACTER}"}
    return "".join(marks.get(unicodedata.category(character), character) for character in text)


class TextFont:
    """A size of text, drawn by Pillow in every script that an installed font covers."""

    def __init__(self, size: int) -> None:  # of an em, in pixels
        self.size = size

    def getlength(self, text: str) -> float:
        """Return the width of one line in pixels."""
        return sum(self._length_of(file, part) for file, part in _split_by_font(text))

    def draw(
        self, draw: ImageDraw.ImageDraw, origin: tuple[float, float], text: str, color: Color | int
    ) -> None:
        """Write one line from ``origin`` (x, y), the left end of the baseline, in pixels."""
        x, y = origin
        for file, part in _split_by_font(text):
            if file == _OPENCV:
                mask = _draw_by_opencv(part, self.size)
                draw.bitmap((round(x), round(y) - self.size), Image.fromarray(mask), color)
            else:
                draw.text((x, y), part, color, _load_font(file, self.size), anchor="ls")
            x += self._length_of(file, part)

    def _length_of(self, file: str, text: str) -> float:
        if file == _OPENCV:
            return _draw_by_opencv(text, self.size).shape[1]
        return _load_font(file, self.size).getlength(text)


def find_font_files(texts: Iterable[str]) -> list[str]:
    """Return font files that together cover texts, for libraries that cannot use OpenCV's font.

    The first is DejaVu Sans. Characters without a font are reported as in drawings.
    """
    wanted = {character for text in texts for character in printable(text)}
    chosen = _cover(wanted, _installed_files())
    _report(character for character in wanted if chosen[character] is None)
    return list(dict.fromkeys([_default_file(), *filter(None, chosen.values())]))


@functools.lru_cache(1024)  # labels stay the same over many frames
def _draw_mask(text: str, size: int) -> tuple[np.ndarray, int]:
    """Return the opacity (h, w) uint8 of one line, and the row of its baseline."""
    font, above, below = TextFont(size), size + 1, round(0.3 * size) + 1
    mask = Image.new("L", (round(font.getlength(text)) + 2, above + below))
    font.draw(ImageDraw.Draw(mask), (0, above), text, 255)
    return np.asarray(mask), above


def _draw_by_opencv(text: str, size: int) -> np.ndarray:
    """Return the opacity (h, w) uint8 of a line in OpenCV's font; row ``size`` is the baseline."""
    face = getattr(cv2, "FontFace")("uni")  # noqa: B009  # absent, and unknown to mypy, before 5
    mask = np.zeros((round(1.4 * size), 2 * size * (len(text) + 1)), np.uint8)
    (end, _), mask = cv2.putText(mask, text, (0, size), 255, face, size)
    return mask[:, : max(end, 1)]


def _split_by_font(text: str) -> Iterator[tuple[str, str]]:
    """Yield (file, part) of a line from left to right; parts without a font become squares."""
    text = printable(text)
    new = {character for character in text if character not in _file_of}
    if new:
        _file_of.update(_cover(new, [_OPENCV, *_installed_files()]))
    _report(character for character in text if _file_of[character] is None)
    files: list[str | None] = []
    for character in text:
        file, before = _file_of[character], files[-1] if files else None
        # Blanks, digits and combining marks stay with the letters before them.
        if before and file and before != _OPENCV and _has(before, character):
            file = before
        files.append(file)
    for found, group in groupby(zip(files, text, strict=True), key=itemgetter(0)):
        part = "".join(character for _, character in group)
        yield (found, part) if found else (_default_file(), _MISSING * len(part))


def _cover(characters: set[str], files: Collection[str]) -> dict[str, str | None]:
    """Return the font of each character, None where there is none; few fonts, usual ones first."""
    chosen: dict[str, str | None] = dict.fromkeys(characters)
    # Formatting characters are invisible: any font will do.
    missing = {c for c in characters if unicodedata.category(c) != "Cf"}
    chosen.update(dict.fromkeys(characters - missing, _default_file()))
    # The fonts in use come first, so that few fonts meet in a picture.
    in_use = [file for file in filter(None, _file_of.values()) if file in files]
    covered: dict[str, set[str]] = {}
    for file in dict.fromkeys([_default_file(), *in_use, *files]):
        found = {character for character in missing if _has(file, character)}
        if file == _default_file() or found == missing:
            chosen.update(dict.fromkeys(found, file))
            missing -= found
        elif found:
            covered[file] = found
        if not missing:
            return chosen
    # No font has all: the one with the most comes first.
    while best := max(covered, key=lambda file: len(covered[file] & missing), default=""):
        found = covered.pop(best) & missing
        chosen.update(dict.fromkeys(found, best))
        missing -= found
    return chosen


def _has(file: str, character: str) -> bool:
    return _opencv_has(character) if file == _OPENCV else ord(character) in _characters_of(file)


@functools.cache
def _opencv_has(character: str) -> bool:
    return hasattr(cv2, "FontFace") and not np.array_equal(
        _draw_by_opencv(character, 24), _draw_by_opencv("?", 24)
    )


@functools.lru_cache(16)  # a CJK font has 65,536 characters
def _characters_of(file: str) -> frozenset[int]:
    """Return the code points of a font that Pillow can draw; none of a broken or bitmap font."""
    from matplotlib.ft2font import FT2Font

    try:
        _load_font(file, 16)
        return frozenset(FT2Font(file).get_charmap())
    except (OSError, RuntimeError):
        return frozenset()


@functools.lru_cache(64)
def _load_font(file: str, size: int) -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(file, size)


@functools.cache
def _default_file() -> str:
    import matplotlib

    return f"{matplotlib.get_data_path()}/fonts/ttf/DejaVuSans.ttf"


@functools.cache
def _installed_files() -> list[str]:
    """Return the font files of the package and of the system, the usual ones first."""
    from matplotlib import font_manager

    package = importlib.util.find_spec("noto_cjk_sans_otc")
    folders = (package.submodule_search_locations or []) if package else []
    packaged = [str(path) for folder in folders for path in Path(folder).rglob("*.[ot]t[cf]")]
    names = {file: Path(file).stem.lower() for file in font_manager.findSystemFonts()}
    system = [f for f, name in names.items() if not any(x in name for x in _PLACEHOLDERS)]
    system.sort(key=lambda f: (sum(part in names[f] for part in _UNUSUAL), len(names[f]), f))
    return [*sorted(packaged), *system]


def _report(characters: Iterable[str]) -> None:
    """Warn once of each script that no font covers."""
    for character in characters:
        name = unicodedata.name(character, "UNKNOWN").split()[0].split("-")[0]
        script = "symbols" if unicodedata.category(character)[0] == "S" else name
        if script in _reported:
            continue
        _reported.add(script)
        remedy = "install a font of the system for them, on Debian for example fonts-noto-core"
        if script in _CJK:
            _reported.update(_CJK)
            remedy = (
                "pip install noto-cjk-sans-otc, or a font of the system, on Debian fonts-noto-cjk"
            )
        logger.warning(
            f"no installed font has U+{ord(character):04X} ({script}): such characters are drawn "
            f"as squares; {remedy}"
        )
