"""Reading a video forward in time: what neighbouring requests share is decoded only once."""

import itertools
import math
import os
from bisect import bisect_left
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from heapq import heappop, heappush
from typing import Any

import numpy as np

from .audio_reader import AudioReader, SequentialAudioReader
from .container import MediaFile
from .open_file import DecodedItem, Packets, VideoDecodeError
from .reader import (
    Convert,
    VideoReader,
    Window,
    can_skip_frames,
    decode_needed,
    frames_on_screen,
)

# From a frame (H, W, 3), and an array to use again or None, to the transformed frame in that array.
Transform = Callable[[np.ndarray, np.ndarray | None], np.ndarray]

# A request further ahead than this is sought, a nearer one is decoded up to: usual encoders leave 8
# to 10 seconds between I-frames.
_SEEK_AHEAD_SEC = 10
# Decoded frames held per requested frame. With a stride of 2 or 3, these are all frames of a clip:
# the next clip may need those that this one skips.
_HELD_PER_FRAME = 4
# Frames are skipped only if fewer requests than this overlap.
_MAX_OVERLAP = 16
# Behind the last item of a file.
_END: Any = (math.inf, None)


def copy_frame(frame: np.ndarray, out: np.ndarray | None) -> np.ndarray:
    """Transform that changes nothing."""
    if out is None:
        return frame.copy()
    out[...] = frame
    return out


class SequentialVideoReader(VideoReader):
    """Reader with the results of :class:`VideoReader`, fast for requests forward in time.

    It holds the frames of the last request only, so that memory does not grow with the video. Going
    back or far ahead seeks. Audio is read from a second handle of the file, opened on first use.

    ``transform`` is applied once to each frame uint8 (H, W, 3), such as a resize.
    """

    def __init__(
        self, path: str | os.PathLike, *, threads: int = 1, transform: Transform = copy_frame
    ) -> None:
        super().__init__(path, threads=threads)
        self._transform = transform
        self._decoder = _SkippingDecoder(self.file)
        # Frames, None for skipped ones.
        self._coming: Iterator[DecodedItem] = iter(())  # from where the decoder stands
        self._held: deque[DecodedItem] = deque()  # those before, in order
        self._max_held = 0
        self._conversion: tuple | None = None  # (height, width, window) of what is converted
        self._convert: Convert | None = None
        self._converted: dict[int, np.ndarray] = {}  # by pts
        # Arrays to use again: with new ones for each frame, the system spends longer on finding
        # memory than all copying takes.
        self._spare: list[np.ndarray] = []

    def close(self) -> None:
        """Close the file and drop everything held; nothing can be read afterwards."""
        super().close()
        self._forget()
        if "_audio_reader" in vars(self):
            self._audio_reader.file.close()

    @cached_property
    def _audio_reader(self) -> AudioReader:
        return SequentialAudioReader(MediaFile(self.path, threads=self.file.threads))

    @cached_property
    def duration(self) -> float:
        """Second at which the video ends."""
        self._forget()  # finding it may move the position
        return self.file.duration

    def get_transformed_frames_played_at(self, seconds: Sequence[float]) -> list[np.ndarray]:
        """Return the transformed frame on screen at each second, valid until the next call."""
        limits = [self.file.clock.pts_played_at(second) for second in seconds]
        ascending = sorted(set(limits))
        images = self._images(ascending, self.height, self.width)
        shown = dict(zip(ascending, images, strict=True))
        return [shown[limit] for limit in limits]

    def _forget(self) -> None:
        """Drop all frames; the next request seeks."""
        self._coming = iter(())
        self._held.clear()
        self._converted.clear()
        self._spare.clear()

    def _images(
        self, limits: Sequence[int], height: int, width: int, window: Window | None = None
    ) -> Iterator[np.ndarray]:
        """Yield the transformed frame on screen at each of the ascending times (pts)."""
        if self._convert is None or self._conversion != (height, width, window):
            self._conversion = height, width, window
            self._convert = self.make_converter(self.file, height, width, window)
            self._converted.clear()
            self._spare.clear()
        self._max_held = _HELD_PER_FRAME * len(limits)
        for frame in frames_on_screen(self.file, self._decode(limits), limits):
            pts = frame.pts
            assert pts is not None
            if pts not in self._converted:
                out = self._spare.pop() if self._spare else None
                self._converted[pts] = self._transform(self._convert(frame), out)
            yield self._converted[pts]
        held = dict(self._held)
        for pts in self._converted.keys() - held:
            self._spare.append(self._converted.pop(pts))

    def _decode(self, limits: Sequence[int]) -> Iterator[DecodedItem]:
        """Yield frames from the one on screen at the first time on: held ones, then new ones."""
        if not limits:
            return
        held, pts = self._held, limits[0]
        ahead = _SEEK_AHEAD_SEC / self.file.time_base("video")
        if not held or not held[0][0] <= pts <= held[-1][0] + ahead:
            held.clear()
            self._coming = self._decoder.decode_from(pts)
        self._decoder.expect(limits)
        while len(held) > 1 and held[1][0] <= pts:
            held.popleft()
        try:
            skipped = math.inf  # pts of the item before if it is a skipped frame
            for time, frame in itertools.chain(list(held), self._read_on(pts), [_END]):
                if _any_between(limits, skipped, time):  # it is on screen
                    self._decoder.skips = False
                    break
                skipped = time if frame is None else math.inf
                if frame is not None:
                    yield time, frame
            else:
                return
        except VideoDecodeError:
            pass
        # A skipped frame is needed, or damage: reading again from the I-frame before the request
        # tells which frames it spoils.
        held.clear()
        yield from decode_needed(self.file, limits)

    def _read_on(self, pts: int) -> Iterator[DecodedItem]:
        """Decode on and hold the frames from the one on screen at a time on."""
        held = self._held
        for time, frame in self._coming:
            if isinstance(frame, VideoDecodeError):
                raise frame
            if held and time <= held[-1][0]:
                raise self.file.error("video", "goes back in time", time)
            if time <= pts:
                held.clear()
            elif len(held) > self._max_held:
                held.popleft()
            held.append((time, frame))
            yield time, frame


class _SkippingDecoder:
    """Decoder that skips non-reference frames that no request is expected to need.

    The following requests are expected to be the present one, moved on by the smallest step so far.
    """

    def __init__(self, file: MediaFile) -> None:
        # With a timeline or delay, packets may lack pts, and frames are counted to time them.
        states_pts = file.times.timeline is None and file.times.delay is None
        self.skips = can_skip_frames(file) and states_pts
        self._file = file
        self._last: int | None = None  # time of the last frame of the request before
        self._step = 0  # between requests, in ticks; 0 if unknown
        self._expected: list[int] = []  # ascending times; empty if unknown
        self._skipped: list[int] = []  # heap of the pts of packets whose frames need not be decoded

    def decode_from(self, pts: int) -> Iterator[DecodedItem]:
        """Decode from a time on, see ``MediaFile.decode_from``; a skipped frame is (pts, None)."""
        self._last, self._step, self._expected, self._skipped = None, 0, [], []
        if pts > self._file.first_frame.pts:
            decoded = self._file.decode_from("video", pts, self._select)
        else:
            self._file.reopen()
            decoded = self._file.decode("video", select=self._select)
        return self._insert_skipped(decoded)

    def expect(self, limits: Sequence[int]) -> None:
        """Expect requests like this one, at ascending times (pts), and following ones."""
        if self._last is not None and limits[-1] > self._last:
            step = limits[-1] - self._last
            self._step = min(self._step or step, step)
        self._last = limits[-1]
        overlap = (limits[-1] - limits[0]) // self._step if self._step else _MAX_OVERLAP
        if self.skips and overlap < _MAX_OVERLAP:
            moves = [i * self._step for i in range(overlap + 2)]
            self._expected = sorted({limit + move for limit in limits for move in moves})
        else:
            self._expected = []

    def _select(self, packets: Packets) -> Packets:
        """Yield all packets, and tell the decoder whether it can skip their frames."""
        file, codec = self._file, self._file.video.codec_context
        for packet in packets:
            if packet.stream_index == file.video.index and packet.size:
                pts: Any = packet.pts
                is_unknown = pts is None or not self._expected
                length = packet.duration or file.frame_period
                if is_unknown or _any_between(self._expected, pts, pts + length):
                    codec.skip_frame = "DEFAULT"
                else:
                    codec.skip_frame = "NONREF"
                    heappush(self._skipped, pts)
            yield packet

    def _insert_skipped(self, decoded: Iterator[DecodedItem]) -> Iterator[DecodedItem]:
        for time, frame in itertools.chain(decoded, [_END]):
            # Reference frames were decoded nevertheless.
            while self._skipped and self._skipped[0] <= time:
                pts = heappop(self._skipped)
                if pts < time:
                    yield pts, None
            if frame is not None:
                yield time, frame


def _any_between(ascending: Sequence[int], start: float, end: float) -> bool:
    """Return whether a number lies in [start, end)."""
    i = bisect_left(ascending, start)
    return i < len(ascending) and ascending[i] < end
