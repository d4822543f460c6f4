"""From the dataset dict of a video, or of a segment of it, to a model input: clip and classes."""

import numpy as np
import torch
from detectron2.config import CfgNode

from .clip_reader import ClipReader
from .transforms import (
    CropClipView,
    FrameSource,
    ReaderPerClip,
    build_clip_augmentations,
    pack_frames,
)
from .video import VideoDecodeError, VideoReader


class SegmentMapper:
    """Read a clip of a video or of a segment, and pack it with its classes.

    In training it is a random clip. At test it is the view of the temporal x spatial views that the
    dataset dict names. The source is by default a :class:`ReaderPerClip`. A clip that cannot be
    read is a VideoDecodeError.
    """

    def __init__(
        self, cfg: CfgNode, is_train: bool = True, *, source: FrameSource | None = None
    ) -> None:
        self.is_train = is_train
        self.clip_reader = ClipReader(cfg, is_train)
        self.source = source or ReaderPerClip(build_clip_augmentations(cfg, is_train))
        head = cfg.MODEL.CLIP_HEAD
        self.num_classes = dict(zip(head.TASKS, head.NUM_CLASSES, strict=True))
        self.multi_label = head.LOSS == "sigmoid"
        self.crop_size = cfg.INPUT.MIN_SIZE_TEST  # side of the square that a view shows, in pixels
        self.views = cfg.TEST.VIEWS.TEMPORAL, cfg.TEST.VIEWS.SPATIAL
        self.need_frames = cfg.INPUT.FRAMES  # False for the Audio pathway alone

    def __call__(self, dataset_dict: dict) -> dict:
        """Return the model input (contract 2 of docs/design.md) of a dataset dict (contract 1)."""
        view = dataset_dict.get("view", 0)
        return self._pack(*self._read(dataset_dict, view // self.views[1]), view)

    def read_crops(self, dataset_dict: dict) -> list[dict]:
        """Return the model inputs of all crops at one time of a test clip, which is decoded once.

        The ``view`` of the dataset dict is the first at that time.
        """
        view, crops = dataset_dict["view"], self.views[1]
        clip, shared = self._read(dataset_dict, view // crops)
        return [self._pack(clip, shared, view + i) for i in range(crops)]

    def _read(self, dataset_dict: dict, temporal: int) -> tuple[np.ndarray | None, dict]:
        """Return frames (T, h, w, 3), before a test view crops them, and all else of the input."""
        reader, other = self.clip_reader, dataset_dict.get("audio_from")
        result, clip = {"clip_id": dataset_dict["clip_id"]}, None
        with self.source.open(dataset_dict["file_name"]) as video:
            start, end = self._choose_span(dataset_dict, video, temporal)
            if self.need_frames:
                clip, _ = self.source.read_frames(video, reader.frame_times(start))
            if not other:
                result |= reader.read_audio(video, start, end)
            result |= reader.read_negative(video, start)
        if other:  # audio of the same view of another clip, TEST.AUDIO_MODE swap
            with VideoReader(other["file_name"]) as video:
                span = self._choose_span(other, video, temporal)
                result |= reader.read_audio(video, *span)
        labels = self._pack_labels(dataset_dict, reader.frame_times(start))
        return clip, result | {"labels": labels}

    def _pack(self, clip: np.ndarray | None, shared: dict, view: int) -> dict:
        """Return the model input of a view. Views are numbered time by time, then by crop."""
        result = {**shared}
        if not self.is_train:
            result |= {"view": view, "num_views": self.views[0] * self.views[1]}
        if clip is None:
            return result
        if not self.is_train:  # training crops are among the augmentations
            crop = CropClipView(self.crop_size, view % self.views[1], self.views[1])
            clip = crop.get_transform(clip).apply_image(clip)
        return result | {"frames": pack_frames(clip)}

    def _choose_span(
        self, dataset_dict: dict, video: VideoReader, temporal_view: int
    ) -> tuple[float, float]:
        """Return (start, end) of the clip in seconds of the file."""
        segment = None  # the whole file
        if "start_sec" in dataset_dict:
            segment = dataset_dict["start_sec"], dataset_dict["end_sec"]
            if segment[0] > video.duration:
                raise VideoDecodeError(
                    f"{dataset_dict['source']}: the segment starts at {segment[0]:g} s of "
                    f"{dataset_dict['file_name']}, which lasts {video.duration:g} s."
                )
        length = self.clip_reader.clip_sec
        if self.is_train:
            return random_span(length, video.duration, segment)
        return ith_span(temporal_view, self.views[0], length, video.duration, segment)

    def _pack_labels(self, dataset_dict: dict, times: list[float]) -> dict:
        """Return the target of each task of the model that the clip has labels for.

        In training with labels of segments (Charades), these are the segments that the clip shows.
        """
        labels = dataset_dict["labels"]  # task -> class, or list of classes
        if self.is_train and "segments" in dataset_dict:
            labels = {task: labels_at(times, dataset_dict["segments"]) for task in labels}
        return {
            task: self._pack_label(labels[task], num_classes)
            for task, num_classes in self.num_classes.items()
            if task in labels
        }

    def _pack_label(self, label: int | list[int], num_classes: int) -> torch.Tensor:
        """Pack the class of a clip as int64 scalar, or its classes as float32 (K,) of 0 and 1."""
        if not self.multi_label:
            return torch.tensor(label)
        target = torch.zeros(num_classes)
        target[label] = 1
        return target


def labels_at(times: list[float], segments: list[dict]) -> list[int]:
    """Return the sorted labels of the segments that contain any of the times (seconds)."""
    shown = [s for s in segments if any(s["start_sec"] <= t <= s["end_sec"] for t in times)]
    return sorted({segment["label"] for segment in shown})


def random_span(
    length: float, duration: float, segment: tuple[float, float] | None = None
) -> tuple[float, float]:
    """Return (start, end) of a random span of ``length``, uniform over all spans of the file.

    With a segment (start, end), the middle of the span is uniform in the segment, and the span may
    exceed it (Wu et al. 2019, EPIC-Kitchens). If the file is too short, the span starts at 0. All
    times are in seconds.
    """
    if segment is None:
        start = np.random.uniform(0, max(duration - length, 0))
    else:
        start = np.random.uniform(*segment) - length / 2
    return _shift_inside(start, length, duration)


def ith_span(
    i: int, num_spans: int, length: float, duration: float, segment: tuple | None = None
) -> tuple[float, float]:
    """Return (start, end) of the i-th of ``num_spans`` evenly spaced spans, i from 0.

    A single span is in the middle. Several spans of a file start at i / num_spans of the last
    possible start (as in PySlowFast, so the end is never reached). Several spans of a segment have
    their middles in equal parts of it. Arguments are as in :func:`random_span`.
    """
    if segment is not None:
        first, last = segment
        middle = first + (last - first) * (i + 0.5) / num_spans
        return _shift_inside(middle - length / 2, length, duration)
    fraction = i / num_spans if num_spans > 1 else 0.5
    return _shift_inside(fraction * (duration - length), length, duration)


def _shift_inside(start: float, length: float, duration: float) -> tuple[float, float]:
    start = max(min(start, duration - length), 0.0)
    return start, start + length
