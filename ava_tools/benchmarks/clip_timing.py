"""Time that a loader worker spends in each stage of a training clip."""

import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import cast

import av
import numpy as np
import torch
from detectron2.config import CfgNode
from detectron2.data import transforms as T

from avsf_det.data import KeyframeMapper, ReaderPerClip, SegmentMapper, VideoReader
from avsf_det.data.clip_reader import LogMel
from avsf_det.data.transforms import build_clip_augmentations
from avsf_det.data.video.container import MediaFile
from avsf_det.data.video.reader import Convert, make_converter


def read_clips(
    mapper: KeyframeMapper | SegmentMapper, path: str | Path, seconds: Sequence[float]
) -> list[dict]:
    """Return model inputs made of a video.

    Args:
        mapper: mapper; one of keyframes reads a keyframe with one person at each second. One of
            segments draws the time itself and gets the first class of each task.
        path: video.
        seconds: time of each clip.
    """
    common: dict = {"file_name": str(path), "source": str(path), "video_id": "a", "clip_id": "a"}
    common |= {"offset": 0.0, "annotations": [{"bbox": [0.3, 0.1, 0.7, 0.9], "action_ids": [0]}]}
    if isinstance(mapper, SegmentMapper):
        label = [0] if mapper.multi_label else 0
        common["labels"] = dict.fromkeys(mapper.num_classes, label)
    return [mapper({**common, "image_id": f"a,{s}", "timestamp": float(s)}) for s in seconds]


class Stopwatch:
    """Seconds by stage; stages may be nested."""

    def __init__(self) -> None:
        self.seconds = dict.fromkeys(["open", "frames", "clip", "convert", "audio", "log-mel"], 0.0)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Add the time of the ``with`` block to a stage."""
        start = time.perf_counter()
        yield
        self.seconds[name] += time.perf_counter() - start


class TimedReader(VideoReader):
    """Video reader that times opening, frames, conversion and audio."""

    def __init__(self, path: str, stopwatch: Stopwatch) -> None:
        self.stopwatch = stopwatch
        with stopwatch.stage("open"):
            super().__init__(path)
        self.make_converter = self._make_converter

    def iterate_frames_played_at(
        self,
        seconds: Sequence[float],
        size: tuple[int, int] | None = None,
        window: tuple[int, int, int, int] | None = None,
    ) -> Iterator[tuple[int, np.ndarray]]:
        """Yield the frame on screen at each second."""
        frames = super().iterate_frames_played_at(seconds, size, window)
        for _ in seconds:
            with self.stopwatch.stage("frames"):
                item = next(frames)
            yield item

    def get_samples_played_in_range(
        self, start: float, stop: float, sample_rate: int
    ) -> torch.Tensor:
        """Return the audio samples between two seconds."""
        with self.stopwatch.stage("audio"):
            return super().get_samples_played_in_range(start, stop, sample_rate)

    def _make_converter(
        self,
        file: MediaFile,
        height: int,
        width: int,
        window: tuple[int, int, int, int] | None = None,
    ) -> Convert:
        with self.stopwatch.stage("convert"):
            convert = make_converter(file, height, width, window)

        def timed_convert(frame: av.VideoFrame) -> np.ndarray:
            with self.stopwatch.stage("convert"):
                return convert(frame)

        return timed_convert


class TimedSource:
    """Source of clips that opens timed readers.

    Args:
        source: source that reads and augments the frames.
        stopwatch: stopwatch of the stages.
    """

    def __init__(self, source: ReaderPerClip, stopwatch: Stopwatch) -> None:
        self.source = source
        self.stopwatch = stopwatch

    def open(self, path: str) -> AbstractContextManager[VideoReader]:
        """Open a video."""
        return TimedReader(path, self.stopwatch)

    def read_frames(
        self, video: VideoReader, seconds: Sequence[float]
    ) -> tuple[np.ndarray, T.TransformList]:
        """Read augmented frames."""
        with self.stopwatch.stage("clip"):
            return self.source.read_frames(video, seconds)


class TimedLogMel:
    """Log-mel spectrogram that is timed."""

    def __init__(self, log_mel: LogMel, stopwatch: Stopwatch) -> None:
        self.log_mel = log_mel
        self.stopwatch = stopwatch
        self.sample_rate = log_mel.sample_rate

    def __call__(self, samples: torch.Tensor) -> torch.Tensor:
        """Return the spectrogram."""
        with self.stopwatch.stage("log-mel"):
            return self.log_mel(samples)


def time_stages(cfg: CfgNode, path: str | Path, seconds: Sequence[float]) -> dict[str, float]:
    """Return the seconds per clip of each stage, for training clips around the given seconds."""
    stopwatch = Stopwatch()
    mapper = KeyframeMapper(cfg, is_train=True)
    augmentations = build_clip_augmentations(cfg, is_train=True)
    mapper.source = TimedSource(ReaderPerClip(augmentations), stopwatch)
    mapper.clip_reader.log_mel = cast(LogMel, TimedLogMel(mapper.clip_reader.log_mel, stopwatch))
    read_clips(mapper, path, seconds[:1])
    spent = stopwatch.seconds
    spent.update(dict.fromkeys(spent, 0.0))
    start = time.perf_counter()
    read_clips(mapper, path, seconds)
    total = time.perf_counter() - start
    stages = {
        "open": spent["open"],
        "seek and decode": spent["frames"] - spent["convert"],
        "convert": spent["convert"],
        "audio": spent["audio"],
        "log-mel": spent["log-mel"],
        "augmentation": spent["clip"] - spent["frames"],
    }
    stages["packing, boxes"] = total - sum(stages.values())
    return {stage: duration / len(seconds) for stage, duration in stages.items()}
