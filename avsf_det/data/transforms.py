"""Clip augmentations in Detectron2's form, and two sources of augmented frames.

An Augmentation draws once, and the Transform that it returns moves all frames of the clip and the
boxes alike.

Clips are uint8 arrays (T, H, W, C), boxes float arrays (N, 4), XYXY in pixels. Detectron2's own
geometric augmentations take the first two axes as height and width, so they have counterparts
here. fvcore's crop and flip transforms handle four axes and are used as they are.
"""

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, Protocol

import cv2
import numpy as np
import torch
from detectron2.config import CfgNode
from detectron2.data import transforms as T
from fvcore.transforms.transform import CropTransform, HFlipTransform, NoOpTransform, Transform

from ..structures import ConfigError
from .video import SequentialVideoReader, VideoReader

# Loader workers run in parallel already. OpenCV's threads would compete with them, and may hang
# after a fork.
cv2.setNumThreads(0)

# Frames uint8 (T, H, W, 3), RGB, and the transforms, which move boxes in pixels of the video.
AugmentedClip = tuple[np.ndarray, T.TransformList]


class ClipInput(T.AugInput):
    """``AugInput`` whose ``image`` is a clip (T, H, W, C), which the base class refuses."""

    def __init__(self, clip: np.ndarray, boxes: np.ndarray | None = None) -> None:
        self.image, self.boxes, self.sem_seg = clip, boxes, None


@dataclass(eq=False, repr=False)
class ResizeClipTransform(Transform):
    """Resize every frame (bilinear) and scale the boxes."""

    h: int  # of the clip, in pixels
    w: int
    new_h: int  # of the result, in pixels
    new_w: int

    def apply_image(self, img: np.ndarray) -> np.ndarray:
        """Resize a clip (T, h, w, C) to (T, new_h, new_w, C)."""
        if (self.h, self.w) == (self.new_h, self.new_w):
            return img
        out = np.empty((len(img), self.new_h, self.new_w, img.shape[3]), img.dtype)
        for source, target in zip(img, out, strict=True):
            cv2.resize(source, (self.new_w, self.new_h), target, interpolation=cv2.INTER_LINEAR)
        return out

    def apply_coords(self, coords: np.ndarray) -> np.ndarray:
        """Scale points (N, 2), x and y in pixels."""
        return coords * np.array([self.new_w / self.w, self.new_h / self.h], coords.dtype)

    def inverse(self) -> Transform:
        """Return the transform that resizes back."""
        return ResizeClipTransform(self.new_h, self.new_w, self.h, self.w)


@dataclass(eq=False, repr=False)
class ResizeClipShortestEdge(T.Augmentation):
    """Resize the short side to a size drawn uniformly from [low, high]; the aspect ratio stays."""

    low: int  # in pixels, like high
    high: int
    max_size: int  # largest long side in pixels

    def get_transform(self, image: np.ndarray) -> ResizeClipTransform:
        """Draw the size for a clip (T, H, W, C)."""
        h, w = image.shape[1:3]
        size = np.random.randint(self.low, self.high + 1)
        shape = T.ResizeShortestEdge.get_output_shape(h, w, size, self.max_size)
        return ResizeClipTransform(h, w, *shape)


@dataclass(eq=False, repr=False)
class RandomScaledCropClip(T.Augmentation):
    """``ResizeClipShortestEdge``, then a window of fixed size at a uniformly drawn position.

    The clip is cropped before it is resized, at whole pixels, so that only the window's pixels need
    to be converted to RGB.
    """

    low: int  # see ResizeClipShortestEdge
    high: int
    max_size: int
    height: int  # of the window in the resized clip, in pixels; a lower clip keeps all rows
    width: int

    def get_transform(self, image: np.ndarray) -> T.TransformList:
        """Draw size and window for a clip (T, H, W, C)."""
        resize = ResizeClipShortestEdge(self.low, self.high, self.max_size).get_transform(image)
        y0, y1, crop_h = _random_window(resize.h, resize.new_h, self.height)
        x0, x1, crop_w = _random_window(resize.w, resize.new_w, self.width)
        crop = CropTransform(x0, y0, x1 - x0, y1 - y0, orig_w=resize.w, orig_h=resize.h)
        return T.TransformList([crop, ResizeClipTransform(y1 - y0, x1 - x0, crop_h, crop_w)])


def _random_window(length: int, new_length: int, size: int) -> tuple[int, int, int]:
    """Draw a window of ``size`` pixels along an axis that is resized to ``new_length`` pixels.

    Return start and stop in pixels before resizing, and the size after it, at most ``new_length``.
    """
    size = min(size, new_length)
    start = np.random.randint(new_length - size + 1)
    first, last = (round(edge * length / new_length) for edge in (start, start + size))
    return first, last, size


@dataclass(eq=False, repr=False)
class CropClipView(T.Augmentation):
    """Crop the j-th of ``num_views`` square windows along the longer side.

    Three windows are left, centre and right (top, centre and bottom of upright clips); a single one
    is the centre.
    """

    size: int  # side of the window in pixels; a smaller clip keeps its side
    view: int = 0  # index j of the window, 0..num_views - 1
    num_views: int = 1

    def get_transform(self, image: np.ndarray) -> CropTransform:
        """Return the crop of a clip (T, H, W, C)."""
        h, w = image.shape[1:3]
        crop_h, crop_w = min(h, self.size), min(w, self.size)
        fraction = self.view / (self.num_views - 1) if self.num_views > 1 else 0.5
        along_x, along_y = (fraction, 0.5) if w >= h else (0.5, fraction)
        x, y = round((w - crop_w) * along_x), round((h - crop_h) * along_y)
        return CropTransform(x, y, crop_w, crop_h, orig_w=w, orig_h=h)


@dataclass(eq=False, repr=False)
class RandomFlipClip(T.Augmentation):
    """Mirror the clip left to right with a given probability, 0..1."""

    prob: float = 0.5

    def get_transform(self, image: np.ndarray) -> Transform:
        """Draw whether a clip (T, H, W, C) is mirrored."""
        if np.random.rand() < self.prob:
            return HFlipTransform(image.shape[2])
        return NoOpTransform()


@dataclass(eq=False, repr=False)
class ColorJitterClip(T.Augmentation):
    """Change brightness, contrast and saturation in random order, then add PCA lighting noise.

    All frames of a clip share one draw. The published recipes do not use it.
    """

    # Principal axes (rows: R, G, B) and std of ImageNet's colours, in units of 255.
    EIGENVALUES = np.array([0.225, 0.224, 0.229])
    EIGENVECTORS = np.array(
        [[-0.5675, 0.7192, 0.4009], [-0.5808, -0.0045, -0.8140], [-0.5836, -0.6948, 0.4203]]
    )
    LUMA = np.array([0.299, 0.587, 0.114], np.float32)

    strength: float  # factors are uniform in 1 - strength .. 1 + strength
    pca_std: float  # std of the normal lighting noise along the colour axes of ImageNet

    def get_transform(self, image: np.ndarray) -> T.ColorTransform:
        """Draw factors, their order and the noise."""
        factors = 1 + np.random.uniform(-self.strength, self.strength, 3)
        order = np.random.permutation(3)
        noise = self.EIGENVECTORS @ (np.random.normal(0, self.pca_std, 3) * self.EIGENVALUES) * 255

        def jitter(clip: np.ndarray) -> np.ndarray:
            pixels = clip.astype(np.float32)  # (T, H, W, 3), 0..255
            for step in order:
                gray = (pixels @ self.LUMA)[..., None]
                # Brightness blends with black, contrast with the mean, saturation with gray.
                other = (0.0, gray.mean(), gray)[step]
                pixels = other + factors[step] * (pixels - other)
            return np.clip(pixels + noise, 0, 255).astype(clip.dtype)

        return T.ColorTransform(jitter)


def build_clip_augmentations(cfg: CfgNode, is_train: bool) -> list[T.Augmentation]:
    """Build the augmentations of ``cfg.INPUT``.

    They resize the clip. In training they also crop and mirror it and change its colours.

    Raises:
        ConfigError: a key of ``cfg.INPUT`` has a value that is not supported.
    """
    if not is_train:
        size = cfg.INPUT.MIN_SIZE_TEST
        return [ResizeClipShortestEdge(size, size, cfg.INPUT.MAX_SIZE_TEST)]
    sizes = cfg.INPUT.MIN_SIZE_TRAIN
    if cfg.INPUT.MIN_SIZE_TRAIN_SAMPLING != "range" and min(sizes) != max(sizes):
        raise ConfigError(
            "INPUT.MIN_SIZE_TRAIN_SAMPLING must be 'range' (short side drawn between the two of "
            f"MIN_SIZE_TRAIN), got '{cfg.INPUT.MIN_SIZE_TRAIN_SAMPLING}'"
        )
    scales = min(sizes), max(sizes), cfg.INPUT.MAX_SIZE_TRAIN
    if not cfg.INPUT.CROP.ENABLED:
        augmentations = [ResizeClipShortestEdge(*scales)]
    elif cfg.INPUT.CROP.TYPE == "absolute":
        crop = (int(side) for side in cfg.INPUT.CROP.SIZE)
        augmentations = [RandomScaledCropClip(*scales, *crop)]
    else:
        raise ConfigError(f"INPUT.CROP.TYPE must be 'absolute', got '{cfg.INPUT.CROP.TYPE}'")
    if cfg.INPUT.RANDOM_FLIP == "horizontal":
        augmentations.append(RandomFlipClip())
    elif cfg.INPUT.RANDOM_FLIP != "none":
        raise ConfigError(
            f"INPUT.RANDOM_FLIP must be 'horizontal' or 'none', got '{cfg.INPUT.RANDOM_FLIP}'"
        )
    if cfg.INPUT.COLOR_JITTER.ENABLED:
        jitter = cfg.INPUT.COLOR_JITTER
        augmentations.append(ColorJitterClip(jitter.STRENGTH, jitter.PCA_STD))
    return augmentations


class FrameSource(Protocol):
    """How mappers open videos and read augmented frames; see :class:`ReaderPerClip`."""

    def open(self, path: str) -> AbstractContextManager[Any]:
        """Open a video; raise VideoDecodeError if that fails."""

    def read_frames(self, video: Any, seconds: Sequence[float]) -> AugmentedClip:
        """Read the frames shown at T times of an open video, augmented as one draw."""


class ReaderPerClip:
    """Source that opens the file for each clip: for clips in random order, as in training."""

    def __init__(self, augmentations: Sequence[T.Augmentation]) -> None:
        self.augmentations = augmentations

    def open(self, path: str) -> AbstractContextManager[VideoReader]:
        """Open a video."""
        return VideoReader(path)

    def read_frames(self, video: VideoReader, seconds: Sequence[float]) -> AugmentedClip:
        """Read the frames shown at T times of an open video, augmented as one draw.

        The draw needs no frames: if the clip is cropped first, only that window is converted.

        Raises:
            VideoDecodeError: a frame cannot be decoded.
        """
        transforms = _draw_transforms(self.augmentations, video)
        steps, window = transforms.transforms, None
        if isinstance(crop := transforms[0], T.CropTransform):
            steps, window = steps[1:], (crop.x0, crop.y0, crop.x0 + crop.w, crop.y0 + crop.h)
        # A frame at a time, as long as it is in the processor's cache. Colours need the whole clip.
        moves = T.TransformList([step for step in steps if not isinstance(step, T.ColorTransform)])
        colors = T.TransformList([step for step in steps if isinstance(step, T.ColorTransform)])
        planes = np.empty(0, np.uint8)
        for i, frame in video.iterate_frames_played_at(seconds, window=window):
            frame = moves.apply_image(frame[None])[0]
            if not len(planes):
                planes = np.empty((3, len(seconds), *frame.shape[:2]), np.uint8)
            planes[:, i] = frame.transpose(2, 0, 1)  # cv2.split is slow for mirrored frames
        return colors.apply_image(planes.transpose(1, 2, 3, 0)), transforms


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

    def read_frames(self, video: Any, seconds: Sequence[float]) -> AugmentedClip:
        """Read augmented frames, see :class:`ReaderPerClip`."""
        # (3, T, h, w) in memory, as models take it, so that packing the clip copies nothing.
        clip = np.stack(video.get_transformed_frames_played_at(seconds), axis=1)
        return clip.transpose(1, 2, 3, 0), self._transforms

    def _transform_frame(self, frame: np.ndarray, out: np.ndarray | None) -> np.ndarray:
        """Transform a frame (H, W, 3) to (3, h, w)."""
        frame = self._transforms.apply_image(frame[None])[0]
        out = np.empty((3, *frame.shape[:2]), np.uint8) if out is None else out
        cv2.split(frame, list(out))  # writes into these planes
        return out


def _draw_transforms(
    augmentations: Sequence[T.Augmentation], video: VideoReader
) -> T.TransformList:
    """Draw the augmentations of a clip of a video: they depend on the frames' size alone."""
    return augment_clip(np.zeros((1, video.height, video.width, 3), np.uint8), augmentations)[1]


def augment_clip(frames: np.ndarray, augmentations: Sequence[T.Augmentation]) -> AugmentedClip:
    """Augment a clip uint8 (T, H, W, 3) as one draw; return it and the transforms."""
    clip = ClipInput(frames)
    transforms = T.AugmentationList(augmentations)(clip)
    return clip.image, transforms


def pack_frames(clip: np.ndarray) -> torch.Tensor:
    """Pack a clip uint8 (T, H, W, 3) as (3, T, H, W)."""
    return torch.from_numpy(np.ascontiguousarray(clip.transpose(3, 0, 1, 2)))
