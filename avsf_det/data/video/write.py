"""Write frames, with sound or without, to an mp4 or avi file."""

from collections.abc import Iterable, Iterator, Mapping
from fractions import Fraction
from itertools import chain
from pathlib import Path

import av
import numpy as np

from .reader import VideoDecodeError, VideoReader

SOUND_CHUNK = 1024  # samples that are given to the encoder at once


_FORMATS = {".mp4": ("mp4", "libx264", "aac"), ".avi": ("avi", "mpeg4", "libmp3lame")}
# Codecs of sound that players take in mp4.
_COPIED = {"aac", "mp3", "ac3", "eac3", "opus"}
# Of sound that is encoded anew: Hz; seconds from which on a gap between two frames is one.
RATE_ANEW, GAP_SEC = 48000, 0.05
FREE_TIME_BASE = Fraction(1, 90000)  # seconds, of frames without a rate


def write_video(
    path: str | Path,
    frames: Iterable[np.ndarray] | Iterable[tuple[float, np.ndarray]],
    fps: int | Fraction | None,
    sound: np.ndarray | None = None,
    sample_rate: int | None = None,
    *,
    sound_of: str | Path | None = None,
    video_options: Mapping[str, str] = {},
    audio_options: Mapping[str, str] = {},
) -> None:
    """Encode as the suffix says: H.264 and AAC in mp4, MPEG-4 and MP3 in avi. The sound starts with
    the first frame (in avi 25 ms later, which a player cannot know). Frames are not held in memory.

    Args:
        frames: (H, W, 3) uint8 RGB, even H and W, all of one size.
        fps: None: frames come as (second, image), at any ascending seconds.
        sound: (channels, samples) float32 in -1..1; 1 or 2 channels. None: no sound track.
        sample_rate: of the sound, in Hz.
        sound_of: instead of ``sound``, and for mp4 only, a video whose sound track is kept if it
            has one, all of it; the first frame is that of its second 0. Packets are copied where
            players take the codec in mp4, else encoded anew as AAC in mono or stereo.
        video_options, audio_options: of libav's encoders libx264 or mpeg4, aac or libmp3lame.

    Raises:
        ValueError: the suffix is another one, or not .mp4 with ``sound_of``.
        VideoDecodeError: ``sound_of`` cannot be read.
    """
    suffix = Path(path).suffix.lower()
    if suffix not in _FORMATS:
        raise ValueError(f"{path} has the suffix '{suffix}'; it can be {' or '.join(_FORMATS)}")
    if sound_of is not None and suffix != ".mp4":
        raise ValueError(f"{path}: the sound of another video is kept in .mp4 only")
    container_format, video_codec, audio_codec = _FORMATS[suffix]
    # Avi counts frames from second 0: sound that must begin earlier (MP3) may not push them on.
    options = {"avoid_negative_ts": "disabled"}
    with av.open(str(path), "w", format=container_format, options=options) as container:
        video = container.add_stream(video_codec, rate=fps or 25, options=dict(video_options))
        video.pix_fmt = "yuv420p"
        video.codec_context.thread_count = 1
        packets = iter(())
        if sound_of is not None:
            packets = _Sound(str(sound_of)).packets(container, audio_options)
        elif sound is not None:
            layout = {1: "mono", 2: "stereo"}[len(sound)]
            audio = container.add_stream(
                audio_codec, rate=sample_rate, layout=layout, options=dict(audio_options)
            )
            packets = _encode(audio, _chunks(sound, sample_rate, layout))
        waiting = next(packets, None)
        if fps is None:
            video.codec_context.time_base = FREE_TIME_BASE
        for i, image in enumerate(frames):
            second, image = image if fps is None else ((i + 1) / fps, image)
            if i == 0:
                video.height, video.width = image.shape[:2]
            frame = av.VideoFrame.from_ndarray(image, "rgb24")
            if fps is None:
                frame.pts, frame.time_base = round(second / FREE_TIME_BASE), FREE_TIME_BASE
            container.mux(video.encode(frame))
            while waiting is not None and waiting.dts * waiting.time_base <= second:
                container.mux(waiting)
                waiting = next(packets, None)
        container.mux(video.encode(None))
        for packet in chain([waiting] if waiting else [], packets):
            container.mux(packet)


def _chunks(sound: np.ndarray, sample_rate: int, layout: str) -> Iterator[av.AudioFrame]:
    for start in range(0, sound.shape[1], SOUND_CHUNK):
        chunk = np.ascontiguousarray(sound[:, start : start + SOUND_CHUNK])
        frame = av.AudioFrame.from_ndarray(chunk, "fltp", layout)
        frame.sample_rate, frame.pts = sample_rate, start
        yield frame


def _encode(stream: av.AudioStream, frames: Iterable[av.AudioFrame]) -> Iterator[av.Packet]:
    for frame in chain(frames, [None]):
        yield from stream.encode(frame)


class _Sound(VideoReader):
    """The sound track of a video, as packets of another file."""

    def packets(
        self, container: av.container.OutputContainer, options: Mapping[str, str]
    ) -> Iterator[av.Packet]:
        """Add a stream to ``container`` and give its packets, in order; nothing without a track."""
        if self._audio is None:
            self.close()
            return iter(())
        self._open()
        if self._audio.codec_context.codec.canonical_name in _COPIED:
            return self._copied(container.add_stream_from_template(self._audio))
        layout = "stereo" if self._audio.channels > 1 else "mono"
        stream = container.add_stream("aac", RATE_ANEW, layout=layout, options=dict(options))
        return _encode(stream, self._resampled(stream))

    def _copied(self, stream: av.AudioStream) -> Iterator[av.Packet]:
        source, shift = self._audio, round(self._zero / self._audio.time_base)
        latest = None
        for packet in self._packets("audio"):
            if packet.stream.index != source.index or packet.dts is None:
                continue
            packet.pts, packet.dts = packet.pts - shift, packet.dts - shift
            # Damaged files repeat times, which no file may.
            if latest is None or packet.dts > latest:
                latest = packet.dts
                packet.stream = stream
                yield packet
        self.close()

    def _resampled(self, stream: av.AudioStream) -> Iterator[av.AudioFrame]:
        """The track at the stream's rate, in frames of the length that its encoder takes."""
        stream.codec_context.open()
        resampler = av.AudioResampler(
            stream.codec_context.format,
            stream.layout,
            RATE_ANEW,
            frame_size=stream.codec_context.frame_size,
        )
        position = None
        for pts, frame in self._decode("audio"):
            if isinstance(frame, VideoDecodeError):
                raise frame
            stated = round((pts * self._audio.time_base - self._zero) * frame.sample_rate)
            # A clock of milliseconds only seems to leave gaps.
            if position is None or abs(stated - position) > GAP_SEC * frame.sample_rate:
                position = stated
            frame.pts, frame.time_base = position, Fraction(1, frame.sample_rate)
            position += frame.samples
            yield from resampler.resample(frame)
        yield from resampler.resample(None)
        self.close()
