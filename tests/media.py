"""Tiny video files, written on the fly: frames carry their number, audio its time."""

import functools
import itertools
import math
import pickle
import struct
import tempfile
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.video.reformatter import VideoReformatter

# A frame's number is painted as 2 rows of 6 black or white blocks in its upper half.
BIT_ROWS, BIT_COLUMNS = 2, 6


def paint_number(number: int, height: int, width: int) -> np.ndarray:
    """uint8 (height, width, 3) RGB: the number's bits above, below a slope that moves with it."""
    image = np.empty((height, width, 3), np.uint8)
    image[:] = ((np.arange(width) * 2 + number * 5) % 256)[None, :, None]
    image[..., 2] //= 2
    for rows, columns, bit in _blocks(height, width):
        image[rows, columns] = 255 if number >> bit & 1 else 0
    return image


def read_number(image: np.ndarray) -> int:
    """The number painted on an upright frame of any size, (H, W, 3)."""
    return sum(
        int(image[rows, columns].mean() > 127) << bit
        for rows, columns, bit in _blocks(*image.shape[:2])
    )


@functools.cache
def _blocks(height: int, width: int) -> list[tuple[slice, slice, int]]:
    edges_y = np.linspace(0, height / 2, BIT_ROWS + 1).round().astype(int)
    edges_x = np.linspace(0, width, BIT_COLUMNS + 1).round().astype(int)
    return [
        (slice(edges_y[y], edges_y[y + 1]), slice(edges_x[x], edges_x[x + 1]), bit)
        for bit, (y, x) in enumerate(itertools.product(range(BIT_ROWS), range(BIT_COLUMNS)))
    ]


def tone(hertz: float, duration: float, rate: int, amplitude: float = 0.5) -> np.ndarray:
    """float32 (1, L): a sine that starts at phase 0."""
    time = np.arange(round(duration * rate)) / rate
    return (amplitude * np.sin(2 * np.pi * hertz * time)).astype(np.float32)[None]


def clicks(times: Sequence[float], duration: float, rate: int) -> np.ndarray:
    """float32 (1, L): silence but for a 2 ms burst that starts at each of the times."""
    sound = np.zeros((1, round(duration * rate)), np.float32)
    burst = tone(3000, 0.002, rate, amplitude=0.9)
    for time in times:
        start = round(time * rate)
        sound[:, start : start + burst.shape[1]] = burst
    return sound


def write_video(path: Path | object, **options) -> None:
    """Write frames numbered 0, 1, ... and an audio track; see ``encode_video``.

    Encoding takes longer than most tests: a process does it once for each suffix and options.

    Args:
        path: file name, whose suffix says the format; or an object to write to.
        **options: arguments of ``encode_video``.
    """
    if isinstance(path, Path):
        path.write_bytes(_encoded(path.suffix, pickle.dumps(options)))
    else:
        encode_video(path, **options)


@functools.lru_cache(maxsize=500)
def _encoded(suffix: str, options: bytes) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"video{suffix}"
        encode_video(path, **pickle.loads(options))
        return path.read_bytes()


def encode_video(
    path: Path | object,
    *,
    num_frames: int = 30,
    fps: int = 30,
    times: Sequence[float] | None = None,
    start: float = 0.0,
    size: tuple[int, int] = (48, 96),
    codec: str = "libx264",
    pix_fmt: str = "yuv420p",
    gop: int = 12,
    bframes: int = 0,
    codec_options: dict[str, str] | None = None,
    rotation: int = 0,
    mirrored: bool = False,
    pixel_aspect: Fraction | None = None,
    sound: np.ndarray | None = None,
    sound_rate: int = 48000,
    sound_start: float = 0.0,
    sound_codec: str = "aac",
    sound_options: dict[str, str] | None = None,
    sound_frame_lengths: Sequence[int] | None = None,
    container: str | None = None,
    container_options: dict[str, str] | None = None,
) -> None:
    """Encode frames numbered 0, 1, ... and an audio track.

    Args:
        path: file name, whose suffix says the format; or an object to write to.
        times: seconds of the frames; ``start + i / fps`` by default.
        size: (height, width) as stored.
        rotation: degrees, counter-clockwise, that an mp4 asks players to show it with.
        mirrored: whether the mp4 asks to swap left and right after that.
        pixel_aspect: width of a pixel divided by its height, which the codec stores.
        sound: float32 (channels, L) in [-1, 1], beginning at ``sound_start``; None for no track.
        sound_frame_lengths: samples in each packet, for codecs that leave it open (pcm).
        container: format name, for an object without a suffix.
    """
    if times is None:
        times = [start + i / fps for i in range(num_frames)]
    target = str(path) if isinstance(path, Path) else path
    with av.open(target, "w", format=container, options=container_options or {}) as output:
        video = output.add_stream(codec, rate=fps)
        video.height, video.width = size
        video.pix_fmt = pix_fmt
        video.codec_context.time_base = Fraction(1, fps if codec.startswith("mpeg") else 90000)
        video.codec_context.gop_size = gop
        video.codec_context.sample_aspect_ratio = pixel_aspect or Fraction(0, 1)
        video.codec_context.max_b_frames = bframes
        video.codec_context.thread_count = 1
        video.options = {"libx264": {"crf": "12", "preset": "ultrafast", "bf": str(bframes)}}.get(
            codec, {}
        ) | (codec_options or {})
        audio = None
        if sound is not None:
            layout = {1: "mono", 2: "stereo", 6: "5.1"}[len(sound)]
            audio = output.add_stream(sound_codec, rate=sound_rate, layout=layout)
            audio.bit_rate = 192000
            audio.options = {"aac_coder": "fast"} if sound_codec == "aac" else {}
            audio.options |= sound_options or {}
        packets = list(_encode_frames(video, times, size))
        if audio is not None:
            packets += _encode_sound(audio, sound, sound_rate, sound_start, sound_frame_lengths)
        # Muxers want the streams interleaved; a stable sort keeps each in its decoding order.
        for packet in sorted(packets, key=lambda p: p.dts * p.time_base):
            output.mux(packet)
    if rotation or mirrored:
        _set_display_matrix(Path(path), rotation, mirrored)


def _encode_frames(stream: av.VideoStream, times: Sequence[float], size: tuple[int, int]):
    time_base = stream.codec_context.time_base
    reformatter = VideoReformatter()  # one for all frames: its tables take most of the time
    for number, time in enumerate(times):
        frame = av.VideoFrame.from_ndarray(paint_number(number, *size), format="rgb24")
        frame = reformatter.reformat(frame, format=stream.pix_fmt)
        frame.time_base = time_base
        frame.pts = round(time / time_base)
        frame.pict_type = 0
        yield from stream.encode(frame)
    yield from stream.encode(None)


def _encode_sound(
    stream: av.AudioStream,
    sound: np.ndarray,
    rate: int,
    start: float,
    lengths: Sequence[int] | None,
) -> list[av.Packet]:
    resampler = av.AudioResampler(format=stream.codec_context.format.name, layout=stream.layout)
    # Opened by its first frame at the latest, a codec knows only then how many samples it takes.
    stream.codec_context.open()
    length = stream.codec_context.frame_size or 1024
    packets, at = [], 0
    for count in lengths or [length] * math.ceil(sound.shape[1] / length):
        part = np.ascontiguousarray(sound[:, at : at + count])
        if not part.size:
            break
        frame = av.AudioFrame.from_ndarray(part, format="fltp", layout=stream.layout.name)
        frame.sample_rate = rate
        frame.time_base = Fraction(1, rate)
        frame.pts = round(start * rate) + at
        at += count
        for converted in resampler.resample(frame):
            packets += stream.encode(converted)
    return packets + stream.encode(None)


def _set_display_matrix(path: Path, degrees: int, mirrored: bool) -> None:
    """Write a display matrix into the first track's header of an mp4 file."""
    data = bytearray(path.read_bytes())
    cos, sin = (round(f(math.radians(degrees)) * (1 << 16)) for f in (math.cos, math.sin))
    side = -1 if mirrored else 1
    # Version 0 of the header: 4 bytes name, 4 of flags, 20 of times and ids, 16 reserved.
    at = data.index(b"tkhd") + 4 + 4 + 20 + 16
    matrix = (side * cos, -sin, 0, side * sin, cos, 0, 0, 0, 1 << 30)
    data[at : at + 36] = struct.pack(">9i", *matrix)
    path.write_bytes(data)
