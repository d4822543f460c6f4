"""The mapper of whole-movie evaluation: keyframes that come in time order share their frames."""

from contextlib import AbstractContextManager, nullcontext

import numpy as np
from detectron2.config import configurable
from detectron2.data import transforms as T

from .dataset_mapper import KeyframeMapper
from .transforms import ClipInput
from .video import SequentialVideoReader, VideoReader


class MovieMapper(KeyframeMapper):
    """A :class:`KeyframeMapper` for testing that keeps the movie open between keyframes: each frame
    is decoded, converted and resized once, sound is decoded once. The results are equal.

    Give it a movie's keyframes in time order (:class:`VideoOrderSampler`); any other order is right but
    slow. Each loader worker has its own.
    """

    @configurable
    def __init__(self, **kwargs):
        """
        Args:
            kwargs: of :class:`KeyframeMapper`; augmentations that are the same for each frame.
        """
        super().__init__(False, **kwargs)
        self._movie: SequentialVideoReader | None = None
        self._transforms: T.Transform | None = None  # of its frames

    @classmethod
    def from_config(cls, cfg):
        args = super().from_config(cfg, is_train=False)
        return {key: value for key, value in args.items() if key != "is_train"}

    def _open(self, file_name: str) -> AbstractContextManager[VideoReader]:
        if self._movie is None or self._movie.path != file_name:
            if self._movie is not None:
                self._movie.close()
            movie = SequentialVideoReader(
                file_name,
                transform=lambda image: transforms.apply_image(image[None])[0].transpose(2, 0, 1),
            )
            blank = np.zeros((1, movie.height, movie.width, 3), np.uint8)
            transforms = T.AugmentationList(self.augmentations)(ClipInput(blank))
            self._movie, self._transforms = movie, transforms
        return nullcontext(self._movie)

    def _read_augmented(
        self, dataset_dict: dict
    ) -> tuple[np.ndarray, dict, T.Transform, tuple[int, int]]:
        clip, sound, _ = self._read(dataset_dict, _read_planes)
        return clip, sound, self._transforms, (self._movie.height, self._movie.width)


def _read_planes(movie: SequentialVideoReader, times: list[float]) -> np.ndarray:
    """The clip uint8 (T, h, w, 3), in memory as (3, T, h, w), so that packing it copies nothing."""
    return np.stack(movie.get_transformed_frames_played_at(times), axis=1).transpose(1, 2, 3, 0)
