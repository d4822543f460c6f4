"""Pictures with words, one below the other: what the tools ``visualize_*`` write."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import matplotlib
import numpy as np
import torch
from detectron2.structures import Boxes, Instances
from PIL import Image, ImageDraw, ImageFont

from avsf_det.utils.visualizer import COLORS, draw_clip_frame

PAPER, INK, SOFT = (252, 252, 251), (28, 31, 35), (92, 99, 107)
MARGIN, GAP, LINE = 24, 8, 22  # pixels
FONT_FILE = f"{matplotlib.get_data_path()}/fonts/ttf/DejaVuSans.ttf"


@dataclass
class Item:
    """One row of pictures.

    Attributes:
        title: above them.
        pictures: uint8 (H, W, 3) RGB, beside each other.
        texts: below them, in equal columns: lines, each of person i (its colour) or of nobody.
        strips: uint8 (h, w, 3), each stretched over the whole row.
    """

    title: str
    pictures: Sequence[np.ndarray]
    texts: Sequence[Sequence[tuple[int | None, str]]] = ()
    strips: Sequence[np.ndarray] = field(default_factory=list)


def draw_boxes(frame: np.ndarray, boxes: np.ndarray | torch.Tensor, min_width: int) -> np.ndarray:
    """A frame with the box of person 0, 1, ... in that person's colour.

    Args:
        frame: uint8 (H, W, 3) RGB.
        boxes: (N, 4), x1, y1, x2, y2 in pixels of the frame.
        min_width: smaller frames are enlarged by a whole factor to this width or more.
    """
    persons = Instances(frame.shape[:2])
    persons.pred_boxes = Boxes(torch.as_tensor(boxes, dtype=torch.float32).reshape(-1, 4))
    persons.action_scores = torch.zeros(len(persons), 1)  # words stand below the picture
    return draw_clip_frame(frame, persons, ("",), min_score=1.0, min_width=min_width)


def draw_sheet(items: Sequence[Item]) -> Image.Image:
    """All items, one below the other, each as high as it needs."""
    drawn = [_draw_item(item) for item in items]
    width = max(image.width for image in drawn) + 2 * MARGIN
    sheet = Image.new("RGB", (width, MARGIN + sum(i.height + MARGIN for i in drawn)), PAPER)
    y = MARGIN
    for image in drawn:
        sheet.paste(image, (MARGIN, y))
        y += image.height + MARGIN
    return sheet


def _draw_item(item: Item) -> Image.Image:
    pictures = [Image.fromarray(p) for p in item.pictures]
    width = sum(p.width for p in pictures) + GAP * (len(pictures) - 1)
    column = width // max(len(item.texts), 1)
    font = ImageFont.truetype(FONT_FILE, 14)
    texts = [
        [(person, part) for person, line in lines for part in _wrap(line, font, column - 3 * LINE)]
        for lines in item.texts
    ]
    top = LINE + GAP
    height = top + max(p.height for p in pictures)
    text_top = height + GAP + sum(len(s) + GAP for s in item.strips)
    image = Image.new("RGB", (width, text_top + LINE * max(map(len, texts), default=0)), PAPER)
    draw = ImageDraw.Draw(image)
    draw.text((0, 0), item.title, INK, ImageFont.truetype(FONT_FILE, 16))
    x = 0
    for picture in pictures:
        image.paste(picture, (x, top))
        x += picture.width + GAP
    y = height + GAP
    for strip in item.strips:
        image.paste(Image.fromarray(strip).resize((width, len(strip))), (0, y))
        y += len(strip) + GAP
    for i, lines in enumerate(texts):
        previous = None
        for row, (person, line) in enumerate(lines):
            x, y = i * (column + GAP // 2), text_top + row * LINE
            if person is not None and person != previous:
                color = COLORS[person % len(COLORS)]
                draw.rectangle((x, y + 4, x + 11, y + 15), color, outline=SOFT)
            previous = person
            draw.text((x + (20 if person is not None else 0), y), line, INK, font)
    return image


def _wrap(text: str, font: ImageFont.FreeTypeFont, width: int) -> list[str]:
    """Lines of at most ``width`` pixels, broken between words."""
    lines = [""]
    for word in text.split(" "):
        longer = f"{lines[-1]} {word}".strip()
        if lines[-1] and font.getlength(longer) > width:
            lines.append(word)
        else:
            lines[-1] = longer
    return lines
