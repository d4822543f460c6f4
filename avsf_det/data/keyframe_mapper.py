"""From the dataset dict of a keyframe to a model input: clip, audio and boxes."""

from typing import Any

import numpy as np
from detectron2.config import CfgNode, configurable
from detectron2.data import transforms as T

from .clip_reader import ClipReader, FrameSource, ReaderPerClip
from .clip_sampling import span_around
from .packing import pack_frames, pack_instances, pack_proposals
from .transforms import build_clip_augmentations
from .video import VideoDecodeError, VideoReader


class KeyframeMapper:
    """Read the clip around a keyframe, and pack it with its person boxes.

    Args:
        is_train: whether annotations become ``instances``, and boxes outside the clip are dropped.
        clip_reader: number and times of the frames, spectrogram.
        source: opens the videos and reads augmented frames.
        num_classes: number of actions K of the multi-hot ``gt_actions``.
    """

    @configurable
    def __init__(
        self, is_train: bool, *, clip_reader: ClipReader, source: FrameSource[Any], num_classes: int
    ) -> None:
        self.is_train = is_train
        self.clip_reader = clip_reader
        self.source = source
        self.num_classes = num_classes

    @classmethod
    def from_config(cls, cfg: CfgNode, is_train: bool = True) -> dict:
        """Return the arguments of the constructor that a config sets."""
        return {
            "is_train": is_train,
            "clip_reader": ClipReader(cfg, is_train),
            "source": ReaderPerClip(build_clip_augmentations(cfg, is_train)),
            "num_classes": cfg.MODEL.ROI_ACTION_HEAD.NUM_CLASSES,
        }

    def __call__(self, dataset_dict: dict) -> dict:
        """Return the model input (contract 2 of docs/design.md) of a dataset dict (contract 1).

        Raises:
            VideoDecodeError: the clip cannot be read.
        """
        reader, other = self.clip_reader, dataset_dict.get("audio_from")
        with self.source.open(dataset_dict["file_name"]) as video:
            start, end = keyframe_span(dataset_dict, video, reader.clip_sec)
            clip, transforms = self.source.read_frames(video, reader.frame_times(start))
            audio = {} if other else reader.read_audio(video, start, end)
            audio |= reader.read_negative(video, start)
            size = video.height, video.width
        if other:  # audio of another keyframe, TEST.AUDIO_MODE swap
            with VideoReader(other["file_name"]) as video:
                span = keyframe_span(other, video, reader.clip_sec)
                audio |= reader.read_audio(video, *span)
        return self.pack(dataset_dict, clip, audio, transforms, size)

    def pack(
        self,
        dataset_dict: dict,
        clip: np.ndarray,
        audio: dict,
        transforms: T.Transform,
        source_size: tuple[int, int],
    ) -> dict:
        """Return the model input of a clip that is read already.

        Args:
            dataset_dict: contract 1.
            clip: augmented frames uint8 (T, h, w, 3), RGB.
            audio: ``audio`` and ``has_audio``, see :meth:`ClipReader.read_audio`.
            transforms: transforms of the clip, from pixels of the video.
            source_size: (height, width) of the video in pixels.
        """
        result = {key: dataset_dict[key] for key in ("image_id", "video_id", "timestamp")}
        result |= {"frames": pack_frames(clip), **audio}
        result["height"], result["width"] = source_size
        sizes = source_size, clip.shape[1:3]
        if "proposals" in dataset_dict:
            proposals, keep_empty = dataset_dict["proposals"], not self.is_train
            result["proposals"] = pack_proposals(proposals, transforms, *sizes, keep_empty)
        if self.is_train:
            annotations, num_classes = dataset_dict["annotations"], self.num_classes
            result["instances"] = pack_instances(annotations, transforms, *sizes, num_classes)
        return result


def keyframe_span(dataset_dict: dict, video: VideoReader, clip_sec: float) -> tuple[float, float]:
    """Return (start, end) of the clip around a keyframe, in seconds of the file.

    Raises:
        VideoDecodeError: the keyframe is outside the file.
    """
    second = keyframe_second(dataset_dict, video)
    return span_around(second, clip_sec)


def keyframe_second(dataset_dict: dict, video: VideoReader) -> float:
    """Return the second of the file at which a keyframe is.

    Raises:
        VideoDecodeError: the keyframe is outside the file.
    """
    second = dataset_dict["timestamp"] - dataset_dict["offset"]
    if not 0 <= second <= video.duration + 1 / video.fps:
        raise VideoDecodeError(
            f"{dataset_dict['source']}: keyframe {dataset_dict['image_id']} lies at "
            f"{second:g} s of {dataset_dict['file_name']}, which lasts {video.duration:g} s. "
            f"Check the timestamp and the dataset's offset ({dataset_dict['offset']:g} s)."
        )
    return second
