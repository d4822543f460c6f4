"""The frames of a video with what was found at its keyframes, one after the other."""

from collections.abc import Iterable, Iterator, Sequence
from fractions import Fraction
from itertools import chain

import numpy as np
from detectron2.structures import Instances

from ..data.audio import LogMel
from ..data.video import SequentialVideoReader
from .visualizer import draw_clip_frame

Keyframe = tuple[float, Instances]


def output_fps(fps: float) -> Fraction:
    """A file's frame rate as encoders take it: 29.97 is 30000 / 1001."""
    return Fraction(fps).limit_denominator(1001)


def num_frames(reader: SequentialVideoReader) -> int:
    return max(1, round(reader.duration * output_fps(reader.fps)))


def draw_frames(
    reader: SequentialVideoReader,
    keyframes: Iterable[Keyframe],
    class_names: Sequence[str],
    *,
    log_mel: LogMel | None,
    clip_sec: float,
    interval: float,
    min_score: float = 0.3,
) -> Iterator[np.ndarray]:
    """Every frame of a video, at :func:`output_fps`.

    A frame shows the persons of the nearest keyframe, not more than ``interval`` away, where they
    were there: between keyframes boxes stand still, since nobody says who is who. Below is the
    spectrogram of the clip around the nearest multiple of ``interval``, with the frame's own moment
    marked: at a keyframe, what the model heard. A video without sound has none.

    Args:
        keyframes: (second, instances in pixels of the video), by ascending seconds.
        class_names: of the actions in the instances.
        log_mel: the model's; None draws no spectrogram.
        clip_sec: length of the model's clip in seconds.
        interval: seconds between keyframes.
        min_score: actions below it are not written.

    Yields:
        (H', W', 3) uint8 RGB; see :func:`draw_clip_frame`.

    Raises:
        VideoDecodeError: where the file cannot be read.
    """
    shown, strip = Nearest(keyframes, interval), Strip(reader, log_mel, clip_sec, interval)
    fps = output_fps(reader.fps)
    for i in range(num_frames(reader)):
        second = float(i / fps)
        logmel, playhead = strip.at(second)
        yield draw_clip_frame(
            reader.get_frames_played_at([second])[0],
            shown.at(second),
            class_names,
            logmel,
            playhead=playhead,
            min_score=min_score,
        )


class Nearest:
    """What belongs to the keyframe nearest to a second, of keyframes that are read as time goes."""

    def __init__(self, keyframes: Iterable[Keyframe], max_distance: float):
        self._coming = chain(keyframes, [(np.inf, None)])
        self._past: Keyframe = (-np.inf, None)
        self._next = next(self._coming)
        self._max_distance = max_distance

    def at(self, second: float) -> Instances | None:
        """None where no keyframe is near. Seconds must ascend."""
        while self._next[0] <= second:
            self._past, self._next = self._next, next(self._coming)
        before, after = second - self._past[0], self._next[0] - second
        distance, found = (before, self._past[1]) if before <= after else (after, self._next[1])
        return found if distance <= self._max_distance else None


class Strip:
    """The spectrogram of the clip around the nearest keyframe, made once for each."""

    def __init__(
        self,
        reader: SequentialVideoReader,
        log_mel: LogMel | None,
        clip_sec: float,
        interval: float,
    ):
        self._reader, self._interval = reader, interval
        self._log_mel = log_mel if reader.has_audio else None
        self._length = max(clip_sec, interval)
        self._middle, self._logmel = None, None

    def at(self, second: float) -> tuple[np.ndarray | None, float]:
        """The spectrogram (T_a, F) or None, and where in it the second lies, 0..1."""
        middle = round(second / self._interval) * self._interval
        start = middle - self._length / 2
        if self._log_mel and middle != self._middle:
            rate = self._log_mel.sample_rate
            sound = self._reader.get_samples_played_in_range(start, start + self._length, rate)
            self._middle, self._logmel = middle, self._log_mel(sound).numpy()
        return self._logmel, (second - start) / self._length
