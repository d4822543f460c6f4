"""The last seconds of a live stream: frames and audio on one clock, in bounded memory."""

import math
import threading
import time
from bisect import bisect
from collections import deque
from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import NamedTuple

import av
import numpy as np
import torch

from avsf_det.data.video.audio_reader import resample

from .live_stream import LiveItem

# Sample rates of AAC in Hz. Audio of another rate is resampled to the last.
RATES = (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000)
_MIN_GAP_SEC = 0.01  # a gap between audio frames, or an overlap, that is shorter is jitter
# Audio that is later than the frames by more is missing.
_PATIENCE_SEC = 1.0
CONTEXT_SEC = 0.02  # audio around a window that the resampling filter sees
# A frame is on screen from its time on; slack for seconds computed in floating point.
_TOLERANCE_SEC = 1e-6


class LiveFrame(NamedTuple):
    """Decoded frame.

    Attributes:
        number: number of frames before it.
        second: its time on the clock of the stream.
        frame: the frame.
    """

    number: int
    second: float
    frame: av.VideoFrame


class AudioTrack:
    """The last seconds of audio of a stream, as float samples at one rate.

    Args:
        rate: sample rate of the track in Hz.
        channels: 1 or 2; other audio is mixed down or up.
        keep_sec: seconds of audio that are kept.
    """

    def __init__(self, rate: int, channels: int, keep_sec: float) -> None:
        self.rate, self.channels = rate, channels
        self._keep = round(keep_sec * rate)
        self.end = 0  # index of the sample after the last
        self._chunks: deque[tuple[int, np.ndarray]] = deque()  # first sample, (channels, S)
        self._kind: tuple = ()
        self._resampler: av.AudioResampler | None = None

    def add(self, second: float, frame: av.AudioFrame) -> None:
        """Append a frame."""
        kind = (frame.sample_rate, frame.layout.name, frame.format.name)
        if self._resampler is None or kind != self._kind:
            layout = ("mono", "stereo")[self.channels - 1]
            self._kind = kind
            self._resampler = av.AudioResampler("fltp", layout, self.rate)
        for resampled in self._resampler.resample(frame):
            samples = np.atleast_2d(resampled.to_ndarray())
            stated = round(second * self.rate)
            is_gap = abs(stated - self.end) > _MIN_GAP_SEC * self.rate
            start = stated if is_gap or not self._chunks else self.end
            self._chunks.append((start, samples))
            self.end = start + samples.shape[1]
            second = self.end / self.rate
        while self._chunks and self._chunks[0][0] < self.end - self._keep:
            self._chunks.popleft()

    def read(self, first: int, last: int) -> np.ndarray:
        """Return samples first..last-1, float32 (channels, last - first); zeros where none are."""
        samples = np.zeros((self.channels, last - first), np.float32)
        for start, chunk in tuple(self._chunks):  # another thread appends
            begin, end = max(first, start), min(last, start + chunk.shape[1])
            if begin < end:
                samples[:, begin - first : end - first] = chunk[:, begin - start : end - start]
        return samples


class LiveBuffer:
    """Frames and audio of a stream, added by threads that read it and read by those that show it.

    Attributes:
        audio: the audio; None if the stream has none.
        received: number of frames so far.
        ended: whether nothing is added any more.

    Args:
        keep_sec: seconds of frames that are kept.
        audio: where the audio is kept; None: there is none.
        now: current time in seconds.
    """

    def __init__(
        self,
        keep_sec: float,
        audio: AudioTrack | None,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self.audio, self.now = audio, now
        self.received = 0
        self.ended = False
        self.changed = threading.Condition()
        self._keep_sec = keep_sec
        self._frames: deque[LiveFrame] = deque()
        self._offset = math.inf  # smallest time between the second of a frame and its arrival

    def add(self, item: LiveItem) -> None:
        """Add a frame, or a piece of audio; frames whose times do not ascend are left out."""
        with self.changed:
            if isinstance(item.frame, av.AudioFrame):
                if self.audio is not None:
                    self.audio.add(item.second, item.frame)
            else:
                if item.second > self.newest:
                    self._frames.append(LiveFrame(self.received, item.second, item.frame))
                    self._offset = min(self._offset, self.now() - item.second)
                self.received += 1
                oldest = self.newest - self._keep_sec
                while len(self._frames) > 1 and self._frames[1].second < oldest:
                    self._frames.popleft()
            self.changed.notify_all()

    def end(self) -> None:
        """Say that nothing will be added any more."""
        with self.changed:
            self.ended = True
            self.changed.notify_all()

    @property
    def newest(self) -> float:
        """Second of the newest frame; -inf before the first."""
        return self._frames[-1].second if self._frames else -math.inf

    def latency(self, second: float) -> float:
        """Return for how many seconds a time of the stream has been past.

        It counts from when the frame of that time could arrive first: delays of the network that
        all frames have are not known.
        """
        return self.now() - self._offset - second

    def audio_end(self, second: float) -> float:
        """Return the second up to which audio is complete, at most the given one.

        Audio that is long overdue is taken for missing.
        """
        with self.changed:
            there = self.audio.end / self.audio.rate if self.audio else math.inf
            overdue = math.inf if self.ended else self.newest - _PATIENCE_SEC
            return min(second, max(there, overdue))

    def next_frame(self, after: int, until: float, max_behind: float) -> LiveFrame | None:
        """Return the next frame to show, or None.

        Args:
            after: number of the frame before it.
            until: latest second of a frame that is due.
            max_behind: seconds of frames that wait before the oldest of them are skipped.
        """
        with self.changed:
            due = [f for f in self._frames if f.number > after and f.second <= until]
        if not due:
            return None
        is_behind = due[-1].second - due[0].second > max_behind
        return due[-1] if is_behind else due[0]

    def frames_on_screen(self, seconds: Sequence[float]) -> list[av.VideoFrame] | None:
        """Return the frame on screen at each second; None where it is not kept any more.

        Before the first frame of the stream, that is the first one.
        """
        with self.changed:
            frames = list(self._frames)
        times = [f.second for f in frames]
        places = [bisect(times, second + _TOLERANCE_SEC) - 1 for second in seconds]
        if not frames or (min(places) < 0 and frames[0].number > 0):
            return None
        return [frames[max(place, 0)].frame for place in places]

    def samples(self, start: float, stop: float, sample_rate: int) -> torch.Tensor | None:
        """Return the audio between two seconds as ``VideoReader`` does; None without audio."""
        if self.audio is None:
            return None
        rate = self.audio.rate
        first, count = round(start * sample_rate), round((stop - start) * sample_rate)
        # Whole blocks keep the filter's phase the same for all windows, see AudioReader.
        up, down = Fraction(sample_rate, rate).as_integer_ratio()
        context = math.ceil(CONTEXT_SEC * rate)
        block = (first * down // up - context) // down
        with self.changed:
            native = self.audio.read(block * down, (first + count) * down // up + context)
        mono = torch.from_numpy(native.mean(axis=0))
        return resample(mono, rate, sample_rate)[first - block * up :][:count]
