"""Reading a video forward in time: what neighbouring requests share is decoded only once."""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cached_property

import numpy as np
import torch

from .audio_reader import AudioReader, ChunkItem, decode_chunk
from .container import MediaFile
from .convert import Convert, Window
from .open_file import DecodedItem, VideoDecodeError
from .reader import VideoReader, decode_needed, frames_on_screen

Transform = Callable[[np.ndarray], np.ndarray]

# A request further ahead than this is sought, a nearer one is decoded up to: usual encoders leave 8
# to 10 seconds between I-frames.
_SEEK_AHEAD_SEC = 10
# Decoded frames held per requested frame. With a stride of 2 or 3, these are all frames of a clip:
# the next clip may need those that this one skips.
_HELD_PER_FRAME = 4
# Seconds of audio that are resampled at once.
_BLOCK_SEC = 8
# A block, with the context that its resampling needs, touches as many chunks.
_MAX_CHUNKS = 3


class SequentialVideoReader(VideoReader):
    """Reader with the results of :class:`VideoReader`, fast for requests forward in time.

    It holds the frames of the last request only, so that memory does not grow with the video. Going
    back or far ahead seeks. Audio is read from a second handle of the file, opened on first use.

    Args:
        path: path of the file.
        threads: number of decoding threads; 1 is best where several workers read.
        transform: applied once to each frame uint8 (H, W, 3), such as a resize.

    Raises:
        VideoDecodeError: there is no such file, it is no video, or no frame can be decoded.
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
        """Return the transformed frame on screen at each second, without copying.

        Args:
            seconds: T times, in any order.

        Returns:
            T arrays, valid until the next call.

        Raises:
            VideoDecodeError: as :class:`VideoReader`.
        """
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


class SequentialAudioReader(AudioReader):
    """Audio of a file that nothing else reads from, decoded and resampled once forward in time."""

    def __init__(self, file: MediaFile) -> None:
        super().__init__(file)
        self._chunks: dict[int, _Replay] = {}  # the last few, by index
        self._rate: int | None = None
        self._blocks: dict[int, torch.Tensor] = {}  # by start, in units of _BLOCK_SEC

    def get_samples_played_in_range(
        self, start: float, stop: float, sample_rate: int
    ) -> torch.Tensor:
        """Return the samples between two seconds, as ``VideoReader`` does."""
        first, count = round(start * sample_rate), round((stop - start) * sample_rate)
        size = _BLOCK_SEC * sample_rate
        touched = range(first // size, (first + count) // size + 1)
        held = self._blocks if sample_rate == self._rate else {}
        read = super().get_samples_played_in_range
        try:
            self._blocks = {
                i: held[i] if i in held else read(i * _BLOCK_SEC, (i + 1) * _BLOCK_SEC, sample_rate)
                for i in touched
            }
        except VideoDecodeError:  # what spoils a block need not spoil the request
            return read(start, stop, sample_rate)
        self._rate = sample_rate
        return torch.cat(list(self._blocks.values()))[first - touched.start * size :][:count]

    def _read_chunk(self, index: int) -> Iterator[ChunkItem]:
        if index not in self._chunks:
            # Decoding it reopens the file, which ends chunks that were not decoded to their end.
            complete = [item for item in self._chunks.items() if item[1].is_complete]
            self._chunks = dict(complete[1 - _MAX_CHUNKS :])
            self._chunks[index] = _Replay(decode_chunk(self.file, index))
        try:
            yield from self._chunks[index]
        except VideoDecodeError:
            del self._chunks[index]
            raise


class _Replay:
    """Iterable that caches a source's items; it can be iterated again before the source's end."""

    def __init__(self, source: Iterable[ChunkItem]) -> None:
        self.is_complete = False
        self._source = source
        self._items: list[ChunkItem] = []

    def __iter__(self) -> Iterator[ChunkItem]:
        yield from self._items
        for item in self._source:
            self._items.append(item)
            yield item
        self.is_complete = True
