"""Write frames, with or without audio, to an mp4 or avi file."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack
from fractions import Fraction
from itertools import chain
from pathlib import Path
from typing import Any

import av
import numpy as np

from .audio_reader import at_one_rate, audio_kind
from .container import MediaFile
from .open_file import VideoDecodeError, libav_path

# File suffix -> libav's names of the container and of the video and the audio encoder.
_FORMATS = {".mp4": ("mp4", "libx264", "aac"), ".avi": ("avi", "mpeg4", "libmp3lame")}
# Audio codecs that players support in mp4.
_COPIED = {"aac", "mp3", "ac3", "eac3", "opus"}
_CHUNK_SAMPLES = 1024  # audio samples that the encoder receives at once
_SAMPLE_RATE = 48000  # of re-encoded audio, in Hz
_MIN_GAP_SEC = 0.05  # a gap between audio frames that is shorter is closed
_FREE_TIME_BASE = Fraction(1, 90000)  # of frames without a rate, in seconds
_UNSPECIFIED, _LIMITED = 2, 1  # libav's numbers of a colour matrix, and of a range


def write_video(
    path: str | Path,
    frames: Iterable[np.ndarray] | Iterable[tuple[float, np.ndarray]],
    fps: int | Fraction | None,
    audio: np.ndarray | None = None,
    sample_rate: int | None = None,
    *,
    audio_of: str | Path | None = None,
    video_options: Mapping[str, str] = {},
    audio_options: Mapping[str, str] = {},
) -> None:
    """Encode frames and audio; frames are not held in memory.

    The suffix decides: H.264 and AAC in mp4, MPEG-4 and MP3 in avi. The audio starts with the first
    frame (in avi 25 ms later, which a player cannot know).

    Args:
        path: file to write, .mp4 or .avi.
        frames: uint8 (H, W, 3) RGB images, even H and W, all of one size; or uint8 (H * 3 / 2, W):
            the planes Y, U, V of yuv420p one below the other, in limited range.
        fps: frames per second; None: ``frames`` are (second, image), at any ascending seconds.
        audio: float32 (channels, samples) in -1..1 with 1 or 2 channels; None: no audio stream.
        sample_rate: sample rate of ``audio``, in Hz.
        audio_of: instead of ``audio``, and for mp4 only, a video whose whole audio stream is kept
            if it has one; the first frame is that of its second 0. Packets are copied where players
            support the codec in mp4 and the rate and channels stay, else re-encoded as AAC in mono
            or stereo. Frames in YUV have its colour matrix.
        video_options: options of libav's encoder libx264 or mpeg4.
        audio_options: options of libav's encoder aac or libmp3lame.

    Raises:
        ValueError: the suffix is another one, or is not .mp4 with ``audio_of``; or ``audio`` comes
            without ``sample_rate``.
        VideoDecodeError: ``audio_of`` cannot be read.
    """
    suffix = Path(path).suffix.lower()
    if suffix not in _FORMATS:
        raise ValueError(f"{path} has the suffix '{suffix}'; it can be {' or '.join(_FORMATS)}")
    if audio_of is not None and suffix != ".mp4":
        raise ValueError(f"{path}: the audio of another video is kept in .mp4 only")
    container_format, video_codec, audio_codec = _FORMATS[suffix]
    # Avi counts frames from second 0; MP3 must begin earlier, and may not delay them.
    options = {"avoid_negative_ts": "disabled"}
    with ExitStack() as stack:
        container = stack.enter_context(
            av.open(libav_path(path), "w", format=container_format, options=options)
        )
        video: Any = container.add_stream(video_codec, rate=fps or 25, options=dict(video_options))
        video.pix_fmt = "yuv420p"
        video.codec_context.thread_count = 1
        packets: Iterator[Any] = iter(())
        matrix = _UNSPECIFIED
        if audio_of is not None:
            source = stack.enter_context(MediaFile(audio_of))
            matrix = source.video.codec_context.colorspace
            packets = _packets_of(source, container, audio_options)
        elif audio is not None:
            if sample_rate is None:
                raise ValueError(f"{path}: audio needs a sample_rate")
            layout = {1: "mono", 2: "stereo"}[len(audio)]
            stream: Any = container.add_stream(
                audio_codec, rate=sample_rate, layout=layout, options=dict(audio_options)
            )
            packets = _encode_audio(stream, _chunk(audio, sample_rate, layout))
        # Each audio packet is written after the frames that precede it, so that players need not
        # seek between the two.
        waiting = next(packets, None)
        for second, encoded in _encode_frames(video, frames, fps, matrix):
            container.mux(encoded)
            while waiting is not None and waiting.dts * waiting.time_base <= second:
                container.mux(waiting)
                waiting = next(packets, None)
        container.mux(video.encode(None))
        for packet in chain([waiting] if waiting else [], packets):
            container.mux(packet)


def _encode_frames(
    stream: av.VideoStream, frames: Iterable[Any], fps: int | Fraction | None, matrix: int
) -> Iterator[tuple[float | Fraction, list[av.Packet]]]:
    """Yield for each frame the second up to which audio may be written, and its packets."""
    if fps is None:
        stream.codec_context.time_base = _FREE_TIME_BASE
    for i, item in enumerate(frames):
        second, image = item if fps is None else ((i + 1) / fps, item)
        frame = av.VideoFrame.from_ndarray(image, "rgb24" if image.ndim == 3 else "yuv420p")
        if i == 0:
            stream.height, stream.width = frame.height, frame.width
            if image.ndim == 2:  # else the encoder makes YUV of a matrix of its own
                stream.codec_context.colorspace = matrix
                stream.codec_context.color_range = _LIMITED
        if fps is None:
            frame.pts, frame.time_base = round(second / _FREE_TIME_BASE), _FREE_TIME_BASE
        yield second, stream.encode(frame)


def _chunk(audio: np.ndarray, sample_rate: int, layout: str) -> Iterator[av.AudioFrame]:
    for start in range(0, audio.shape[1], _CHUNK_SAMPLES):
        chunk = np.ascontiguousarray(audio[:, start : start + _CHUNK_SAMPLES])
        frame = av.AudioFrame.from_ndarray(chunk, "fltp", layout)
        frame.sample_rate, frame.pts = sample_rate, start
        yield frame


def _encode_audio(stream: av.AudioStream, frames: Iterable[av.AudioFrame]) -> Iterator[av.Packet]:
    for frame in chain(frames, [None]):
        yield from stream.encode(frame)


def _packets_of(
    source: MediaFile, container: av.container.OutputContainer, options: Mapping[str, str]
) -> Iterator[av.Packet]:
    """Add a stream for the audio of a file and return its packets; none without audio."""
    if source.audio is None:
        return iter(())
    source.reopen()
    context, layout = source.audio.codec_context, "stereo" if source.audio.channels > 1 else "mono"
    # What a header says of all packets does not change on the way.
    if context.codec.canonical_name in _COPIED and (context.extradata or _is_of_one_kind(source)):
        source.reopen()
        return _copy(source, container.add_stream_from_template(source.audio))
    stream = container.add_stream("aac", _SAMPLE_RATE, layout=layout, options=dict(options))
    return _encode_audio(stream, _resample(source, stream))


def _is_of_one_kind(source: MediaFile) -> bool:
    """Return whether the rate, the layout and the format of all audio frames are the same."""
    frames = (frame for _, frame in source.decode("audio"))
    kinds = {audio_kind(frame) for frame in frames if not isinstance(frame, VideoDecodeError)}
    return len(kinds) < 2


def _copy(source: MediaFile, stream: av.AudioStream) -> Iterator[av.Packet]:
    """Yield the audio packets of a file, shifted to its second 0."""
    index, shift = source.stream("audio").index, round(source.zero / source.time_base("audio"))
    latest = None
    for packet in source.packets("audio"):
        if packet.stream.index != index or packet.dts is None:
            continue
        packet.pts = None if packet.pts is None else packet.pts - shift
        packet.dts -= shift
        # Damaged files repeat times, which containers do not allow.
        if latest is None or packet.dts > latest:
            latest = packet.dts
            packet.stream = stream
            yield packet


def _resample(source: MediaFile, stream: av.AudioStream) -> Iterator[av.AudioFrame]:
    """Yield the audio of a file at the stream's rate, in frames of its encoder's length."""
    context = stream.codec_context
    context.open()  # tells the length of its frames
    resampler = av.AudioResampler(
        context.format, stream.layout, _SAMPLE_RATE, frame_size=context.frame_size
    )
    position = None
    first = source.decode_first("audio")[1]
    source.reopen()
    for pts, frame in at_one_rate(source, source.decode("audio"), audio_kind(first)):
        if isinstance(frame, VideoDecodeError):
            raise frame
        stated = round((pts * source.time_base("audio") - source.zero) * frame.sample_rate)
        # A millisecond clock shows gaps where there are none. Joined files may overlap.
        gap = 0 if position is None else (stated - position) / frame.sample_rate
        if gap < -_MIN_GAP_SEC:
            continue
        if position is None or gap > _MIN_GAP_SEC:
            position = stated
        frame.pts, frame.time_base = position, Fraction(1, frame.sample_rate)
        position += frame.samples
        yield from resampler.resample(frame)
    yield from resampler.resample(None)
