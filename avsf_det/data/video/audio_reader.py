"""Audio samples of a media file by time."""

import functools
import itertools
import math
from collections.abc import Iterable, Iterator
from fractions import Fraction

import av
import numpy as np
import torch

from .container import MediaFile
from .open_file import DecodedItem, VideoDecodeError

# Audio is decoded in chunks, each with a new decoder, aligned to multiples of 8 s, or of 2 s where
# that costs little. AAC noise substitution is pseudo-random and depends on the decoder's history,
# so only this makes overlapping windows bit-equal.
_CHUNK_SEC, _SHORT_CHUNK_SEC = 8, 2
# Audio decoded before a chunk, for codecs whose packets depend on earlier ones. Packets are
# shorter.
_PREROLL_SEC = Fraction(1, 2)
# A gap between audio frames that are resampled one by one is closed if it is shorter.
_MIN_GAP_SEC = Fraction(1, 20)
# Audio around a window that the resampling filter sees.
_CONTEXT_SEC = Fraction(1, 10)
# Seconds of audio that SequentialAudioReader resamples at once. Such a block, with the context that
# its resampling needs, touches at most as many chunks.
_BLOCK_SEC, _MAX_CHUNKS = 8, 6
# Samples lie in -1..1. Float tracks may exceed that; the power of such a sample overflows.
_MAX_AMPLITUDE = 1e6
# Of a frame with more, PyAV 18 also reads pointers behind the last plane, and PyAV 19 none at all.
_MAX_PLANES = 8
NOT_FINITE = "holds NaN, infinity or samples beyond 1,000,000"


class MonoFrame:
    """A decoded audio frame, with PyAV's ``sample_rate`` (Hz) and number of ``samples``."""

    def __init__(self, frame: av.AudioFrame) -> None:
        self.sample_rate = frame.sample_rate
        self.samples = frame.samples
        self._frame = frame

    @functools.cached_property
    def mono(self) -> np.ndarray:
        """Mean of the channels, float32 (samples,) in -1..1."""
        frame = self._frame
        count = frame.layout.nb_channels
        if frame.format.is_planar and count > _MAX_PLANES:
            (frame,) = av.AudioResampler("flt").resample(frame)
        if frame.format.name == "fltp":  # most codecs; ten times faster than the general way
            channels = [
                np.frombuffer(memoryview(plane), np.float32, self.samples) for plane in frame.planes
            ]
            return functools.reduce(np.add, channels) / np.float32(count)
        samples: np.ndarray = frame.to_ndarray()
        if not frame.format.is_planar:
            samples = samples.reshape(self.samples, -1).T
        if samples.dtype.kind != "f":
            half_range = 2 ** (8 * samples.dtype.itemsize - 1)
            middle = half_range if samples.dtype.kind == "u" else 0
            samples = (samples.astype(np.float32) - middle) / half_range
        with np.errstate(over="ignore", invalid="ignore"):  # is_finite tells
            return samples.astype(np.float32, copy=False).mean(axis=0)


def resample(waveform: torch.Tensor, orig_rate: int, new_rate: int) -> torch.Tensor:
    """Resample float32 (L,) to (ceil(L * new_rate / orig_rate),); the rates are in Hz.

    The filter is polyphase, as with the authors (librosa's "polyphase", SciPy's filter).
    """
    if orig_rate == new_rate:
        return waveform
    from scipy.signal import resample_poly  # not above: it takes a second to load

    # SciPy divides both rates by their greatest common divisor itself.
    return torch.from_numpy(resample_poly(waveform.numpy(), new_rate, orig_rate))


# (pts, frame or error); at the end of a chunk (pts of the next frame, None), of a file (inf, None).
ChunkItem = tuple[float, MonoFrame | VideoDecodeError | None]


def is_finite(samples: np.ndarray) -> bool:
    """Return whether audio samples are numbers of a size that features can be computed from."""
    # Both comparisons fail for NaN.
    return samples.max(initial=0) < _MAX_AMPLITUDE and samples.min(initial=0) > -_MAX_AMPLITUDE


def chunk_sec(file: MediaFile) -> int:
    """Return the length of the chunks that the audio of a file is decoded in, in seconds."""
    return _SHORT_CHUNK_SEC if file.renews_audio_decoder else _CHUNK_SEC


def decode_chunk(file: MediaFile, index: int) -> Iterator[ChunkItem]:
    """Decode the audio frames that start in a chunk; the result never depends on earlier reads.

    Chunk 0 holds the frames before second 0, too. The last item yielded is (pts of the first frame
    after the chunk, or inf, None).
    """
    file.renew_audio_decoder()
    ticks, length = 1 / file.time_base("audio"), chunk_sec(file)
    begin = math.ceil((file.zero + index * length) * ticks)
    end = math.ceil((file.zero + (index + 1) * length) * ticks)
    decoded = file.decode_from("audio", begin - math.ceil(_PREROLL_SEC * ticks))
    for pts, frame in at_one_rate(file, decoded):
        if pts >= end:
            yield pts, None
            return
        if pts >= begin or not index:
            yield pts, frame if isinstance(frame, VideoDecodeError) else MonoFrame(frame)
    yield math.inf, None


def audio_kind(frame: av.AudioFrame) -> tuple[int, str, str]:
    """Return what may change on the way: sample rate, channel layout, sample format."""
    return frame.sample_rate, frame.layout.name, frame.format.name


def at_one_rate(
    file: MediaFile, decoded: Iterable[DecodedItem], kind: tuple[int, str, str] | None = None
) -> Iterator[DecodedItem]:
    """Resample decoded audio frames whose rate is not the ``sample_rate`` of the file.

    ``kind`` is the one kind that all frames get; None: their layout and format may differ.
    """
    ticks = 1 / file.time_base("audio")

    def other_kind(item: DecodedItem) -> tuple | None:
        frame = item[1]
        if isinstance(frame, VideoDecodeError):
            return None
        is_one = audio_kind(frame) == kind if kind else frame.sample_rate == file.sample_rate
        return None if is_one else audio_kind(frame)

    for other, run in itertools.groupby(decoded, other_kind):
        if other is None:
            yield from run
            continue
        rate = other[0]
        _, layout, sample_format = kind or other
        resampler = av.AudioResampler(sample_format, layout, file.sample_rate)
        start = read = written = 0  # pts, and numbers of samples since then
        for pts, frame in itertools.chain(run, [(0, None)]):
            if frame is not None:
                # Samples follow each other, unless the clock clearly says otherwise.
                gap = pts - start - read * ticks / rate
                if not read or abs(gap) > _MIN_GAP_SEC * ticks:
                    start, read, written = pts, 0, 0
                read += frame.samples
            for resampled in resampler.resample(frame):
                yield start + round(written * ticks / file.sample_rate), resampled
                written += resampled.samples


class AudioReader:
    """Decodes and resamples each request on its own; the file need not have an audio stream."""

    def __init__(self, file: MediaFile) -> None:
        self.file = file
        self._second_frame: int | None = None

    def get_samples_played_in_range(
        self, start: float, stop: float, sample_rate: int
    ) -> torch.Tensor:
        """Return the samples between two seconds, as ``VideoReader`` specifies."""
        if self.file.audio is None:
            raise self.file.error("audio", "the file has no audio stream")
        if not self.file.sample_rate:  # a stream that begins late may not state it
            self.file.sample_rate = self.file.decode_first("audio")[1].sample_rate
        rate = self.file.sample_rate
        first = round(start * sample_rate)
        count = round((stop - start) * sample_rate)
        # Sample block * down at the native rate is sample block * up of the resampled track.
        up, down = Fraction(sample_rate, rate).as_integer_ratio()
        context = math.ceil(_CONTEXT_SEC * rate)
        block = (first * down // up - context) // down
        native = self._native_samples(block * down, (first + count) * down // up + context, rate)
        # Whole blocks keep the filter's phase the same for all windows.
        return resample(native, rate, sample_rate)[first - block * up :][:count]

    def _native_samples(self, first: int, last: int, rate: int) -> torch.Tensor:
        """Return samples first..last-1 at the track's own rate, float32 (last - first,) mono."""
        file = self.file
        samples = np.zeros(last - first, np.float32)
        time_base = file.time_base("audio")
        scale, offset = time_base * rate, file.zero * rate
        tolerance = float(max(2 * time_base, Fraction(1, 1000)) * rate)
        samples_per_tick, zero = float(scale), float(offset)  # exact where it must be, see below
        second_frame = self._find_second_frame(rate)
        position = None
        for pts, frame in self._frames_from(Fraction(first, rate) - _PREROLL_SEC):
            stated = pts * samples_per_tick - zero
            if stated >= last:
                break
            if isinstance(frame, VideoDecodeError):
                if stated >= first:
                    raise frame
                continue
            # Frames follow each other without gaps, unless their pts clearly say otherwise.
            if position is None or abs(stated - position) > tolerance:
                exact = pts * scale - offset  # so that all windows round alike
                position = round(exact)
                if second_frame is not None:  # round to whole frames from it
                    count = round((exact - second_frame) / frame.samples)
                    whole = second_frame + count * frame.samples
                    position = whole if abs(exact - whole) <= time_base * rate + 1 else position
            begin, end = max(position, first), min(position + frame.samples, last)
            if begin < end:
                samples[begin - first : end - first] = frame.mono[begin - position : end - position]
            position += frame.samples
        else:
            file.check_not_truncated(file.zero + Fraction(last, rate) - _CONTEXT_SEC)
        if not is_finite(samples):
            bad = np.flatnonzero(~(np.abs(samples) < _MAX_AMPLITUDE))[0]
            pts = round((Fraction(first + int(bad), rate) + file.zero) / time_base)
            raise file.error("audio", NOT_FINITE, pts)
        return torch.from_numpy(samples)

    def _frames_from(self, second: Fraction) -> Iterator[tuple[int, MonoFrame | VideoDecodeError]]:
        """Decode from the start of the chunk that holds a second on."""
        length = chunk_sec(self.file)
        index = max(0, second // length)
        following: float = 0
        while following < math.inf:
            for pts, frame in self._read_chunk(index):
                if frame is None:
                    following = pts
                else:
                    yield int(pts), frame
            if following < math.inf:  # timestamps may leave a gap of many chunks
                seconds = int(following) * self.file.time_base("audio") - self.file.zero
                index = max(index + 1, seconds // length)

    def _read_chunk(self, index: int) -> Iterator[ChunkItem]:
        return decode_chunk(self.file, index)

    def _find_second_frame(self, rate: int) -> int | None:
        """Return the index of the first sample of the track's second frame, or None.

        A clock that does not count samples (Matroska: milliseconds) states times up to half a tick
        off. In truth each frame starts whole frames away from the second one.
        """
        time_base = self.file.time_base("audio")
        if (1 / time_base) % rate == 0:  # the clock counts samples
            return None
        if self._second_frame is None:
            pts, frame = self.file.decode_first("audio")
            begin = round((pts * time_base - self.file.zero) * rate)
            self._second_frame = begin + frame.samples
        return self._second_frame


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
        blocks = self._blocks.items()
        return torch.cat(
            [b[max(first - i * size, 0) : first + count - i * size] for i, b in blocks]
        )

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
