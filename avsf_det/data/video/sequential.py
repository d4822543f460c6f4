"""A video read forward in time: what neighbouring requests share is decoded and converted once."""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property

import numpy as np
import torch

from .reader import VideoDecodeError, VideoReader

# A request so many seconds ahead is sought, a nearer one is decoded up to: the usual encoder leaves
# 8 to 10 seconds between key frames.
_SEEK_AHEAD = 10
# Decoded frames that are held for each frame that a request asks for: of a clip of every second or
# third frame all, whichever of them the next clip takes.
_HELD_PER_FRAME = 4
# Seconds of sound that are resampled at once.
_BLOCK = 8
# As many as a block, and what its resampling sees around it, touches.
_HELD_PIECES = 3


class SequentialVideoReader(VideoReader):
    """A :class:`VideoReader` for requests that go forward in time, with the same results.

    It holds the frames of the last request, so that its memory does not grow with the movie; going
    back or far ahead seeks. Sound is read through an opening of the file of its own.
    """

    def __init__(
        self,
        path: str,
        *,
        threads: int = 1,
        transform: Callable[[np.ndarray], np.ndarray] | None = None,
    ):
        """
        Args:
            threads: decoding threads; one is best where several workers read.
            transform: applied to each frame uint8 (H, W, 3) once, for example a resize.

        Raises:
            VideoDecodeError: as :class:`VideoReader`.
        """
        super().__init__(path, threads=threads)
        self._transform = transform
        self._coming = iter(())  # (pts, frame) from where the decoder stands
        self._held = deque()  # (pts, frame) of those before, in order
        self._to_hold = 0
        self._part = None  # of the frames, that is converted
        self._converted: dict[int, np.ndarray] = {}  # by pts
        # Arrays to use again: with new ones for each frame the system spends longer on finding
        # memory than all copying takes.
        self._spare: list[np.ndarray] = []

    def close(self) -> None:
        super().close()
        self._coming = iter(())
        self._held.clear()
        self._converted.clear()
        self._spare.clear()
        if "_sound" in self.__dict__:
            self._sound.close()

    @cached_property
    def duration(self) -> float:
        """Second at which the video ends, as the file declares it."""
        with VideoReader(self.path) as reader:  # it may have to read a file to its end
            return reader.duration

    def get_transformed_frames_played_at(self, seconds: Sequence[float]) -> list[np.ndarray]:
        """Return the transformed frame on screen at each second; the next call overwrites them.

        Raises:
            VideoDecodeError: as ``get_frames_played_at``.
        """
        limits = [self._last_pts_at(second) for second in seconds]
        ascending = sorted(set(limits))
        images = self._images(ascending, self.height, self.width)
        shown = dict(zip(ascending, images, strict=True))
        return [shown[limit] for limit in limits]

    def get_samples_played_in_range(
        self, start: float, end: float, sample_rate: int
    ) -> torch.Tensor:
        return self._sound.get_samples_played_in_range(start, end, sample_rate)

    @cached_property
    def _sound(self) -> "_SoundReader":
        return _SoundReader(self.path, threads=self._threads)

    def _images(
        self,
        limits: Sequence[int],
        height: int,
        width: int,
        window: tuple[int, int, int, int] | None = None,
    ) -> Iterator[np.ndarray]:
        if self._part != (height, width, window):
            self._part = height, width, window
            convert = self._window_converter(window) if window else self._converter(height, width)
            self._convert = convert
            self._converted.clear()
            self._spare.clear()
        self._to_hold = _HELD_PER_FRAME * len(limits)
        for frame in self._on_screen(limits):
            if frame.pts not in self._converted:
                image = self._convert(frame)
                self._converted[frame.pts] = self._kept(
                    self._transform(image) if self._transform else image
                )
            yield self._converted[frame.pts]
        held = dict(self._held)
        for pts in self._converted.keys() - held:
            self._spare.append(self._converted.pop(pts))

    def _kept(self, image: np.ndarray) -> np.ndarray:
        """A copy in an array that may have been used before."""
        copy = self._spare.pop() if self._spare else np.empty(image.shape, image.dtype)
        copy[...] = image
        return copy

    def _frames_for(self, limits: Sequence[int]):
        held, pts = self._held, limits[0]
        ahead = _SEEK_AHEAD / self._video.time_base
        if not held or not held[0][0] <= pts <= held[-1][0] + ahead:
            held.clear()
            self._coming = self._decode_from("video", pts)
        while len(held) > 1 and held[1][0] <= pts:
            held.popleft()
        yield from list(held)
        try:
            for time, frame in self._coming:
                if isinstance(frame, VideoDecodeError) or (held and time <= held[-1][0]):
                    break
                if time <= pts:
                    held.clear()
                elif len(held) > self._to_hold:
                    held.popleft()
                held.append((time, frame))
                yield time, frame
            else:
                return
        except VideoDecodeError:
            pass
        # Damage: what it spoils is told by reading from the key frame before the request.
        held.clear()
        yield from super()._frames_for(limits)


class _SoundReader(VideoReader):
    """Decodes and resamples sound once, if it is asked for in order."""

    def __init__(self, path: str, *, threads: int):
        super().__init__(path, threads=threads)
        self._pieces: dict[int, _Replay] = {}
        self._rate = None
        self._blocks: dict[int, torch.Tensor] = {}  # by their start in units of _BLOCK

    def get_samples_played_in_range(
        self, start: float, end: float, sample_rate: int
    ) -> torch.Tensor:
        first, count = round(start * sample_rate), round((end - start) * sample_rate)
        size = _BLOCK * sample_rate
        touched = range(first // size, (first + count) // size + 1)
        held = self._blocks if sample_rate == self._rate else {}
        try:
            self._blocks = {
                i: held[i] if i in held else self._block(i, sample_rate) for i in touched
            }
        except VideoDecodeError:  # that of a block is not always that of the request
            return super().get_samples_played_in_range(start, end, sample_rate)
        self._rate = sample_rate
        return torch.cat(list(self._blocks.values()))[first - touched.start * size :][:count]

    def _block(self, index: int, sample_rate: int) -> torch.Tensor:
        return super().get_samples_played_in_range(
            index * _BLOCK, (index + 1) * _BLOCK, sample_rate
        )

    def _sound_piece(self, index: int):
        if index not in self._pieces:
            # The file is opened anew for it, which ends what was not read to its end.
            whole = [item for item in self._pieces.items() if item[1].whole]
            self._pieces = dict(whole[1 - _HELD_PIECES :])
            self._pieces[index] = _Replay(super()._sound_piece(index))
        try:
            yield from self._pieces[index]
        except VideoDecodeError:
            del self._pieces[index]
            raise


class _Replay:
    """An iterator that can be gone through again from its start, before it has ended, too."""

    def __init__(self, source: Iterator):
        self.whole = False
        self._source = source
        self._seen = []

    def __iter__(self) -> Iterator:
        yield from self._seen
        for item in self._source:
            self._seen.append(item)
            yield item
        self.whole = True
