"""Reading a video forward in time: what neighbouring requests share is decoded only once."""

import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property

import numpy as np

from .audio_reader import AudioReader, SequentialAudioReader
from .container import MediaFile
from .open_file import DecodedItem, VideoDecodeError
from .reader import Convert, VideoReader, Window, decode_needed, frames_on_screen

Transform = Callable[[np.ndarray], np.ndarray]

# A request further ahead than this is sought, a nearer one is decoded up to: usual encoders leave 8
# to 10 seconds between I-frames.
_SEEK_AHEAD_SEC = 10
# Decoded frames held per requested frame. With a stride of 2 or 3, these are all frames of a clip:
# the next clip may need those that this one skips.
_HELD_PER_FRAME = 4


class SequentialVideoReader(VideoReader):
    """Reader with the results of :class:`VideoReader`, fast for requests forward in time.

    It holds the frames of the last request only, so that memory does not grow with the video. Going
    back or far ahead seeks. Audio is read from a second handle of the file, opened on first use.

    ``transform`` is applied once to each frame uint8 (H, W, 3), such as a resize.
    """

    def __init__(
        self, path: str | os.PathLike, *, threads: int = 1, transform: Transform | None = None
    ) -> None:
        super().__init__(path, threads=threads)
        self._transform = transform
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
                image = self._convert(frame)
                image = self._transform(image) if self._transform else image
                copy = self._spare.pop() if self._spare else np.empty(image.shape, image.dtype)
                copy[...] = image
                self._converted[pts] = copy
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
            self._coming = self.file.decode_from("video", pts)
        while len(held) > 1 and held[1][0] <= pts:
            held.popleft()
        yield from list(held)
        try:
            for time, frame in self._coming:
                if isinstance(frame, VideoDecodeError) or (held and time <= held[-1][0]):
                    break
                if time <= pts:
                    held.clear()
                elif len(held) > self._max_held:
                    held.popleft()
                held.append((time, frame))
                yield time, frame
            else:
                return
        except VideoDecodeError:
            pass
        # Damage. Reading again from the I-frame before the request tells which frames it spoils.
        held.clear()
        yield from decode_needed(self.file, limits)
