"""From a keyframe to the input of one of Detectron2's image detectors, to train it on persons."""

import numpy as np
import torch
from detectron2.config import configurable
from detectron2.data import DatasetMapper
from detectron2.data import detection_utils as utils
from detectron2.data import transforms as T
from detectron2.structures import BoxMode

from .dataset_mapper import KeyframeMapper
from .video import VideoReader


class PersonMapper(KeyframeMapper):
    """The frame at a keyframe, with its boxes as objects of category 0: a clip of one frame and
    without sound."""

    @configurable
    def __init__(self, is_train: bool, *, image_format: str, **kwargs):
        """
        Args:
            image_format: "RGB" or "BGR", the order of the channels that the detector takes.
            kwargs: ``augmentations`` and ``max_bad_clips`` of :class:`ClipMapper`.
        """
        silent = {"log_mel": None, "num_audio_frames": 0}
        super().__init__(
            is_train, num_classes=0, num_frames=1, stride=0, fps=1.0, **silent, **kwargs
        )
        self.image_format = image_format

    @classmethod
    def from_config(cls, cfg, is_train: bool = True):
        standard = DatasetMapper.from_config(cfg, is_train)
        return {
            "is_train": is_train,
            **{key: standard[key] for key in ("augmentations", "image_format")},
            "max_bad_clips": cfg.DATALOADER.MAX_BAD_CLIPS,
        }

    def _map(self, dataset_dict: dict) -> dict:
        """Returns: ``image`` uint8 (3, H, W), ``instances`` with ``gt_boxes`` in its pixels and
        ``gt_classes`` 0, ``height`` and ``width`` of the source, ``image_id``."""
        with VideoReader(dataset_dict["file_name"]) as reader:
            second, _ = self._span(dataset_dict, reader)
            (frame,) = reader.get_frames_played_at([second])
        height, width = frame.shape[:2]
        image = T.AugInput(frame if self.image_format == "RGB" else frame[..., ::-1].copy())
        transforms = T.AugmentationList(self.augmentations)(image)
        annotations = [
            utils.transform_instance_annotations(
                {
                    "bbox": np.multiply(annotation["bbox"], (width, height) * 2),
                    "bbox_mode": BoxMode.XYXY_ABS,
                    "category_id": 0,
                },
                transforms,
                image.image.shape[:2],
            )
            for annotation in dataset_dict["annotations"]
        ]
        instances = utils.annotations_to_instances(annotations, image.image.shape[:2])
        return {
            "image": torch.from_numpy(np.ascontiguousarray(image.image.transpose(2, 0, 1))),
            "instances": utils.filter_empty_instances(instances),
            "height": height,
            "width": width,
            "image_id": dataset_dict["image_id"],
        }
