"""Frames and log-mel spectrogram of a time span of a video.

:class:`ClipReader` knows the shape of a clip. How a file is opened, and how its frames are
augmented, is the part of :class:`ReaderPerClip` or :class:`SequentialReader`; mappers take either.
"""

import os
import zlib
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Protocol, TypeVar

import numpy as np
import torch
from detectron2.config import CfgNode
from detectron2.data import transforms as T

from ..structures import ConfigError
from .audio import LogMel, is_silent, pick_time_steps
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
        audio_offset: seconds by which audio is taken later than the frames.
        num_audio_frames: time steps T_a of the spectrogram of the clip's span.
        mute: whether all audio is replaced by silence.
        negative_gap: smallest distance of a hard negative in seconds; None if none is read.
        is_train: whether hard negatives are random; else each clip has always the same.

    Raises:
        ConfigError: ``TEST.AUDIO_MODE`` has a value that is not supported.
    """

    def __init__(self, cfg: CfgNode, is_train: bool = True) -> None:
        mode = "normal" if is_train else cfg.TEST.AUDIO_MODE
        if mode not in AUDIO_MODES:
            raise ConfigError(f"TEST.AUDIO_MODE must be normal, mute or swap, got '{mode}'")
        clip, audio = cfg.INPUT.CLIP, cfg.INPUT.AUDIO
        self.is_train = is_train
        self.num_frames, self.stride, self.fps = clip.NUM_FRAMES, clip.STRIDE, clip.FPS
        self.log_mel = LogMel(
            sample_rate=audio.SAMPLE_RATE,
            window_sec=audio.WINDOW_SEC,
            hop_sec=audio.HOP_SEC,
            num_mels=audio.NUM_MELS,
        )
        self.num_audio_frames, self.audio_offset = audio.NUM_FRAMES, audio.OFFSET_SEC
        self.mute = mode == "mute"
        has_negatives = audio.NEGATIVES if is_train else cfg.TEST.AUDIO_NEGATIVES
        self.negative_gap = audio.NEGATIVE_GAP_SEC if has_negatives else None

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
        """Read the spectrogram of a hard negative of the clip at ``start`` seconds.

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
        """Return the log-mel spectrogram float32 (1, T_a, F), and whether it is more than silence.

        Samples are float32 (S,) in [-1, 1] at the sample rate of ``log_mel``, or None for silence.
        """
        # A nearly silent clip gives the same spectrogram as one without audio.
        has_audio = samples is not None and not is_silent(samples)
        if samples is None or not has_audio:
            samples = torch.zeros(round(self.clip_sec * self.log_mel.sample_rate))
        audio = pick_time_steps(self.log_mel(samples), self.num_audio_frames)
        return audio[None], has_audio

    def _read_samples(self, video: Video, start: float, end: float) -> torch.Tensor | None:
        """Read float32 (S,); None for silence."""
        if self.mute or not video.has_audio:
            return None
        start, end = start + self.audio_offset, end + self.audio_offset
        return video.get_samples_played_in_range(start, end, self.log_mel.sample_rate)


def frame_times(start: float, num_frames: int, stride: float, fps: float) -> list[float]:
    """Return the times of a clip's frames, ``stride / fps`` apart, the first at ``start``.

    In a span of ``num_frames * stride / fps`` seconds around a keyframe, frame ``num_frames / 2``
    is the keyframe, as in PySlowFast.
    """
    return [start + i * stride / fps for i in range(num_frames)]


def misaligned_span(
    start: float,
    length: float,
    duration: float,
    gap: float,
    uniform: Callable[[float, float], float] = np.random.uniform,
) -> tuple[float, float] | None:
    """Return (start, end) of a random span that starts ``gap`` or more before or after ``start``.

    It is the span of a hard negative of audiovisual synchronisation (paper, section 3.5), as long
    as the clip at ``start``, and may overlap with it. Return None if the file is too short. All
    times are in seconds; ``uniform`` draws a number between two.
    """
    # Allowed starts on the time axis, s = start:
    #
    #   0 ======== s - gap      s      s + gap ======== duration - length
    #     before                                 after
    last = duration - length
    before = min(start - gap, last)
    after = max(start + gap, 0.0)
    room_before, room_after = max(before, 0.0), max(last - after, 0.0)
    if before < 0 and last < after:
        return None
    # One draw over both ranges, put end to end.
    drawn = uniform(0, room_before + room_after)
    start = drawn if before >= 0 and drawn <= room_before else after + drawn - room_before
    return start, start + length


class FrameSource(Protocol[Video]):
    """How mappers open videos and read augmented frames."""

    def open(self, path: str) -> AbstractContextManager[Video]:
        """Open a video; raise VideoDecodeError if that fails."""

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
    """Source that opens the file for each clip: for clips in random order, as in training."""

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
        transforms = _draw_transforms(self.augmentations, video)
        crop = transforms[0]
        if not isinstance(crop, T.CropTransform):
            return transforms.apply_image(video.get_frames_played_at(seconds)), transforms
        window = (crop.x0, crop.y0, crop.x0 + crop.w, crop.y0 + crop.h)
        clip = video.get_frames_played_at(seconds, window=window)
        return T.TransformList(transforms.transforms[1:]).apply_image(clip), transforms


class SequentialReader:
    """Source that keeps the last video open: for clips in time order, as at test.

    Frames and audio that neighbouring clips share are decoded once; frames are also transformed
    once, so augmentations must not be random. The results are those of :class:`ReaderPerClip`. Any
    other order is right but slow. Each process needs a source of its own.
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
            # Frames have one size in a video, so its transforms are drawn once.
            self._video = SequentialVideoReader(path, transform=self._transform_frame)
            self._transforms = _draw_transforms(self.augmentations, self._video)
        return nullcontext(self._video)

    def read_frames(
        self, video: SequentialVideoReader, seconds: Sequence[float]
    ) -> tuple[np.ndarray, T.TransformList]:
        """Read augmented frames, see :class:`FrameSource`."""
        # (3, T, h, w) in memory, as models take it, so that packing the clip copies nothing.
        clip = np.stack(video.get_transformed_frames_played_at(seconds), axis=1)
        return clip.transpose(1, 2, 3, 0), self._transforms

    def _transform_frame(self, frame: np.ndarray) -> np.ndarray:
        """Transform a frame (H, W, 3) to (3, h, w)."""
        return self._transforms.apply_image(frame[None])[0].transpose(2, 0, 1)


def _draw_transforms(augmentations: Sequence[T.Augmentation], video: Video) -> T.TransformList:
    """Draw the augmentations of a clip of a video: they depend on the frames' size alone."""
    return augment_clip(np.zeros((1, video.height, video.width, 3), np.uint8), augmentations)[1]


def augment_clip(
    frames: np.ndarray, augmentations: Sequence[T.Augmentation]
) -> tuple[np.ndarray, T.TransformList]:
    """Augment a clip uint8 (T, H, W, 3) as one draw; return it and the transforms."""
    clip = ClipInput(frames)
    transforms = T.AugmentationList(augmentations)(clip)
    return clip.image, transforms


def pack_frames(clip: np.ndarray) -> torch.Tensor:
    """Pack a clip uint8 (T, H, W, 3) as (3, T, H, W)."""
    return torch.from_numpy(np.ascontiguousarray(clip.transpose(3, 0, 1, 2)))
