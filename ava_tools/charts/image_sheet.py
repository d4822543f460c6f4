"""Sheet of images with captions, one item below the other."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from detectron2.structures import Boxes, Instances
from PIL import Image, ImageDraw

from ava_tools.support.text import TextFont
from ava_tools.support.visualizer import COLORS, draw_clip_frame

BACKGROUND_COLOR, TEXT_COLOR, OUTLINE_COLOR = (252, 252, 251), (28, 31, 35), (92, 99, 107)
MARGIN, GAP, LINE = 24, 8, 22  # pixels
TITLE_FONT, TEXT_FONT = TextFont(16), TextFont(14)


@dataclass
class Item:
    """One row of images with its captions.

    Attributes:
        title: text above the images.
        images: images (H, W, 3) uint8 RGB, side by side.
        texts: captions in columns of equal width. Each line has the index of its person, which
            gives its colour, or None.
        strips: images (h, w, 3) uint8 RGB below, each stretched to the whole width.
    """

    title: str
    images: Sequence[np.ndarray]
    texts: Sequence[Sequence[tuple[int | None, str]]] = ()
    strips: Sequence[np.ndarray] = field(default_factory=list)


def draw_boxes(frame: np.ndarray, boxes: np.ndarray | torch.Tensor, min_width: int) -> np.ndarray:
    """Draw the boxes of persons, each in the colour of its index.

    Args:
        frame: (H, W, 3) uint8 RGB; not changed.
        boxes: (N, 4), x1, y1, x2, y2 in pixels of the frame.
        min_width: smaller frames are enlarged by an integer factor to at least this width.
    """
    persons = Instances(frame.shape[:2])
    persons.pred_boxes = Boxes(torch.as_tensor(boxes, dtype=torch.float32).reshape(-1, 4))
    persons.action_scores = torch.zeros(len(persons), 1)  # below min_score, so without text
    return draw_clip_frame(frame, persons, ("",), min_score=1.0, min_width=min_width)


def draw_sheet(items: Sequence[Item]) -> Image.Image:
    """Draw all items, one below the other, each as high as it needs."""
    drawn = [_draw_item(item) for item in items]
    width = max(image.width for image in drawn) + 2 * MARGIN
    height = MARGIN + sum(image.height + MARGIN for image in drawn)
    sheet = Image.new("RGB", (width, height), BACKGROUND_COLOR)
    y = MARGIN
    for image in drawn:
        sheet.paste(image, (MARGIN, y))
        y += image.height + MARGIN
    return sheet


def _draw_item(item: Item) -> Image.Image:
    images = [Image.fromarray(image) for image in item.images]
    width = sum(image.width for image in images) + GAP * (len(images) - 1)
    column = width // max(len(item.texts), 1)
    texts = [
        [
            (person, part)
            for person, line in lines
            for part in wrap_text(line, TEXT_FONT, column - 3 * LINE)
        ]
        for lines in item.texts
    ]
    # From top to bottom: title, images, strips, texts.
    image_top = LINE + GAP
    strip_top = image_top + max(image.height for image in images) + GAP
    text_top = strip_top + sum(len(strip) + GAP for strip in item.strips)
    height = text_top + LINE * max(map(len, texts), default=0)
    canvas = Image.new("RGB", (width, height), BACKGROUND_COLOR)
    draw = ImageDraw.Draw(canvas)
    TITLE_FONT.draw(draw, (0, TITLE_FONT.size), item.title, TEXT_COLOR)
    x = 0
    for image in images:
        canvas.paste(image, (x, image_top))
        x += image.width + GAP
    y = strip_top
    for strip in item.strips:
        canvas.paste(Image.fromarray(strip).resize((width, len(strip))), (0, y))
        y += len(strip) + GAP
    for i, lines in enumerate(texts):
        _write_lines(draw, (i * (column + GAP // 2), text_top), lines)
    return canvas


def _write_lines(
    draw: ImageDraw.ImageDraw,
    position: tuple[int, int],
    lines: Sequence[tuple[int | None, str]],
) -> None:
    """Write lines of text; the first line of each person has a square in the person's colour."""
    x, top = position
    previous = None
    for row, (person, line) in enumerate(lines):
        y = top + row * LINE
        if person is not None and person != previous:
            color = COLORS[person % len(COLORS)]
            draw.rectangle((x, y + 4, x + 11, y + 15), color, outline=OUTLINE_COLOR)
        previous = person
        left = x + (20 if person is not None else 0)
        TEXT_FONT.draw(draw, (left, y + TEXT_FONT.size), line, TEXT_COLOR)


def wrap_text(text: str, font: TextFont, width: int) -> list[str]:
    """Break a text between words into lines of at most ``width`` pixels."""
    lines = [""]
    for word in text.split(" "):
        longer = f"{lines[-1]} {word}".strip()
        if lines[-1] and font.getlength(longer) > width:
            lines.append(word)
        else:
            lines[-1] = longer
    return lines
