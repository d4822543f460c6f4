"""Frames and log-mel spectrogram of a time span of a video.

:class:`ClipReader` knows the shape of a clip. How a file is opened, and how its frames are
augmented, is the part of :class:`ReaderPerClip` or :class:`SequentialReader`; mappers take either.
"""

import os
import zlib
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Protocol, TypeVar

import numpy as np
import torch
from detectron2.config import CfgNode, configurable
from detectron2.data import transforms as T

from .audio import LogMel, is_silent, pick_time_steps
from .clip_sampling import frame_times, misaligned_span
from .transforms import ClipInput
from .video import SequentialVideoReader, VideoReader

AUDIO_MODES = ("normal", "mute", "swap")

Video = TypeVar("Video", VideoReader, SequentialVideoReader)


class ClipReader:
    """Number, times and spectrogram of the frames of a clip.

    Attributes:
        num_frames: number of frames T.
        stride: distance of two frames, in frames at ``fps``.
        fps: frames per second in which ``stride`` counts.
        log_mel: computes the spectrogram.
        num_audio_frames: time steps T_a of the spectrogram of the clip's span.
        mute: whether all audio is replaced by silence.
        negative_gap: smallest distance of a hard negative in seconds; None if none is read.
        is_train: whether hard negatives are random; else each clip has always the same.
    """

    @configurable
    def __init__(
        self,
        *,
        num_frames: int,
        stride: int,
        fps: float,
        log_mel: LogMel,
        num_audio_frames: int,
        mute: bool = False,
        negative_gap: float | None = None,
        is_train: bool = False,
    ) -> None:
        self.num_frames = num_frames
        self.stride = stride
        self.fps = fps
        self.log_mel = log_mel
        self.num_audio_frames = num_audio_frames
        self.mute = mute
        self.negative_gap = negative_gap
        self.is_train = is_train

    @classmethod
    def from_config(cls, cfg: CfgNode, is_train: bool = True) -> dict:
        """Return the arguments of the constructor that a config sets."""
        clip, audio = cfg.INPUT.CLIP, cfg.INPUT.AUDIO
        mode = "normal" if is_train else cfg.TEST.AUDIO_MODE
        if mode not in AUDIO_MODES:
            raise ValueError(f"TEST.AUDIO_MODE must be normal, mute or swap, got '{mode}'")
        has_negatives = audio.NEGATIVES if is_train else cfg.TEST.AUDIO_NEGATIVES
        return {
            "num_frames": clip.NUM_FRAMES,
            "stride": clip.STRIDE,
            "fps": clip.FPS,
            "log_mel": LogMel(
                sample_rate=audio.SAMPLE_RATE,
                window_sec=audio.WINDOW_SEC,
                hop_sec=audio.HOP_SEC,
                num_mels=audio.NUM_MELS,
            ),
            "num_audio_frames": audio.NUM_FRAMES,
            "mute": mode == "mute",
            "negative_gap": audio.NEGATIVE_GAP_SEC if has_negatives else None,
            "is_train": is_train,
        }

    @property
    def clip_sec(self) -> float:
        """Length of the clip in seconds."""
        return self.num_frames * self.stride / self.fps

    def frame_times(self, start: float) -> list[float]:
        """Return the times (T,) of the frames of the clip that starts at a second."""
        return frame_times(start, self.num_frames, self.stride, self.fps)

    def read_audio(self, video: Video, start: float, end: float) -> dict:
        """Read the spectrogram of a span.

        Returns:
            ``audio`` float32 (1, T_a, F), and ``has_audio``, False for silence.

        Raises:
            VideoDecodeError: the audio cannot be decoded.
        """
        audio, has_audio = self.spectrogram(self._read_samples(video, start, end))
        return {"audio": audio, "has_audio": has_audio}

    def read_negative(self, video: Video, start: float) -> dict:
        """Read the spectrogram of a hard negative: of the same video at another time.

        Args:
            video: an open video.
            start: start of the clip in seconds.

        Returns:
            ``audio_negative`` float32 (1, T_a, F), and ``has_audio_negative``, False for silence
            and where the video is too short for a negative. Empty if none is to be read.

        Raises:
            VideoDecodeError: the audio cannot be decoded.
        """
        if self.negative_gap is None:
            return {}
        uniform = np.random.uniform
        if not self.is_train:  # the same negative at each test, wherever the file lies
            seed = zlib.crc32(f"{os.path.basename(video.path)} {start:.3f}".encode())
            uniform = np.random.default_rng(seed).uniform
        span = misaligned_span(start, self.clip_sec, video.duration, self.negative_gap, uniform)
        samples = None if span is None else self._read_samples(video, *span)
        audio, has_audio = self.spectrogram(samples)
        return {"audio_negative": audio, "has_audio_negative": has_audio}

    def spectrogram(self, samples: torch.Tensor | None) -> tuple[torch.Tensor, bool]:
        """Return the log-mel spectrogram of a clip's audio, and whether it is more than silence.

        Args:
            samples: float32 (S,) in [-1, 1] at the sample rate of ``log_mel``, or None for silence.

        Returns:
            float32 (1, T_a, F), natural logarithm of power; bool.
        """
        has_audio = samples is not None and not is_silent(samples)
        if samples is None or not has_audio:
            samples = torch.zeros(round(self.clip_sec * self.log_mel.sample_rate))
        audio = pick_time_steps(self.log_mel(samples), self.num_audio_frames)
        return audio[None], has_audio

    def _read_samples(self, video: Video, start: float, end: float) -> torch.Tensor | None:
        if self.mute or not video.has_audio:
            return None
        return video.get_samples_played_in_range(start, end, self.log_mel.sample_rate)


class FrameSource(Protocol[Video]):
    """How mappers open videos and read augmented frames."""

    def open(self, path: str) -> AbstractContextManager[Video]:
        """Open a video.

        Raises:
            VideoDecodeError: the file cannot be opened.
        """

    def read_frames(
        self, video: Video, seconds: Sequence[float]
    ) -> tuple[np.ndarray, T.TransformList]:
        """Read the frames shown at T times of an open video, augmented as one draw.

        Returns:
            uint8 (T, h, w, 3), RGB; the transforms, to move boxes in pixels of the video.

        Raises:
            VideoDecodeError: a frame cannot be decoded.
        """


class ReaderPerClip:
    """Source that opens the file for each clip: for clips in random order, as in training.

    Args:
        augmentations: augmentations of clips, see :mod:`.transforms`.
    """

    def __init__(self, augmentations: Sequence[T.Augmentation]) -> None:
        self.augmentations = augmentations

    def open(self, path: str) -> AbstractContextManager[VideoReader]:
        """Open a video."""
        return VideoReader(path)

    def read_frames(
        self, video: VideoReader, seconds: Sequence[float]
    ) -> tuple[np.ndarray, T.TransformList]:
        """Read augmented frames, see :class:`FrameSource`.

        The draw needs no frames: if the clip is cropped first, only that window is converted.
        """
        transforms = draw_transforms(self.augmentations, video.height, video.width)
        crop = transforms[0]
        if not isinstance(crop, T.CropTransform):
            return transforms.apply_image(video.get_frames_played_at(seconds)), transforms
        window = (crop.x0, crop.y0, crop.x0 + crop.w, crop.y0 + crop.h)
        clip = video.get_frames_played_at(seconds, window=window)
        return T.TransformList(transforms.transforms[1:]).apply_image(clip), transforms


class SequentialReader:
    """Source that keeps the last video open: for clips in time order, as at test.

    Frames and audio that neighbouring clips share are decoded once; frames are also transformed
    once. The results are those of :class:`ReaderPerClip`. Any other order is right but slow. Each
    process needs a source of its own.

    Args:
        augmentations: augmentations of clips without a random draw.
    """

    def __init__(self, augmentations: Sequence[T.Augmentation]) -> None:
        self.augmentations = augmentations
        self._video: SequentialVideoReader | None = None
        self._transforms = T.TransformList([])

    def open(self, path: str) -> AbstractContextManager[SequentialVideoReader]:
        """Return the open video, or close it and open another; it stays open afterwards."""
        if self._video is None or self._video.path != path:
            if self._video is not None:
                self._video.close()
                self._video = None
            video = SequentialVideoReader(
                path, transform=lambda frame: _transform_frame(transforms, frame)
            )
            transforms = draw_transforms(self.augmentations, video.height, video.width)
            self._video, self._transforms = video, transforms
        return nullcontext(self._video)

    def read_frames(
        self, video: SequentialVideoReader, seconds: Sequence[float]
    ) -> tuple[np.ndarray, T.TransformList]:
        """Read augmented frames, see :class:`FrameSource`."""
        # (3, T, h, w) in memory, as models take it, so that packing the clip copies nothing.
        clip = np.stack(video.get_transformed_frames_played_at(seconds), axis=1)
        return clip.transpose(1, 2, 3, 0), self._transforms


def draw_transforms(
    augmentations: Sequence[T.Augmentation], height: int, width: int
) -> T.TransformList:
    """Draw the augmentations of a clip whose frames have the given size in pixels."""
    return augment_clip(np.zeros((1, height, width, 3), np.uint8), augmentations)[1]


def augment_clip(
    frames: np.ndarray, augmentations: Sequence[T.Augmentation]
) -> tuple[np.ndarray, T.TransformList]:
    """Augment a clip uint8 (T, H, W, 3) as one draw; return it and the transforms."""
    clip = ClipInput(frames)
    transforms = T.AugmentationList(augmentations)(clip)
    return clip.image, transforms


def _transform_frame(transforms: T.TransformList, frame: np.ndarray) -> np.ndarray:
    """Transform a frame (H, W, 3) to (3, h, w)."""
    return transforms.apply_image(frame[None])[0].transpose(2, 0, 1)
