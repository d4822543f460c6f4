"""Frames of a video with the predictions of its keyframes drawn into them, one after the other."""

from collections.abc import Iterable, Iterator, Sequence
from fractions import Fraction
from itertools import chain

import numpy as np
from detectron2.structures import Instances

from ava_tools.support.visualizer import draw_clip_frame
from avsf_det.data.clip_reader import LogMel
from avsf_det.data.video import SequentialVideoReader

Prediction = tuple[float, Instances | None]  # second of the keyframe, persons


def output_fps(fps: float) -> Fraction:
    """Return a file's frame rate as encoders take it: 29.97 is 30000 / 1001."""
    return Fraction(fps).limit_denominator(1001)


def num_frames(reader: SequentialVideoReader) -> int:
    """Return how many frames a drawn video has at :func:`output_fps`."""
    return max(1, round(reader.duration * output_fps(reader.fps)))


def draw_frames(
    reader: SequentialVideoReader,
    keyframes: Iterable[Prediction],
    class_names: Sequence[str],
    *,
    log_mel: LogMel | None,
    clip_sec: float,
    interval: float,
    min_score: float = 0.3,
) -> Iterator[np.ndarray]:
    """Draw every frame of a video, at :func:`output_fps`.

    A frame shows the boxes of the nearest keyframe, if that is at most ``interval`` away. Boxes do
    not move between keyframes, because nothing links the persons of two keyframes. Below the frame
    is the spectrogram of the clip around the nearest multiple of ``interval``, with the frame's own
    time marked: at a keyframe, the audio that the model received. A video without audio has none.

    Args:
        reader: the video.
        keyframes: (second, instances in pixels of the video), by ascending seconds.
        class_names: names of the actions in the instances.
        log_mel: log-mel spectrogram of the model; None: no spectrogram is drawn.
        clip_sec: length of the model's clip in seconds.
        interval: seconds between keyframes.
        min_score: actions below it are not written.

    Yields:
        (H', W', 3) uint8 RGB; see :func:`draw_clip_frame`.

    Raises:
        VideoDecodeError: the file cannot be read at this place.
    """
    nearest = NearestPrediction(keyframes, interval)
    spectrogram = ClipSpectrogram(reader, log_mel, clip_sec, interval)
    fps = output_fps(reader.fps)
    for i in range(num_frames(reader)):
        second = float(i / fps)
        logmel, playhead = spectrogram.at(second)
        yield draw_clip_frame(
            reader.get_frames_played_at([second])[0],
            nearest.at(second),
            class_names,
            logmel,
            playhead=playhead,
            min_score=min_score,
        )


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
        distance, found = (before, self._past[1]) if before <= after else (after, self._next[1])
        return found if distance <= self._max_distance else None


class ClipSpectrogram:
    """Spectrogram of the clip around the nearest keyframe, computed once per keyframe.

    Args:
        reader: the video.
        log_mel: log-mel spectrogram of the model; None: there is no spectrogram.
        clip_sec: length of the model's clip in seconds.
        interval: seconds between keyframes.
    """

    def __init__(
        self,
        reader: SequentialVideoReader,
        log_mel: LogMel | None,
        clip_sec: float,
        interval: float,
    ) -> None:
        self._reader, self._interval = reader, interval
        self._log_mel = log_mel if reader.has_audio else None
        self._length = max(clip_sec, interval)
        self._middle: float | None = None
        self._spectrogram: np.ndarray | None = None

    def at(self, second: float) -> tuple[np.ndarray | None, float]:
        """Return the spectrogram (T_a, F) or None, and the place of the second in it, 0..1."""
        middle = round(second / self._interval) * self._interval
        start = middle - self._length / 2
        if self._log_mel and middle != self._middle:
            samples = self._reader.get_samples_played_in_range(
                start, start + self._length, self._log_mel.sample_rate
            )
            self._middle, self._spectrogram = middle, self._log_mel(samples).numpy()
        return self._spectrogram, (second - start) / self._length
