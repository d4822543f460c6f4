"""Long test videos, made from a user's clips."""

from collections.abc import Iterator, Sequence
from itertools import cycle, islice
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from avsf_det.data.video import SequentialVideoReader
from avsf_det.data.video.write import write_video
from avsf_det.structures import AVSFError

SAMPLE_RATE = 48000


class ShortClipError(AVSFError):
    """Clip that is too short to be joined."""


def join_videos(
    path: Path,
    videos: Sequence[str],
    seconds: int,
    size: tuple[int, int],
    *,
    fps: int,
    gop: int = 250,
) -> None:
    """Join clips with their audio end to end, from the first again after the last.

    The encoder is x264 with its defaults, except for an I-frame at each ``gop``-th frame and
    nowhere else, and AAC. The file has its name only when it is complete.

    Args:
        path: video to write.
        videos: clips of 1 s or more; their whole seconds are used.
        seconds: length of the result.
        size: (height, width) to which all clips are scaled, in pixels.
        fps: frames per second.
        gop: distance of two I-frames in frames.

    Raises:
        ShortClipError: a clip is shorter than 1 s.
        VideoDecodeError: a clip cannot be read.
    """
    tracks: list[torch.Tensor] = []
    length = 0
    for video in cycle(videos):
        with SequentialVideoReader(video) as reader:
            end = _count_whole_seconds(reader)
            if reader.has_audio:
                tracks.append(reader.get_samples_played_in_range(0, end, SAMPLE_RATE))
            else:
                tracks.append(torch.zeros(end * SAMPLE_RATE))
        length += end
        if length >= seconds:
            break
    audio = torch.cat(tracks)[: seconds * SAMPLE_RATE].numpy()
    frames = islice(_read_joined_frames(videos, size, fps), seconds * fps)
    progress = tqdm(frames, path.name, seconds * fps, mininterval=2, disable=None)
    partial = path.with_name(f"partial_{path.name}")
    options = {"g": str(gop), "sc_threshold": "0"}  # no I-frames where two clips meet
    write_video(partial, progress, fps, np.stack([audio] * 2), SAMPLE_RATE, video_options=options)
    partial.rename(path)


def _read_joined_frames(
    videos: Sequence[str], size: tuple[int, int], fps: int
) -> Iterator[np.ndarray]:
    for video in cycle(videos):
        with SequentialVideoReader(video) as reader:
            for second in range(_count_whole_seconds(reader)):
                yield from reader.get_frames_played_at([second + i / fps for i in range(fps)], size)


def _count_whole_seconds(reader: SequentialVideoReader) -> int:
    if reader.duration < 1:
        raise ShortClipError(
            f"{reader.path} lasts {reader.duration:.1f} s; give clips of 1 s or more"
        )
    return int(reader.duration)
