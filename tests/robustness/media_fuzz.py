"""Damaged media files, and a process that reads them with limits of time and memory.

A file is damaged by a seeded generator, so that a finding can be made again:

    python -m tests.robustness.media_fuzz h264_aac.mp4 17 damaged.mp4
"""

import contextlib
import gc
import multiprocessing
import os
import resource
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
from pathlib import Path
from random import Random

import numpy as np

from ava_tools.preparation.video_check import VideoCheck, check_video, presentation_times
from avsf_det.data.video import SequentialVideoReader, VideoDecodeError, VideoReader

from ..media import tone, write_video

SOUND = tone(440, 2, 48000)
# File name -> options of write_video.
VIDEOS: dict[str, dict] = {
    "h264_aac.mp4": {"bframes": 2, "sound": SOUND},
    "h264_mute.mp4": {},
    "h264_faststart.mp4": {"sound": SOUND, "container_options": {"movflags": "faststart"}},
    "h264_fragments.mp4": {
        "sound": SOUND,
        "container_options": {"movflags": "frag_keyframe+empty_moov"},
    },
    "h264_turned.mp4": {"rotation": 90},
    "h264_pcm.mov": {"sound": SOUND, "sound_codec": "pcm_s16le"},
    "h264_opus.mkv": {"bframes": 2, "sound": SOUND, "sound_codec": "libopus"},
    "mpeg4_flac.mkv": {"codec": "mpeg4", "sound": SOUND, "sound_codec": "flac"},
    "mpeg4_mp3.avi": {"codec": "mpeg4", "sound": SOUND, "sound_codec": "libmp3lame"},
    "h264_pcm.avi": {"sound": SOUND, "sound_codec": "pcm_s16le"},
    "h264_aac.ts": {"bframes": 2, "sound": SOUND},
    "mpeg2_mp2.mpg": {"codec": "mpeg2video", "sound": SOUND, "sound_codec": "mp2"},
    "vp8_opus.webm": {"codec": "libvpx", "sound": SOUND, "sound_codec": "libopus"},
    "h264_aac.flv": {"sound": SOUND[:, :88200], "sound_rate": 44100},
    "ffv1_pcm.mkv": {"codec": "ffv1", "sound": SOUND, "sound_codec": "pcm_f32le"},
}
AUDIO_FILES = {"sound.wav": "pcm_s16le", "sound.mp3": "libmp3lame", "sound.m4a": "aac"}
NAMES = (*VIDEOS, *AUDIO_FILES)
MAX_SECONDS = 20.0  # of computation per file; ten times that on the clock
MAX_BYTES = 1 << 30  # of address space that reading one file may add
MAX_MESSAGE = 300  # characters, without the path
# Values that field sizes, counts, rates and times are set to.
_EXTREMES = (0, 1, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 0x00FFFFFF, 0xFFFF)


def write_sources(folder: Path) -> dict[str, bytes]:
    """Write all undamaged files; return their bytes by name."""
    for name, options in VIDEOS.items():
        write_video(folder / name, **{"size": (32, 48), "num_frames": 40, **options})
    for name, codec in AUDIO_FILES.items():
        write_audio(folder / name, codec)
    return {name: (folder / name).read_bytes() for name in NAMES}


def write_audio(path: Path, codec: str) -> None:
    """Write a file without video."""
    import av

    with av.open(str(path), "w") as output:
        stream = output.add_stream(codec, rate=48000, layout="mono")
        resampler = av.AudioResampler(
            format=stream.codec_context.format.name, layout="mono", frame_size=1152
        )
        frame = av.AudioFrame.from_ndarray(SOUND[:, :48000], format="fltp", layout="mono")
        frame.sample_rate = 48000
        for part in [*resampler.resample(frame), *resampler.resample(None)]:
            if codec == "aac":
                part.pts = None
            output.mux(stream.encode(part))
        output.mux(stream.encode(None))


def damage(sources: dict[str, bytes], name: str, seed: int) -> bytes:
    """Return a source with one to three damages, which depend on name and seed alone."""
    random = Random(f"{name} {seed}")
    data = bytearray(sources[name])
    for _ in range(random.choice((1, 1, 1, 2, 3))):
        random.choice(DAMAGES)(data, random, sources)
    return bytes(data)


def _flip_bits(data: bytearray, random: Random, _: dict) -> None:
    # Headers are short: half of the flips aim at the first or the last of the file.
    for _ in range(random.choice((1, 4, 16, 64, 256))):
        data[_position(data, random)] ^= 1 << random.randrange(8)


def _set_field(data: bytearray, random: Random, _: dict) -> None:
    for _ in range(random.choice((1, 1, 2, 8))):
        at, size = _position(data, random), random.choice((1, 2, 4, 8))
        value = random.choice((*_EXTREMES, random.getrandbits(16)))
        order = random.choice(("big", "little"))
        data[at : at + size] = (value % (1 << 8 * size)).to_bytes(size, order)


def _truncate(data: bytearray, random: Random, _: dict) -> None:
    del data[_position(data, random) :]


def _cut_out(data: bytearray, random: Random, _: dict) -> None:
    at = _position(data, random)
    del data[at : at + random.choice((1, 2, 4, 188, 1000, 20000))]


def _insert(data: bytearray, random: Random, _: dict) -> None:
    at = _position(data, random)
    data[at:at] = random.randbytes(random.choice((1, 2, 4, 188, 3000)))


def _blank(data: bytearray, random: Random, _: dict) -> None:
    at, size = _position(data, random), random.choice((4, 16, 188, 4096))
    data[at : at + size] = bytes([random.choice((0, 255))]) * len(data[at : at + size])


def _splice(data: bytearray, random: Random, sources: dict) -> None:
    other = sources[random.choice(sorted(sources))]
    start = random.randrange(len(other))
    part = other[start : start + random.choice((64, 1000, 20000, len(other)))]
    at = _position(data, random)
    data[at : at + random.choice((0, len(part)))] = part


def _repeat(data: bytearray, random: Random, _: dict) -> None:
    at = _position(data, random)
    part = bytes(data[at : at + random.choice((4, 188, 1000, len(data)))])
    data[at:at] = part * random.choice((1, 2, 3))


def _rename(data: bytearray, random: Random, _: dict) -> None:
    """Exchange two four-letter names, of which mp4 and avi consist."""
    names = [
        i for i in range(len(data) - 4) if data[i : i + 4].isalpha() and data[i : i + 4].isascii()
    ]
    if len(names) > 1:
        a, b = random.choice(names), random.choice(names)
        data[a : a + 4], data[b : b + 4] = data[b : b + 4], data[a : a + 4]


DAMAGES: tuple[Callable, ...] = (
    _flip_bits,
    _flip_bits,
    _set_field,
    _set_field,
    _truncate,
    _cut_out,
    _insert,
    _blank,
    _splice,
    _repeat,
    _rename,
)


def _position(data: bytearray, random: Random) -> int:
    """Return a place: in the first or last kilobyte as often as anywhere; some data is kept."""
    if not data:
        data += b"\0"
    near = random.randrange(min(len(data), 1024))
    return random.choice((random.randrange(len(data)), near, len(data) - 1 - near))


def read_all(path: str) -> str:
    """Read frames and audio of a file in all ways; return "read", or "refused" with the reason.

    Raises:
        AssertionError: what was read, or a message, has the wrong form.
        Exception: any error but VideoDecodeError, which is a finding.
    """
    problems = [
        str(error) for part in (_read_random, _read_in_order, _check) for error in part(path)
    ]
    for problem in problems:
        assert "\n" not in problem and problem.startswith(path), problem
        assert len(problem) - len(path) <= MAX_MESSAGE, problem
    return f"refused: {problems[0]}" if problems else "read"


def _read_random(path: str) -> Iterator[VideoDecodeError]:
    try:
        with VideoReader(path) as reader:
            end = reader.duration
            assert np.isfinite(end) and reader.fps > 0 and reader.width > 0 and reader.height > 0
            size = (reader.height, reader.width, 3)
            for seconds in ([0.0, 0.5, 0.2], [end / 2], [end - 0.01, end + 5], [-1.0], [1.0] * 3):
                with _collected() as errors:
                    frames = reader.get_frames_played_at(seconds)
                    assert frames.dtype == np.uint8 and frames.shape == (len(seconds), *size)
                yield from errors
            with _collected() as errors:
                frames = reader.get_frames_played_at([0.3], (20, 30))
                assert frames.shape == (1, 20, 30, 3)
            yield from errors
            for start in (0.0, 0.7, end - 1, end + 100):
                with _collected() as errors:
                    samples = reader.get_samples_played_in_range(start, start + 1, 16000)
                    assert samples.shape == (16000,) and np.isfinite(samples.numpy()).all()
                if reader.has_audio:
                    yield from errors
    except VideoDecodeError as error:
        yield error


def _read_in_order(path: str) -> Iterator[VideoDecodeError]:
    try:
        with SequentialVideoReader(path) as reader:
            for k in range(6):
                frames = reader.get_frames_played_at([k / 4, k / 4 + 0.1])
                assert frames.shape == (2, reader.height, reader.width, 3)
                if reader.has_audio:
                    samples = reader.get_samples_played_in_range(k / 4, k / 4 + 0.5, 16000)
                    assert samples.shape == (8000,)
    except VideoDecodeError as error:
        yield error


def _check(path: str) -> Iterator[VideoDecodeError]:
    found = check_video(path)
    assert isinstance(found, VideoCheck) and all("\n" not in x for x in found.problems.values())
    assert all(len(x) <= MAX_MESSAGE for x in found.problems.values()), found.problems
    try:
        times = presentation_times(path)
        assert np.isfinite(times).all() and (np.diff(times) >= 0).all()
    except VideoDecodeError as error:
        yield error


@contextlib.contextmanager
def _collected() -> Iterator[list[VideoDecodeError]]:
    errors: list[VideoDecodeError] = []
    try:
        yield errors
    except VideoDecodeError as error:
        errors.append(error)


class Reader:
    """Process that reads files one after the other; it is started again after a crash.

    Args:
        method: how the process starts, "fork" or "spawn".
    """

    def __init__(self, method: str) -> None:
        self._context = multiprocessing.get_context(method)
        self._start()

    def _start(self) -> None:
        self._pipe, other = self._context.Pipe()
        self._process = self._context.Process(target=_serve, args=(other,), daemon=True)
        self._process.start()
        other.close()
        self._pipe.recv()  # it has imported everything

    def read(self, path: Path) -> str:
        """Return "read", "refused: ...", "slow", "crash ..." or the traceback of another error."""
        self._pipe.send(str(path))
        limit, patience = self._computed() + MAX_SECONDS, time.monotonic() + 10 * MAX_SECONDS
        outcome = "slow"
        while self._computed() < limit and time.monotonic() < patience:
            if self._pipe.poll(0.2):
                try:
                    return self._pipe.recv()
                except EOFError:
                    self._process.join()
                    outcome = f"crash {self._process.exitcode}"
                    break
        self.close()
        self._start()
        return outcome

    def _computed(self) -> float:
        """Return the processor time of the process in seconds."""
        # The fields after the name, which may hold blanks: 12th and 13th are user and system time.
        fields = Path(f"/proc/{self._process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def close(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.join()
        self._pipe.close()


def _serve(pipe: Connection) -> None:
    import av

    av.logging.set_level(None)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    gc.freeze()  # collections below look at new objects only
    pipe.send("ready")
    while True:
        try:
            path = pipe.recv()
        except EOFError:
            return
        used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (used + MAX_BYTES, resource.RLIM_INFINITY))
        try:
            outcome = read_all(path)
        except Exception:
            outcome = traceback.format_exc()
        gc.collect()  # so that each file is charged for itself
        pipe.send(outcome)


def main() -> None:
    """Write one damaged file."""
    name, seed, output = sys.argv[1:]
    folder = Path(output).resolve().parent / "sources"
    folder.mkdir(exist_ok=True)
    Path(output).write_bytes(damage(write_sources(folder), name, int(seed)))


if __name__ == "__main__":
    main()
