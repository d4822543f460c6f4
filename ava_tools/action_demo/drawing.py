"""Frames of a video with the predictions of its keyframes drawn into them, one after the other."""

from collections.abc import Iterable, Iterator, Sequence
from fractions import Fraction
from functools import partial
from itertools import chain

import numpy as np
from detectron2.structures import Boxes, Instances

from ava_tools.support.text import draw_text
from ava_tools.support.visualizer import draw_logmel, draw_persons
from avsf_det.data.clip_reader import LogMel
from avsf_det.data.video import SequentialVideoReader

from .yuv import Overlay, YUVReader, planes, to_yuv

Prediction = tuple[float, Instances | None]  # second of the keyframe, persons
NOT_SCORED = "not scored here"
WHITE = 235, 128, 128  # Y, U, V


def output_fps(fps: float) -> Fraction:
    """Return a file's frame rate as encoders take it: 29.97 is 30000 / 1001."""
    return Fraction(fps).limit_denominator(1001)


def num_frames(reader: SequentialVideoReader) -> int:
    """Return how many frames a drawn video has at :func:`output_fps`."""
    return max(1, round(reader.duration * output_fps(reader.fps)))


def draw_frames(
    reader: YUVReader,
    keyframes: Iterable[Prediction],
    class_names: Sequence[str],
    *,
    log_mel: LogMel | None,
    clip_sec: float,
    interval: float,
    min_score: float = 0.3,
) -> Iterator[np.ndarray]:
    """Draw every frame of a video, at :func:`output_fps`.

    A frame shows the boxes of the nearest keyframe, if that is at most ``interval`` away, else the
    words "not scored here". The boxes of persons with the same track id at both keyframes around
    the frame move from one to the other; other boxes do not move, because nothing links them. Below
    the frame is the spectrogram of the clip around the nearest multiple of ``interval``, with the
    frame's own time marked: at a keyframe, the audio that the model received. A video without audio
    has none.

    Args:
        reader: the video.
        keyframes: (second, instances in pixels of any size), by ascending seconds.
        class_names: names of the actions in the instances.
        log_mel: log-mel spectrogram of the model; None: no spectrogram is drawn.
        clip_sec: length of the model's clip in seconds.
        interval: seconds between keyframes.
        min_score: actions below it are not written.

    Yields:
        uint8 (H' * 3 / 2, W') YUV, see :mod:`.yuv`; valid until the next one.

    Raises:
        VideoDecodeError: the file cannot be read at this place.
    """
    nearest = NearestPrediction(keyframes, interval)
    strip = SpectrogramStrip(reader, log_mel, clip_sec, interval)
    height, width = reader.size
    drawn: Instances | None = None
    overlay: Overlay | None = None
    image = np.empty(((height + strip.height) * 3 // 2, width), np.uint8)
    below = [height, height // 2, height // 2]
    fps = output_fps(reader.fps)
    for i in range(num_frames(reader)):
        second = float(i / fps)
        found = nearest.at(second)
        if overlay is None or found is not drawn:
            draw = partial(draw_prediction, found, class_names, min_score)
            drawn, overlay = found, Overlay(draw, reader.size, reader.matrix)
        channels = planes(image)
        (frame,) = reader.get_transformed_frames_played_at([second])
        for plane, source, rows in zip(channels, planes(frame), below, strict=True):
            plane[:rows] = source
        overlay.paint(channels)
        strip.paint([plane[rows:] for plane, rows in zip(channels, below, strict=True)], second)
        yield image


def draw_prediction(
    found: Instances | None, class_names: Sequence[str], min_score: float, canvas: np.ndarray
) -> None:
    """Draw persons and actions into a canvas uint8 (H, W, 3); None: "not scored here"."""
    if found is None:
        scale = 0.5 * max(1.0, canvas.shape[1] / 800)
        canvas[: round(40 * scale)] //= 4  # a dark bar
        draw_text(canvas, NOT_SCORED, (8, round(28 * scale)), scale, (255, 255, 255))
    elif len(found):
        draw_persons(canvas, found, class_names, min_score)


class NearestPrediction:
    """Predictions of the keyframe nearest to a time, from a stream of keyframes.

    Args:
        keyframes: (second, instances), by ascending seconds.
        max_distance: greatest distance of a keyframe in seconds.
    """

    def __init__(self, keyframes: Iterable[Prediction], max_distance: float) -> None:
        # Sentinels before the first and after the last keyframe are infinitely far away.
        self._coming = chain(keyframes, [(np.inf, None)])
        self._past: Prediction = (-np.inf, None)
        self._next: Prediction = next(self._coming)
        self._max_distance = max_distance

    def at(self, second: float) -> Instances | None:
        """Return the predictions, None where no keyframe is near; seconds must ascend."""
        while self._next[0] <= second:
            self._past, self._next = self._next, next(self._coming)
        before, after = second - self._past[0], self._next[0] - second
        pair = self._past[1], self._next[1]
        distance, found, other = (before, *pair) if before <= after else (after, *pair[::-1])
        if distance > self._max_distance:
            return None
        is_between = 0 < distance and max(before, after) < np.inf
        if found is not None and other is not None and is_between and found.has("track_ids"):
            return move_boxes(found, other, distance / (before + after))
        return found


def move_boxes(found: Instances, other: Instances, fraction: float) -> Instances:
    """Return a copy whose boxes are moved towards those of another keyframe with their track ids.

    Args:
        found: predictions with "track_ids", an id for each person; None: no id.
        other: predictions of the other keyframe.
        fraction: 0 leaves the boxes, 1 moves them to the other's.
    """
    boxes, ids = found.pred_boxes.tensor.clone(), found.track_ids
    places = {id_: k for k, id_ in enumerate(other.track_ids)} if other.has("track_ids") else {}
    pairs = [(k, places[id_]) for k, id_ in enumerate(ids) if id_ is not None and id_ in places]
    if not pairs:
        return found
    for k, j in pairs:
        boxes[k] += fraction * (other.pred_boxes.tensor[j] - boxes[k])
    return Instances(found.image_size, **{**found.get_fields(), "pred_boxes": Boxes(boxes)})


class SpectrogramStrip:
    """Strip with the spectrogram of the clip around the nearest keyframe, drawn once per keyframe.

    Attributes:
        height: rows of the strip; 0 where there is no spectrogram.

    Args:
        reader: the video.
        log_mel: log-mel spectrogram of the model; None: there is no spectrogram.
        clip_sec: length of the model's clip in seconds.
        interval: seconds between keyframes.
    """

    def __init__(
        self,
        reader: YUVReader,
        log_mel: LogMel | None,
        clip_sec: float,
        interval: float,
    ) -> None:
        self._reader, self._interval = reader, interval
        self._log_mel = log_mel if reader.has_audio else None
        self.height = max(64, reader.size[0] // 10 * 2) if self._log_mel else 0
        self._length = max(clip_sec, interval)
        self._middle: float | None = None
        self._planes: list[np.ndarray] = []

    def paint(self, channels: list[np.ndarray], second: float) -> None:
        """Paint the planes of the strip, with a line at the time of the frame."""
        if self._log_mel is None:
            return
        middle = round(second / self._interval) * self._interval
        start = middle - self._length / 2
        if middle != self._middle:
            samples = self._reader.get_samples_played_in_range(
                start, start + self._length, self._log_mel.sample_rate
            )
            image = draw_logmel(self._log_mel(samples), self._reader.size[1], self.height)
            self._middle, self._planes = middle, to_yuv(image, self._reader.matrix)
        for plane, strip in zip(channels, self._planes, strict=True):
            plane[:] = strip
        # A white line, two pixels wide; a chroma sample covers both.
        x = int((second - start) / self._length * (self._reader.size[1] // 2 - 1))
        luma, u, v = channels
        luma[:, 2 * x : 2 * x + 2], u[:, x], v[:, x] = WHITE
