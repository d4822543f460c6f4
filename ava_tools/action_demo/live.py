"""Predict and draw the actions in a live stream while it runs.

Threads read the sources into a buffer, one thread runs the model on the newest clip, and the main
thread draws and writes the frames. Nothing queues: what is too slow leaves frames or keyframes out,
and their numbers are printed.
"""

import math
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from fractions import Fraction
from typing import Any

import numpy as np
from detectron2.structures import Instances

from avsf_det.data import VideoDecodeError
from avsf_det.data.video.container import FirstFrame
from avsf_det.data.video.reader import FrameConverter
from avsf_det.engine.predictor import ClipPredictor

from .live_buffer import CONTEXT_SEC, RATES, AudioTrack, LiveBuffer
from .live_source import warn
from .live_stream import LiveStream

_SLACK_SEC = 2.0  # frames that are kept in addition, for a model that is late
_MAX_INTERVAL_SEC = 2.0  # a keyframe is not scored later than this
_JOIN_SEC = 1.0
_WAKE_SEC = 0.1  # between two looks at whether the run was stopped
Score = tuple[float, Instances]  # second of the keyframe, predictions


class Latency:
    """Mean and maximum of latencies in seconds."""

    def __init__(self) -> None:
        self.mean = self.maximum = 0.0
        self._count = 0

    def add(self, seconds: float) -> None:
        """Add one."""
        self._count += 1
        self.mean += (seconds - self.mean) / self._count
        self.maximum = max(self.maximum, seconds)

    def __str__(self) -> str:
        return f"{self.mean:.2f} s (at most {self.maximum:.2f} s)"


class StreamFrameConverter:
    """Convert the frames of a stream as those of a file are; for one thread.

    Args:
        first_frame: what the first frame of the stream tells.
        size: (height, width) of the images; None: that of the first frame.
        pix_fmt: libav's name of the pixel format of the images.
    """

    def __init__(
        self, first_frame: FirstFrame, size: tuple[int, int] | None = None, pix_fmt: str = "rgb24"
    ) -> None:
        self.first_frame, self.threads = first_frame, 1
        size = size or (first_frame.height, first_frame.width)
        stream: Any = self  # has all that the converter asks a file for
        self._converter = FrameConverter(stream, *size, pix_fmt)

    def time_base(self, _: str) -> Fraction:
        """Return the tick of frames in seconds, which the conversion does not use."""
        return Fraction(1, 90000)

    def __call__(self, frame: Any) -> np.ndarray:
        """Return a frame as an image."""
        return self._converter(frame).to_ndarray()


class LiveScorer:
    """Score the newest complete clip of a stream.

    Attributes:
        scored: number of keyframes scored.
        skipped: number of keyframes that were due before the model was free.

    Args:
        predictor: model, and person detector.
        buffer: frames and audio of the stream.
        interval: seconds between keyframes.
    """

    def __init__(self, predictor: ClipPredictor, buffer: LiveBuffer, interval: float) -> None:
        self.scored = self.skipped = 0
        self._predictor, self._buffer, self._interval = predictor, buffer, interval
        self._last = -1  # keyframe, in intervals
        self._convert: StreamFrameConverter | None = None

    def newest_keyframe(self) -> float | None:
        """Return the newest keyframe whose clip is complete and that was not scored, or None."""
        buffer = self._buffer
        end = buffer.newest
        if not buffer.ended:  # at the end the last frame stays on screen, as in a file
            _, audio_end = self._predictor.audio_span(0.0)
            audio_limit = buffer.audio_end(np.inf) - audio_end - CONTEXT_SEC
            end = min(end - self._predictor.clip_reader.clip_sec / 2, audio_limit)
        index = math.floor(end / self._interval) if end >= 0 else -1
        return index * self._interval if index > self._last else None

    def score(self, keyframe: float, first_frame: FirstFrame) -> Instances | None:
        """Predict a keyframe; None if its frames are not kept any more."""
        index = round(keyframe / self._interval)
        self.skipped += index - self._last - 1
        self._last = index
        frames = self._buffer.frames_on_screen(self._predictor.frame_times(keyframe))
        if frames is None:
            self.skipped += 1
            return None
        self._convert = self._convert or StreamFrameConverter(first_frame)
        images: dict[int, np.ndarray] = {}  # each frame is converted once
        for frame in frames:
            if id(frame) not in images:
                images[id(frame)] = self._convert(frame)
        clip = np.stack([images[id(frame)] for frame in frames])
        persons = self._predictor.find_persons(clip[len(clip) // 2])
        span = self._predictor.audio_span(keyframe)
        sample_rate = self._predictor.clip_reader.log_mel.sample_rate
        self.scored += 1
        return self._predictor.predict_frames(
            clip, persons, self._buffer.samples(*span, sample_rate)
        )


class LiveRun:
    """Run of the model on live sources.

    Args:
        predictor: model, and person detector.
        streams: the source, and its microphone if that is another source.
        interval: seconds between keyframes.
        stopped: set to end the run.
        on_score: called with each keyframe and its predictions, in the thread of the model.
    """

    def __init__(
        self,
        predictor: ClipPredictor,
        streams: Sequence[LiveStream],
        interval: float,
        stopped: threading.Event,
        on_score: Callable[[float, Instances], None],
    ) -> None:
        clip_sec = predictor.clip_reader.clip_sec
        keep_sec = clip_sec + min(interval, _MAX_INTERVAL_SEC) + _SLACK_SEC
        sound = next((s for s in streams if s.has_audio), None)
        audio = None
        if sound is not None:
            rate = sound.sample_rate if sound.sample_rate in RATES else RATES[-1]
            audio = AudioTrack(rate, min(max(sound.channels, 1), 2), keep_sec + _SLACK_SEC)
        self.buffer = LiveBuffer(keep_sec, audio, streams[0].clock.now)
        self.scorer = LiveScorer(predictor, self.buffer, interval)
        self.latest: Score | None = None  # scores of the newest keyframe
        self.errors: list[Exception] = []  # of threads
        self.latency = Latency()  # of scores
        self.last_number = -1  # of the frames that were shown or left out
        self._streams, self._stopped, self._on_score = streams, stopped, on_score
        self._delay = clip_sec / 2  # after which a frame is shown: its scores may be there then
        self._model_thread = self._start(self._score)
        self._readers = [self._start(self._read, streams[0])]
        self._readers += [self._start(self._read_microphone, s) for s in streams[1:]]

    def frames(self, max_behind: float = 0.25) -> Iterator[tuple[float, Any]]:
        """Yield (second, frame) of the frames to show, half a clip after they came.

        Where the caller is slow, frames are left out, so that it is at most ``max_behind`` seconds
        late. At the end of the stream the last half clip follows, and the last scores.
        """
        buffer = self.buffer
        while not self._stopped.is_set():
            until = np.inf if buffer.ended else buffer.newest - self._delay
            shot = buffer.next_frame(
                self.last_number, until, np.inf if buffer.ended else max_behind
            )
            if shot is not None:
                self.last_number = shot.number
                yield shot.second, shot.frame
            elif buffer.ended:
                break
            else:
                with buffer.changed:
                    buffer.changed.wait(_WAKE_SEC)
        if not self._stopped.is_set():
            self._model_thread.join()

    def close(self) -> None:
        """End the threads; raise the error of one of them.

        Raises:
            VideoDecodeError: the stream was lost for good.
        """
        self._stopped.set()
        self.buffer.end()
        self._model_thread.join()
        for thread in self._readers:
            thread.join(_JOIN_SEC)  # a silent stream is left to its limit
        if self.errors:
            raise self.errors[0]

    def _start(self, work: Callable[..., None], *args: Any) -> threading.Thread:
        def run() -> None:
            try:
                work(*args)
            # Any error of a thread ends the run; ``close`` raises it again.
            except Exception as error:
                self.errors.append(error)
                self.buffer.end()

        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        return thread

    def _read(self, stream: LiveStream) -> None:
        for item in stream:
            self.buffer.add(item)
        self.buffer.end()

    def _read_microphone(self, stream: LiveStream) -> None:
        """Read the audio of another source, without which the frames go on."""
        try:
            for item in stream:
                self.buffer.add(item)
        except VideoDecodeError as error:
            warn(f"{error}; from here on the model receives silence")

    def _score(self) -> None:
        while not self._stopped.is_set():
            ended = self.buffer.ended
            keyframe, first = self.scorer.newest_keyframe(), self._streams[0].first_frame
            if keyframe is None or first is None:
                if ended:
                    return
                with self.buffer.changed:
                    self.buffer.changed.wait(_WAKE_SEC)
                continue
            found = self.scorer.score(keyframe, first)
            if found is not None:
                self._on_score(keyframe, found)
                self.latency.add(self.buffer.latency(keyframe))
                self.latest = keyframe, found


@contextmanager
def stop_on_signals(stopped: threading.Event) -> Iterator[None]:
    """Set an event on Ctrl-C or SIGTERM; a second one ends the process."""
    numbers = (signal.SIGINT, signal.SIGTERM)
    previous = {number: signal.getsignal(number) for number in numbers}

    def stop(number: int, _: Any) -> None:
        stopped.set()
        signal.signal(number, previous[signal.Signals(number)])

    for number in numbers:
        signal.signal(number, stop)
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
