"""From one dataset dict to one model input: the only place that joins video, sound and labels."""

import logging
import os
import zlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from functools import partial
from typing import Any

import numpy as np
import torch
from detectron2.config import configurable
from detectron2.data import transforms as T
from detectron2.structures import Boxes, Instances

from .audio import LogMel, is_silent, pick_time_steps
from .clip_sampling import frame_times, ith_span, misaligned_span, random_span, span_around
from .transforms import ClipInput, CropClipView, build_clip_augmentations
from .video import VideoDecodeError, VideoReader

# Clips seen by one worker before the share of bad ones is judged.
MIN_CLIPS_TO_JUDGE = 100


class ClipMapper(ABC):
    """Reads a clip and its sound. What they are the clip of, and what is to be learned from it,
    is for the subclasses.

    In training a clip that cannot be read is logged and counted, and None is returned, so that the
    loader takes another one; above a set share the run stops. In testing it stops at once.
    """

    def __init__(
        self,
        is_train: bool,
        *,
        augmentations: Sequence[T.Augmentation],
        log_mel: LogMel,
        num_frames: int,
        stride: int,
        fps: float,
        num_audio_frames: int,
        audio_mode: str = "normal",
        negative_gap: float | None = None,
        max_bad_clips: float = 0.05,
    ):
        """
        Args:
            augmentations: applied to frames and boxes as one draw.
            num_frames, stride, fps: the clip has that many frames, ``stride / fps`` seconds apart.
            num_audio_frames: columns T_a of the spectrogram of the same span.
            audio_mode: "normal"; "mute": no sound; "swap": the sound of the clip that the dataset
                dict names as ``audio_from``. The last two only in testing.
            negative_gap: give a sound of the same video, too, that is at least this many seconds
                out of sync; None gives none.
            max_bad_clips: share of unreadable clips above which training stops.
        """
        if audio_mode not in ("normal", "mute", "swap"):
            raise ValueError(f"TEST.AUDIO_MODE must be normal, mute or swap, got '{audio_mode}'")
        self.is_train = is_train
        self.augmentations = augmentations
        self.log_mel = log_mel
        self.num_frames = num_frames
        self.stride = stride
        self.fps = fps
        self.num_audio_frames = num_audio_frames
        self.audio_mode = audio_mode
        self.negative_gap = negative_gap
        self.max_bad_clips = max_bad_clips
        self.num_clips = 0
        self.num_bad_clips = 0

    @classmethod
    def from_config(cls, cfg, is_train: bool = True):
        audio = cfg.INPUT.AUDIO
        compares = is_train or cfg.MODEL.META_ARCHITECTURE == "AVPretrainer"
        return {
            "is_train": is_train,
            "augmentations": build_clip_augmentations(cfg, is_train),
            "log_mel": LogMel(
                sample_rate=audio.SAMPLE_RATE,
                window_sec=audio.WINDOW_SEC,
                hop_sec=audio.HOP_SEC,
                num_mels=audio.NUM_MELS,
            ),
            "num_frames": cfg.INPUT.CLIP.NUM_FRAMES,
            "stride": cfg.INPUT.CLIP.STRIDE,
            "fps": cfg.INPUT.CLIP.FPS,
            "num_audio_frames": audio.NUM_FRAMES,
            "audio_mode": "normal" if is_train else cfg.TEST.AUDIO_MODE,
            "negative_gap": audio.NEGATIVE_GAP_SEC
            if cfg.MODEL.AVSYNC.ENABLED and compares
            else None,
            "max_bad_clips": cfg.DATALOADER.MAX_BAD_CLIPS,
        }

    @property
    def clip_sec(self) -> float:
        """Length of the clip in seconds."""
        return self.num_frames * self.stride / self.fps

    def __call__(self, dataset_dict: dict) -> dict | None:
        """
        Args:
            dataset_dict: contract 1 of docs/design.md.

        Returns:
            The model input (contract 2): frames uint8 (3, T, H, W) RGB, audio float32 (1, T_a, F)
            log-mel, and so on; with ``negative_gap`` also audio_negative and has_audio_negative,
            which is False where the file is too short. None for an unreadable clip in training.

        Raises:
            VideoDecodeError: unreadable clip in testing, or too many of them in training.
        """
        if not self.is_train:
            return self._map(dataset_dict)
        self.num_clips += 1
        try:
            return self._map(dataset_dict)
        except VideoDecodeError as error:
            self._count_bad_clip(error)
            return None

    def _count_bad_clip(self, error: VideoDecodeError) -> None:
        self.num_bad_clips += 1
        logging.getLogger(__name__).warning(
            f"Bad clip {self.num_bad_clips} of {self.num_clips} in this worker, replaced: {error}"
        )
        if self.num_bad_clips > self.max_bad_clips * max(self.num_clips, MIN_CLIPS_TO_JUDGE):
            raise VideoDecodeError(
                f"{self.num_bad_clips} of {self.num_clips} clips could not be read, more than "
                f"DATALOADER.MAX_BAD_CLIPS = {self.max_bad_clips}. The last one: {error}"
            ) from error

    @abstractmethod
    def _map(self, dataset_dict: dict) -> dict:
        """See :meth:`__call__`."""

    @abstractmethod
    def _span(self, dataset_dict: dict, reader: VideoReader) -> tuple[float, float]:
        """The clip's start and end in seconds of the file."""

    def _read(
        self,
        dataset_dict: dict,
        read_clip: Callable[[VideoReader, list[float]], Any] | None = None,
    ) -> tuple[Any, dict, list[float]]:
        """Frames, or what ``read_clip`` gives; "audio", "has_audio" and so on; frames' times."""
        with self._open(dataset_dict["file_name"]) as reader:
            start, end = self._span(dataset_dict, reader)
            times = frame_times(start, self.num_frames, self.stride, self.fps)
            clip = read_clip(reader, times) if read_clip else reader.get_frames_played_at(times)
            sound = None if self.audio_mode == "swap" else self._read_sound(reader, start, end)
            negative = self._read_negative(reader, start, dataset_dict["file_name"])
        if self.audio_mode == "swap":
            with VideoReader(dataset_dict["audio_from"]["file_name"]) as reader:
                sound = self._read_sound(reader, *self._span(dataset_dict["audio_from"], reader))
        heard = self._spectrogram(sound, "audio")
        if self.negative_gap is not None:
            heard |= self._spectrogram(negative, "audio_negative")
        return clip, heard, times

    def _read_clip(
        self,
        reader: VideoReader,
        times: list[float],
        augmentations: Sequence[T.Augmentation],
    ) -> tuple[np.ndarray, T.TransformList]:
        """The augmented clip uint8 (T, h, w, 3), and what moves boxes of the frames with it.

        The draw needs no frames: of a clip that is to be cropped first, only that part is read.
        """
        blank = np.zeros((1, reader.height, reader.width, 3), np.uint8)
        transforms = T.AugmentationList(augmentations)(ClipInput(blank))
        crop = transforms[0]
        if not isinstance(crop, T.CropTransform):
            return transforms.apply_image(reader.get_frames_played_at(times)), transforms
        window = (crop.x0, crop.y0, crop.x0 + crop.w, crop.y0 + crop.h)
        clip = reader.get_frames_played_at(times, window=window)
        return T.TransformList(transforms[1:]).apply_image(clip), transforms

    def _open(self, file_name: str) -> AbstractContextManager[VideoReader]:
        return VideoReader(file_name)

    def _read_sound(self, reader: VideoReader, start: float, end: float) -> torch.Tensor | None:
        if self.audio_mode == "mute" or not reader.has_audio:
            return None
        return reader.get_samples_played_in_range(start, end, self.log_mel.sample_rate)

    def _read_negative(self, reader: VideoReader, start: float, name: str) -> torch.Tensor | None:
        """Sound of another time; the same at every test."""
        if self.negative_gap is None:
            return None
        seed = zlib.crc32(f"{os.path.basename(name)} {start:.3f}".encode())
        uniform = np.random.uniform if self.is_train else np.random.default_rng(seed).uniform
        span = misaligned_span(start, self.clip_sec, reader.duration, self.negative_gap, uniform)
        return None if span is None else self._read_sound(reader, *span)

    def _spectrogram(self, sound: torch.Tensor | None, name: str) -> dict:
        """``name`` float32 (1, T_a, F), and has_``name``: whether it is more than silence."""
        has_audio = sound is not None and not is_silent(sound)
        if not has_audio:
            sound = torch.zeros(round(self.clip_sec * self.log_mel.sample_rate))
        audio = pick_time_steps(self.log_mel(sound), self.num_audio_frames)[None]
        return {name: audio, f"has_{name}": has_audio}


def _read_nothing(reader: VideoReader, times: list[float]) -> None:
    """For models that only listen."""


def _pack(clip: np.ndarray) -> torch.Tensor:
    """(T, H, W, 3) to (3, T, H, W)."""
    return torch.from_numpy(np.ascontiguousarray(clip.transpose(3, 0, 1, 2)))


class KeyframeMapper(ClipMapper):
    """The clip around a keyframe, and its person boxes."""

    @configurable
    def __init__(self, is_train: bool, *, num_classes: int, **kwargs):
        """
        Args:
            num_classes: K of the multi-hot ``gt_actions``.
            kwargs: of :class:`ClipMapper`.
        """
        super().__init__(is_train, **kwargs)
        self.num_classes = num_classes

    @classmethod
    def from_config(cls, cfg, is_train: bool = True):
        args = super().from_config(cfg, is_train)
        return {**args, "num_classes": cfg.MODEL.ROI_ACTION_HEAD.NUM_CLASSES}

    def _map(self, dataset_dict: dict) -> dict:
        clip, sound, transforms, (height, width) = self._read_augmented(dataset_dict)
        result = {key: dataset_dict[key] for key in ("image_id", "video_id", "timestamp")}
        result |= {"frames": _pack(clip), **sound, "height": height, "width": width}
        scale = np.array([width, height, width, height], np.float32)
        image_size = clip.shape[1:3]
        if "proposals" in dataset_dict:
            result["proposals"] = _proposals(
                dataset_dict["proposals"],
                scale,
                transforms,
                image_size,
                keep_empty=not self.is_train,
            )
        if self.is_train:
            result["instances"] = _instances(
                dataset_dict["annotations"], scale, transforms, image_size, self.num_classes
            )
        return result

    def _read_augmented(
        self, dataset_dict: dict
    ) -> tuple[np.ndarray, dict, T.Transform, tuple[int, int]]:
        """Clip uint8 (T, h, w, 3); its sound; how boxes follow it; (H, W) of the source."""

        def read(reader: VideoReader, times: list[float]):
            clip, transforms = self._read_clip(reader, times, self.augmentations)
            return clip, transforms, (reader.height, reader.width)

        (clip, transforms, size), sound, _ = self._read(dataset_dict, read)
        return clip, sound, transforms, size

    def _span(self, dataset_dict: dict, reader: VideoReader) -> tuple[float, float]:
        second = dataset_dict["timestamp"] - dataset_dict["offset"]
        if not 0 <= second <= reader.duration + 1 / reader.fps:
            raise VideoDecodeError(
                f"{dataset_dict['source']}: keyframe {dataset_dict['image_id']} lies at "
                f"{second:g} s of {dataset_dict['file_name']}, which lasts {reader.duration:g} s. "
                f"Check the timestamp and the data set's offset ({dataset_dict['offset']:g} s)."
            )
        return span_around(second, self.clip_sec)


class SegmentMapper(ClipMapper):
    """A clip of a video or of a segment of it, and its classes: a random one in training; in
    testing view i of the temporal x spatial views that the dataset dict names."""

    @configurable
    def __init__(
        self,
        is_train: bool,
        *,
        num_classes: dict[str, int],
        multi_label: bool,
        crop_size: int,
        views: tuple[int, int],
        need_frames: bool,
        **kwargs,
    ):
        """
        Args:
            num_classes: K of each task to be learned.
            multi_label: whether a clip may have any number of classes.
            crop_size: side of the square that a view shows in testing, in pixels.
            views: temporal and spatial, in testing.
            need_frames: False for models that listen only.
            kwargs: of :class:`ClipMapper`.
        """
        super().__init__(is_train, **kwargs)
        self.num_classes = num_classes
        self.multi_label = multi_label
        self.crop_size = crop_size
        self.views = views
        self.need_frames = need_frames

    @classmethod
    def from_config(cls, cfg, is_train: bool = True):
        head = cfg.MODEL.CLIP_HEAD
        return {
            **super().from_config(cfg, is_train),
            "num_classes": dict(zip(head.TASKS, head.NUM_CLASSES, strict=True)),
            "multi_label": head.LOSS == "sigmoid",
            "crop_size": cfg.INPUT.MIN_SIZE_TEST,
            "views": (cfg.TEST.VIEWS.TEMPORAL, cfg.TEST.VIEWS.SPATIAL),
            "need_frames": cfg.MODEL.BACKBONE.NAME != "build_audio_backbone",
        }

    def _map(self, dataset_dict: dict) -> dict:
        if "audio_from" in dataset_dict:  # the same view of it
            source = {**dataset_dict["audio_from"], "view": dataset_dict["view"]}
            dataset_dict = {**dataset_dict, "audio_from": source}
        read = partial(self._read_view, dataset_dict=dataset_dict)
        clip, sound, times = self._read(dataset_dict, read if self.need_frames else _read_nothing)
        result = {"clip_id": dataset_dict["clip_id"], **sound}
        if clip is not None:
            result["frames"] = _pack(clip)
        labels = dataset_dict["labels"]
        if self.is_train and "segments" in dataset_dict:
            labels = {task: _labels_at(times, dataset_dict["segments"]) for task in labels}
        result["labels"] = {
            task: self._target(labels[task], num_classes)
            for task, num_classes in self.num_classes.items()
            if task in labels
        }
        if not self.is_train:
            result |= {"view": dataset_dict["view"], "num_views": self.views[0] * self.views[1]}
        return result

    def _read_view(self, reader: VideoReader, times: list[float], dataset_dict: dict) -> np.ndarray:
        """The clip uint8 (T, h, w, 3), augmented or cropped to the view."""
        augmentations = self.augmentations
        if not self.is_train:
            _, spatial = self._place_of(dataset_dict["view"])
            augmentations = [*augmentations, CropClipView(self.crop_size, spatial, self.views[1])]
        clip, _ = self._read_clip(reader, times, augmentations)
        return clip

    def _target(self, label: int | list[int], num_classes: int) -> torch.Tensor:
        """int64 scalar; of several labels, float32 (K,) of 0 and 1."""
        if not self.multi_label:
            return torch.tensor(label)
        target = torch.zeros(num_classes)
        target[label] = 1
        return target

    def _place_of(self, view: int) -> tuple[int, int]:
        """Which temporal and which spatial view."""
        return divmod(view, self.views[1])

    def _span(self, dataset_dict: dict, reader: VideoReader) -> tuple[float, float]:
        segment = None
        if "start_sec" in dataset_dict:
            segment = dataset_dict["start_sec"], dataset_dict["end_sec"]
            if segment[0] > reader.duration:
                raise VideoDecodeError(
                    f"{dataset_dict['source']}: the segment starts at {segment[0]:g} s of "
                    f"{dataset_dict['file_name']}, which lasts {reader.duration:g} s."
                )
        if self.is_train:
            return random_span(self.clip_sec, reader.duration, segment)
        temporal, _ = self._place_of(dataset_dict["view"])
        return ith_span(temporal, self.views[0], self.clip_sec, reader.duration, segment)


def _labels_at(times: list[float], segments: list[dict]) -> list[int]:
    """Labels of the segments that any of the times lies in (Charades)."""
    return sorted(
        {
            segment["label"]
            for segment in segments
            if any(segment["start_sec"] <= t <= segment["end_sec"] for t in times)
        }
    )


def _move_boxes(
    boxes: np.ndarray, scale: np.ndarray, transforms: T.Transform, image_size: tuple[int, int]
) -> Boxes:
    """Boxes (N, 4) in 0..1 of the source frame to pixels of the clip, clipped to it."""
    moved = Boxes(torch.from_numpy(transforms.apply_box(boxes * scale).astype(np.float32)))
    moved.clip(image_size)
    return moved


def _instances(
    annotations: list[dict],
    scale: np.ndarray,
    transforms: T.Transform,
    image_size: tuple[int, int],
    num_classes: int,
) -> Instances:
    """The ground truth that is left in the clip after cropping."""
    boxes = np.array([a["bbox"] for a in annotations], np.float32).reshape(-1, 4)
    actions = torch.zeros(len(annotations), num_classes)
    for row, annotation in zip(actions, annotations, strict=True):
        row[annotation["action_ids"]] = 1
    instances = Instances(image_size)
    instances.gt_boxes = _move_boxes(boxes, scale, transforms, image_size)
    instances.gt_classes = torch.zeros(len(annotations), dtype=torch.int64)
    instances.gt_actions = actions
    return instances[instances.gt_boxes.nonempty()]


def _proposals(
    proposals: dict,
    scale: np.ndarray,
    transforms: T.Transform,
    image_size: tuple[int, int],
    keep_empty: bool,
) -> Instances:
    """Person boxes; in testing all are kept, so that each gets its scores."""
    instances = Instances(image_size)
    instances.proposal_boxes = _move_boxes(proposals["boxes"], scale, transforms, image_size)
    instances.objectness_logits = torch.from_numpy(proposals["scores"].astype(np.float32))
    return instances if keep_empty else instances[instances.proposal_boxes.nonempty()]
