"""A movie joined from clips, as the benchmarks of loading read it."""

from collections.abc import Iterator, Sequence
from itertools import cycle, islice
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from ..data.video import SequentialVideoReader
from ..data.video.write import write_video

SAMPLE_RATE = 48000


def make_movie(
    path: str | Path,
    videos: Sequence[str],
    seconds: int,
    size: tuple[int, int],
    *,
    fps: int,
    gop: int = 250,
) -> None:
    """Join clips end to end, from the first again after the last, with their sound: H.264 with
    x264's defaults, but for a key frame at each ``gop``-th frame and nowhere else, and AAC.

    The file has its name only when it is complete.

    Args:
        videos: of 1 s or more; their whole seconds are taken.
        size: (height, width) that all are scaled to.

    Raises:
        ValueError: a clip is shorter.
        VideoDecodeError: a clip cannot be read.
    """
    path = Path(path)
    sounds, length = [], 0
    for video in cycle(videos):
        with SequentialVideoReader(video) as reader:
            end = _whole_seconds(reader)
            heard = (
                reader.get_samples_played_in_range(0, end, SAMPLE_RATE)
                if reader.has_audio
                else None
            )
            sounds.append(torch.zeros(end * SAMPLE_RATE) if heard is None else heard)
        length += end
        if length >= seconds:
            break
    sound = torch.cat(sounds)[: seconds * SAMPLE_RATE].numpy()
    frames = islice(_joined_frames(videos, size, fps), seconds * fps)
    progress = tqdm(frames, path.name, seconds * fps, mininterval=2, disable=None)
    partial = path.with_name(f"partial_{path.name}")
    options = {"g": str(gop), "sc_threshold": "0"}  # no key frames at the joins
    write_video(partial, progress, fps, np.stack([sound] * 2), SAMPLE_RATE, video_options=options)
    partial.rename(path)


def _joined_frames(videos: Sequence[str], size: tuple[int, int], fps: int) -> Iterator[np.ndarray]:
    for video in cycle(videos):
        with SequentialVideoReader(video) as reader:
            for second in range(_whole_seconds(reader)):
                yield from reader.get_frames_played_at([second + i / fps for i in range(fps)], size)


def _whole_seconds(reader: SequentialVideoReader) -> int:
    if reader.duration < 1:
        raise ValueError(f"{reader.path} lasts {reader.duration:.1f} s; give clips of 1 s or more")
    return int(reader.duration)
