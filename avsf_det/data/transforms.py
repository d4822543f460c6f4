"""Clip augmentations in Detectron2's form: an Augmentation draws once, and the Transform that it
returns moves all frames of the clip and the boxes alike.

Clips are uint8 arrays (T, H, W, C); boxes are float arrays (N, 4), XYXY in pixels. Detectron2's own
geometric augmentations take the first two axes for height and width, so they have counterparts
here; fvcore's crop and flip transforms are right for four axes and are used as they are.
"""

import cv2
import numpy as np
from detectron2.data import transforms as T
from fvcore.transforms.transform import (
    CropTransform,
    HFlipTransform,
    NoOpTransform,
    Transform,
)

# Loader workers are the parallelism; threads inside them compete, and may hang after a fork.
cv2.setNumThreads(0)


class ClipInput(T.AugInput):
    """An ``AugInput`` whose ``image`` is a clip (T, H, W, C), which the base class refuses."""

    def __init__(self, clip: np.ndarray, boxes: np.ndarray | None = None):
        """
        Args:
            clip: uint8 (T, H, W, 3), RGB.
            boxes: float (N, 4), XYXY in pixels of ``clip``, or None.
        """
        self.image = clip
        self.boxes = boxes
        self.sem_seg = None


class ResizeClipTransform(Transform):
    """Resize every frame (bilinear) and scale the boxes."""

    def __init__(self, h: int, w: int, new_h: int, new_w: int):
        super().__init__()
        self._set_attributes(locals())

    def apply_image(self, img: np.ndarray) -> np.ndarray:
        """(T, h, w, C) to (T, new_h, new_w, C)."""
        if (self.h, self.w) == (self.new_h, self.new_w):
            return img
        out = np.empty((len(img), self.new_h, self.new_w, img.shape[3]), img.dtype)
        for source, target in zip(img, out, strict=True):
            cv2.resize(source, (self.new_w, self.new_h), target, interpolation=cv2.INTER_LINEAR)
        return out

    def apply_coords(self, coords: np.ndarray) -> np.ndarray:
        return coords * np.array([self.new_w / self.w, self.new_h / self.h], coords.dtype)

    def inverse(self) -> Transform:
        return ResizeClipTransform(self.new_h, self.new_w, self.h, self.w)


class ResizeClipShortestEdge(T.Augmentation):
    """Resize the short side to a size drawn uniformly from [low, high]; the aspect ratio stays."""

    def __init__(self, low: int, high: int, max_size: int):
        """
        Args:
            low, high: bounds of the short side in pixels, both included.
            max_size: bound of the long side in pixels.
        """
        super().__init__()
        self._init(locals())

    def get_transform(self, image: np.ndarray) -> Transform:
        h, w = image.shape[1:3]
        size = np.random.randint(self.low, self.high + 1)
        return ResizeClipTransform(
            h, w, *T.ResizeShortestEdge.get_output_shape(h, w, size, self.max_size)
        )


class RandomScaledCropClip(T.Augmentation):
    """``ResizeClipShortestEdge``, then a window of fixed size at a uniformly drawn place. It is
    cropped before it is resized, to a whole pixel, so that nothing else need be converted."""

    def __init__(self, low: int, high: int, max_size: int, height: int, width: int):
        """
        Args:
            low, high, max_size: of :class:`ResizeClipShortestEdge`.
            height, width: of the window after it was resized, in pixels; a smaller clip is kept
                whole.
        """
        super().__init__()
        self._init(locals())

    def get_transform(self, image: np.ndarray) -> Transform:
        resize = ResizeClipShortestEdge(self.low, self.high, self.max_size).get_transform(image)
        y0, y1, crop_h = _random_window(resize.h, resize.new_h, self.height)
        x0, x1, crop_w = _random_window(resize.w, resize.new_w, self.width)
        return T.TransformList(
            [
                CropTransform(x0, y0, x1 - x0, y1 - y0, orig_w=resize.w, orig_h=resize.h),
                ResizeClipTransform(y1 - y0, x1 - x0, crop_h, crop_w),
            ]
        )


def _random_window(length: int, new_length: int, size: int) -> tuple[int, int, int]:
    """(start, stop) of what becomes a window of ``size`` when ``length`` pixels are resized, and
    the window's size then, which is ``new_length`` if that is less."""
    size = min(size, new_length)
    start = np.random.randint(new_length - size + 1)
    edges = (round(edge * length / new_length) for edge in (start, start + size))
    return *edges, size


class CropClipView(T.Augmentation):
    """The j-th of ``num_views`` square windows along the longer side: left, centre, right of three
    (top to bottom of upright clips). One is the centre."""

    def __init__(self, size: int, view: int = 0, num_views: int = 1):
        super().__init__()
        self._init(locals())

    def get_transform(self, image: np.ndarray) -> Transform:
        h, w = image.shape[1:3]
        crop_h, crop_w = min(h, self.size), min(w, self.size)
        share = self.view / (self.num_views - 1) if self.num_views > 1 else 0.5
        along_x, along_y = (share, 0.5) if w >= h else (0.5, share)
        x, y = round((w - crop_w) * along_x), round((h - crop_h) * along_y)
        return CropTransform(x, y, crop_w, crop_h, orig_w=w, orig_h=h)


class RandomFlipClip(T.Augmentation):
    """Mirror the clip left to right with probability ``prob``."""

    def __init__(self, prob: float = 0.5):
        super().__init__()
        self._init(locals())

    def get_transform(self, image: np.ndarray) -> Transform:
        if np.random.rand() < self.prob:
            return HFlipTransform(image.shape[2])
        return NoOpTransform()


class ColorJitterClip(T.Augmentation):
    """Brightness, contrast and saturation in random order, then PCA lighting (all one draw a clip).

    The factors are uniform in [1 - strength, 1 + strength], the lighting noise is normal with
    ``pca_std`` along the colour axes of ImageNet. Off in the published recipes.
    """

    # Principal axes (rows: R, G, B) and deviations of ImageNet's colours, in units of 255.
    EIGENVALUES = np.array([0.225, 0.224, 0.229])
    EIGENVECTORS = np.array(
        [[-0.5675, 0.7192, 0.4009], [-0.5808, -0.0045, -0.8140], [-0.5836, -0.6948, 0.4203]]
    )
    LUMA = np.array([0.299, 0.587, 0.114], np.float32)

    def __init__(self, strength: float, pca_std: float):
        super().__init__()
        self._init(locals())

    def get_transform(self, image: np.ndarray) -> Transform:
        factors = 1 + np.random.uniform(-self.strength, self.strength, 3)
        order = np.random.permutation(3)
        noise = self.EIGENVECTORS @ (np.random.normal(0, self.pca_std, 3) * self.EIGENVALUES) * 255

        def jitter(clip: np.ndarray) -> np.ndarray:
            pixels = clip.astype(np.float32)
            for step in order:
                gray = (pixels @ self.LUMA)[..., None]
                # Brightness blends with black, contrast with the mean, saturation with gray.
                other = (0.0, gray.mean(), gray)[step]
                pixels = other + factors[step] * (pixels - other)
            return np.clip(pixels + noise, 0, 255).astype(clip.dtype)

        return T.ColorTransform(jitter)


def build_clip_augmentations(cfg, is_train: bool) -> list[T.Augmentation]:
    """The augmentations of ``cfg.INPUT``: resize, and in training crop, flip and colour jitter."""
    if not is_train:
        size = cfg.INPUT.MIN_SIZE_TEST
        return [ResizeClipShortestEdge(size, size, cfg.INPUT.MAX_SIZE_TEST)]
    sizes = cfg.INPUT.MIN_SIZE_TRAIN
    if cfg.INPUT.MIN_SIZE_TRAIN_SAMPLING != "range" and min(sizes) != max(sizes):
        raise ValueError(
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
        raise ValueError(f"INPUT.CROP.TYPE must be 'absolute', got '{cfg.INPUT.CROP.TYPE}'")
    if cfg.INPUT.RANDOM_FLIP == "horizontal":
        augmentations.append(RandomFlipClip())
    elif cfg.INPUT.RANDOM_FLIP != "none":
        raise ValueError(
            f"INPUT.RANDOM_FLIP must be 'horizontal' or 'none', got '{cfg.INPUT.RANDOM_FLIP}'"
        )
    if cfg.INPUT.COLOR_JITTER.ENABLED:
        jitter = cfg.INPUT.COLOR_JITTER
        augmentations.append(ColorJitterClip(jitter.STRENGTH, jitter.PCA_STD))
    return augmentations
