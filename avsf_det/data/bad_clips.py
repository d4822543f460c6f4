"""Replacement of training clips that cannot be read."""

import logging
from collections.abc import Callable, Sequence

import numpy as np

from .video import VideoDecodeError

# Clips that a worker must have read before the fraction of bad ones is judged.
MIN_CLIPS_TO_JUDGE = 100


class BadClipReplacer:
    """Training mapper that replaces a clip that cannot be read by a random other one.

    Bad clips are logged and counted in each loader worker. Above a fraction of bad clips the run
    stops. Detectron2's ``MapDataset`` would replace clips, too, but does it by ``random.sample`` of
    a set, which Python 3.11 refuses.

    Args:
        mapper: returns a model input, or raises VideoDecodeError.
        dataset: dataset dicts, from which replacements are drawn.
        max_fraction: largest fraction of bad clips, 0..1.
    """

    def __init__(
        self, mapper: Callable[[dict], dict], dataset: Sequence[dict], max_fraction: float
    ) -> None:
        self.mapper = mapper
        self.dataset = dataset
        self.max_fraction = max_fraction
        self.num_clips = 0
        self.num_bad_clips = 0

    def __call__(self, dataset_dict: dict) -> dict:
        """Return the model input of a clip, or of its replacement.

        Raises:
            VideoDecodeError: too many clips could not be read.
        """
        while True:
            self.num_clips += 1
            try:
                return self.mapper(dataset_dict)
            except VideoDecodeError as error:
                self._count_bad_clip(error)
            dataset_dict = self.dataset[np.random.randint(len(self.dataset))]

    def _count_bad_clip(self, error: VideoDecodeError) -> None:
        self.num_bad_clips += 1
        logging.getLogger(__name__).warning(
            f"Bad clip {self.num_bad_clips} of {self.num_clips} in this worker, replaced: {error}"
        )
        if self.num_bad_clips > self.max_fraction * max(self.num_clips, MIN_CLIPS_TO_JUDGE):
            raise VideoDecodeError(
                f"{self.num_bad_clips} of {self.num_clips} clips could not be read, more than "
                f"DATALOADER.MAX_BAD_CLIPS = {self.max_fraction}. The last one: {error}"
            ) from error
