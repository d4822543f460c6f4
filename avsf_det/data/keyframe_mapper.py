"""From the dataset dict of a keyframe to a model input: clip, audio and boxes."""

from collections.abc import Iterator, Sequence
from itertools import groupby, islice

import numpy as np
import torch
from detectron2.config import CfgNode
from detectron2.data import transforms as T
from detectron2.structures import Boxes, Instances
from detectron2.utils import comm
from torch.utils.data import Sampler, get_worker_info

from .clip_reader import ClipReader
from .transforms import FrameSource, ReaderPerClip, build_clip_augmentations, pack_frames
from .video import VideoDecodeError, VideoReader


class KeyframeMapper:
    """Read the clip around a keyframe, and pack it with its person boxes.

    In training, annotations become ``instances``, and boxes outside the clip are dropped. The
    source is by default a :class:`ReaderPerClip`. A clip that cannot be read is a VideoDecodeError.
    """

    def __init__(
        self, cfg: CfgNode, is_train: bool = True, *, source: FrameSource | None = None
    ) -> None:
        self.is_train = is_train
        self.clip_reader = ClipReader(cfg, is_train)
        self.source = source or ReaderPerClip(build_clip_augmentations(cfg, is_train))
        self.num_classes = cfg.MODEL.ROI_ACTION_HEAD.NUM_CLASSES

    def __call__(self, dataset_dict: dict) -> dict:
        """Return the model input (contract 2 of docs/design.md) of a dataset dict (contract 1)."""
        reader, other = self.clip_reader, dataset_dict.get("audio_from")
        with self.source.open(dataset_dict["file_name"]) as video:
            start, end = span_around(keyframe_second(dataset_dict, video), reader.clip_sec)
            clip, transforms = self.source.read_frames(video, reader.frame_times(start))
            audio = {} if other else reader.read_audio(video, start, end)
            audio |= reader.read_negative(video, start)
            size = video.height, video.width
        if other:  # audio of another keyframe, TEST.AUDIO_MODE swap
            with VideoReader(other["file_name"]) as video:
                span = span_around(keyframe_second(other, video), reader.clip_sec)
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
        """Return the model input of a clip that is read already, uint8 (T, h, w, 3), RGB.

        ``audio`` is that of :meth:`ClipReader.read_audio`; the transforms are those of the clip,
        from pixels of the video, whose size is (height, width).
        """
        height, width = source_size
        image_size = clip.shape[1:3]
        result = {key: dataset_dict[key] for key in ("image_id", "video_id", "timestamp")}
        result |= {"frames": pack_frames(clip), **audio, "height": height, "width": width}

        def move_boxes(boxes: np.ndarray) -> Boxes:
            """Move boxes (N, 4) in 0..1 of the video's frame to pixels of the clip, clipped."""
            pixels = boxes * np.array([width, height, width, height], np.float32)
            moved = Boxes(torch.from_numpy(transforms.apply_box(pixels).astype(np.float32)))
            moved.clip(image_size)
            return moved

        if "proposals" in dataset_dict:
            boxes, scores = (dataset_dict["proposals"][key] for key in ("boxes", "scores"))
            proposals = Instances(image_size)
            proposals.proposal_boxes = move_boxes(boxes)
            proposals.objectness_logits = torch.from_numpy(scores.astype(np.float32))
            if self.is_train:  # at test all boxes get their scores, those outside the clip too
                proposals = proposals[proposals.proposal_boxes.nonempty()]
            result["proposals"] = proposals
        if self.is_train:
            annotations = dataset_dict["annotations"]
            actions = torch.zeros(len(annotations), self.num_classes)  # (N, K), multi-hot
            for row, annotation in zip(actions, annotations, strict=True):
                row[annotation["action_ids"]] = 1
            boxes = np.array([a["bbox"] for a in annotations], np.float32).reshape(-1, 4)
            instances = Instances(image_size)
            instances.gt_boxes = move_boxes(boxes)
            instances.gt_classes = torch.zeros(len(annotations), dtype=torch.int64)  # all persons
            instances.gt_actions = actions
            # Boxes that cropping has left without area are dropped.
            result["instances"] = instances[instances.gt_boxes.nonempty()]
        return result


def span_around(timestamp: float, length: float) -> tuple[float, float]:
    """Return (start, end) of the span of ``length`` seconds with the keyframe in its middle.

    It may reach beyond the file: readers repeat the first or last frame there and add silence.
    """
    return timestamp - length / 2, timestamp + length / 2


def keyframe_second(dataset_dict: dict, video: VideoReader) -> float:
    """Return the second of the file at which a keyframe is.

    Raises:
        VideoDecodeError: the keyframe is outside the file.
    """
    second = dataset_dict["timestamp"] - dataset_dict["offset"]
    if dataset_dict.get("clock") == "frames":
        second /= video.fps
    if not 0 <= second <= video.duration + 1 / video.fps:
        raise VideoDecodeError(
            f"{dataset_dict['source']}: keyframe {dataset_dict['image_id']} lies at "
            f"{second:g} s of {dataset_dict['file_name']}, which lasts {video.duration:g} s. "
            f"Check the timestamp and the dataset's offset ({dataset_dict['offset']:g} s)."
        )
    return second


class VideoOrderSampler(Sampler[list[int]]):
    """Sampler of batches of keyframe indices, one video after the other, each in time order.

    A batch is of one video, so its frames have one size: padding would change the scores. Every
    process, and every loader worker of a process, gets a contiguous part of the batches, equal but
    for one. Over all of them each index occurs once.

    The sampler distributes batches over workers itself, since a torch ``DataLoader`` would deal
    them out one by one. Iterate it in the workers, as :class:`.loader.ClipStream` does.
    """

    def __init__(self, dicts: Sequence[dict], batch_size: int = 1) -> None:
        order = sorted(
            range(len(dicts)), key=lambda i: (dicts[i]["file_name"], dicts[i]["timestamp"])
        )
        batches: list[list[int]] = []
        for _, indices in groupby(order, key=lambda i: dicts[i]["file_name"]):
            video = iter(indices)
            while batch := [*islice(video, batch_size)]:
                batches.append(batch)
        self._batches = _part(batches, comm.get_rank(), comm.get_world_size())

    def __iter__(self) -> Iterator[list[int]]:
        worker = get_worker_info()  # None in the process that has no workers
        part = (worker.id, worker.num_workers) if worker else (0, 1)
        return iter(_part(self._batches, *part))

    def __len__(self) -> int:
        """Return the number of batches of this process, over all its workers."""
        return len(self._batches)


def _part(items: list[list[int]], i: int, n: int) -> list[list[int]]:
    """Return the i-th of n contiguous parts; their lengths differ by one at most."""
    return items[len(items) * i // n : len(items) * (i + 1) // n]
