"""Draw frames with person boxes and their actions, and the log-mel spectrogram below."""

import math
from collections.abc import Sequence

import cv2
import numpy as np
import torch
from detectron2.structures import Instances

from .text import draw_text, measure_text

# RGB of the first, second, ... person.
COLORS = (
    *((255, 196, 0), (0, 200, 255), (255, 90, 150)),
    *((120, 230, 90), (190, 130, 255), (255, 130, 50)),
)
# Natural log of power of silence, and about that of loud speech.
QUIET, LOUD = math.log(1e-8), 4.0

Rect = tuple[int, int, int, int]  # x1, y1, x2, y2 in pixels, right and bottom excluded


def draw_clip_frame(
    frame: np.ndarray,
    instances: Instances | None,
    class_names: Sequence[str],
    logmel: np.ndarray | torch.Tensor | None = None,
    *,
    playhead: float | None = None,
    min_score: float = 0.3,
    max_actions: int = 4,
    min_width: int = 640,
) -> np.ndarray:
    """Draw one frame of a clip.

    Args:
        frame: (H, W, 3) uint8 RGB; not changed.
        instances: model output (contract 3): ``pred_boxes`` in pixels of ``image_size`` and
            ``action_scores`` (N, K) in 0..1; None: no boxes.
        class_names: names of the K actions.
        logmel: (T_a, F) natural log of power, drawn under the frame: time to the right, low
            frequencies at the bottom; None: no spectrogram.
        playhead: frame's own time in the spectrogram, 0 its start, 1 its end, marked by a line.
        min_score: smallest score of the actions that are written.
        max_actions: largest number of actions per person.
        min_width: smaller frames are enlarged by an integer factor to at least this width in
            pixels, so that text is readable.

    Returns:
        (H', W', 3) uint8 RGB of even height and width, as video encoders need.
    """
    height, width = frame.shape[:2]
    factor = max(1, math.ceil(min_width / width))
    size = (_even(width * factor), _even(height * factor))
    canvas = cv2.resize(frame, size, interpolation=cv2.INTER_CUBIC)
    if instances is not None and len(instances):
        draw_persons(canvas, instances.to("cpu"), class_names, min_score, max_actions)
    if logmel is None:
        return canvas
    strip = draw_logmel(logmel, size[0], _even(max(64, size[1] // 5)), playhead)
    return np.concatenate([canvas, strip])


def draw_logmel(
    logmel: np.ndarray | torch.Tensor, width: int, height: int, playhead: float | None = None
) -> np.ndarray:
    """Draw a spectrogram in colour: silence is dark; the scale is fixed, so that clips compare.

    Args:
        logmel: (T_a, F) natural log of power.
        width: width of the image in pixels.
        height: height of the image in pixels.
        playhead: place of a vertical line, 0..1; None: no line.

    Returns:
        (height, width, 3) uint8 RGB; time to the right, low frequencies at the bottom.
    """
    loudness = (np.asarray(logmel, np.float32).T[::-1] - QUIET) / (LOUD - QUIET)
    gray: np.ndarray = np.rint(255 * loudness.clip(0, 1)).astype(np.uint8)
    gray = cv2.resize(gray, (width, height), interpolation=cv2.INTER_LINEAR)
    strip = cv2.cvtColor(cv2.applyColorMap(gray, cv2.COLORMAP_INFERNO), cv2.COLOR_BGR2RGB)
    if playhead is not None:
        x = round(min(max(playhead, 0.0), 1.0) * (width - 1))
        cv2.line(strip, (x, 0), (x, height - 1), (255, 255, 255), 2)
    return strip


def draw_persons(
    canvas: np.ndarray,
    instances: Instances,
    class_names: Sequence[str],
    min_score: float = 0.3,
    max_actions: int = 4,
) -> None:
    """Draw the boxes into a canvas uint8 (H, W, 3), then every label where it hides least.

    The other arguments are those of :func:`draw_clip_frame`. Each pixel of the result is an affine
    function of the canvas' pixel: nothing depends on the content of the canvas.
    """
    height, width = canvas.shape[:2]
    boxes = instances.pred_boxes.clone()
    boxes.scale(width / instances.image_size[1], height / instances.image_size[0])
    boxes.clip((height - 1, width - 1))
    rects = [tuple(box) for box in boxes.tensor.round().int().tolist()]
    line = max(2, width // 320)
    for i, (x1, y1, x2, y2) in enumerate(rects):
        cv2.rectangle(canvas, (x1, y1), (x2, y2), COLORS[i % len(COLORS)], line)
    labels: list[Rect] = []
    for i, rect in enumerate(rects):
        texts = _top_actions(instances.action_scores[i], class_names, min_score, max_actions)
        if texts:
            # Text over text is unreadable; to cover the person's own box costs least.
            costs = [(10, label) for label in labels]
            costs += [(1 if j == i else 2, other) for j, other in enumerate(rects)]
            labels.append(_draw_label(canvas, texts, COLORS[i % len(COLORS)], rect, costs))


def _top_actions(
    scores: torch.Tensor, class_names: Sequence[str], min_score: float, max_actions: int
) -> list[str]:
    """Return lines such as "talk 0.93" from one person's scores (K,), best first."""
    best = scores.topk(min(max_actions, len(scores)))
    pairs = zip(best.values.tolist(), best.indices.tolist(), strict=True)
    return [f"{class_names[i]} {value:.2f}" for value, i in pairs if value >= min_score]


def _draw_label(
    canvas: np.ndarray, texts: list[str], color: tuple, rect: Rect, costs: list[tuple[int, Rect]]
) -> Rect:
    """Write lines on a dark panel near the person's box; return the panel's place."""
    height, width = canvas.shape[:2]
    font_scale = 0.5 * max(1.0, width / 800)
    sizes = [measure_text(text, font_scale) for text in texts]
    pad = 4
    row = max(above + below for _, above, below in sizes) + pad
    panel_width = min(max(size[0] for size in sizes) + 4 * pad, width)
    panel = _place(rect, panel_width, min(row * len(texts) + pad, height), width, height, costs)
    x1, y1, x2, y2 = panel
    canvas[y1:y2, x1:x2] = canvas[y1:y2, x1:x2] // 4
    canvas[y1:y2, x1 : x1 + pad] = color
    for i, (text, (_, _, below)) in enumerate(zip(texts, sizes, strict=True)):
        origin = (x1 + 2 * pad, y1 + (i + 1) * row - below)
        draw_text(canvas, text, origin, font_scale, (255, 255, 255))
    return panel


def _place(
    rect: Rect, w: int, h: int, width: int, height: int, costs: list[tuple[int, Rect]]
) -> Rect:
    """Return the place above, below, beside or in the box where a panel (w, h) hides least.

    ``costs``: cost per hidden pixel, and the rectangle in which it applies.
    """
    x1, y1, x2, y2 = rect
    places = []
    for x, y in ((x1, y1 - h), (x1, y2), (x2, y1), (x1 - w, y1), (x1, y1), (x1, y2 - h)):
        x, y = min(max(x, 0), width - w), min(max(y, 0), height - h)
        places.append((x, y, x + w, y + h))
    return min(places, key=lambda place: sum(cost * _overlap(place, r) for cost, r in costs))


def _overlap(a: Rect, b: Rect) -> int:
    """Return the common area in pixels."""
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    return max(width, 0) * max(height, 0)


def _even(pixels: int) -> int:
    return pixels + pixels % 2
