"""From the dataset dict of a video, or of a segment of it, to a model input: clip and classes."""

from typing import Any

from detectron2.config import CfgNode, configurable

from .clip_reader import ClipReader, FrameSource, ReaderPerClip
from .clip_sampling import ith_span, random_span
from .packing import pack_frames, pack_label
from .transforms import CropClipView, build_clip_augmentations
from .video import VideoDecodeError, VideoReader


class SegmentMapper:
    """Read a clip of a video or of a segment, and pack it with its classes.

    In training it is a random clip. At test it is the view of the temporal x spatial views that the
    dataset dict names.

    Args:
        is_train: whether clips are random.
        clip_reader: number and times of the frames, spectrogram.
        source: opens the videos and reads augmented frames.
        num_classes: number of classes K of each task.
        multi_label: whether a clip may have any number of classes.
        crop_size: side of the square that a view shows at test, in pixels.
        views: numbers of temporal and spatial views at test.
        need_frames: whether frames are read; False for the Audio pathway alone.
    """

    @configurable
    def __init__(
        self,
        is_train: bool,
        *,
        clip_reader: ClipReader,
        source: FrameSource[Any],
        num_classes: dict[str, int],
        multi_label: bool,
        crop_size: int,
        views: tuple[int, int],
        need_frames: bool = True,
    ) -> None:
        self.is_train = is_train
        self.clip_reader = clip_reader
        self.source = source
        self.num_classes = num_classes
        self.multi_label = multi_label
        self.crop_size = crop_size
        self.views = views
        self.need_frames = need_frames

    @classmethod
    def from_config(cls, cfg: CfgNode, is_train: bool = True) -> dict:
        """Return the arguments of the constructor that a config sets."""
        head = cfg.MODEL.CLIP_HEAD
        return {
            "is_train": is_train,
            "clip_reader": ClipReader(cfg, is_train),
            "source": ReaderPerClip(build_clip_augmentations(cfg, is_train)),
            "num_classes": dict(zip(head.TASKS, head.NUM_CLASSES, strict=True)),
            "multi_label": head.LOSS == "sigmoid",
            "crop_size": cfg.INPUT.MIN_SIZE_TEST,
            "views": (cfg.TEST.VIEWS.TEMPORAL, cfg.TEST.VIEWS.SPATIAL),
            "need_frames": cfg.INPUT.FRAMES,
        }

    def __call__(self, dataset_dict: dict) -> dict:
        """Return the model input (contract 2 of docs/design.md) of a dataset dict (contract 1).

        Raises:
            VideoDecodeError: the clip cannot be read.
        """
        reader, other = self.clip_reader, dataset_dict.get("audio_from")
        temporal, spatial = divmod(dataset_dict.get("view", 0), self.views[1])
        result = {"clip_id": dataset_dict["clip_id"]}
        with self.source.open(dataset_dict["file_name"]) as video:
            start, end = self._choose_span(dataset_dict, video, temporal)
            if self.need_frames:
                clip, _ = self.source.read_frames(video, reader.frame_times(start))
                if not self.is_train:
                    view = CropClipView(self.crop_size, spatial, self.views[1])
                    clip = view.get_transform(clip).apply_image(clip)
                result["frames"] = pack_frames(clip)
            if not other:
                result |= reader.read_audio(video, start, end)
            result |= reader.read_negative(video, start)
        if other:  # audio of the same view of another clip, TEST.AUDIO_MODE swap
            with VideoReader(other["file_name"]) as video:
                span = self._choose_span(other, video, temporal)
                result |= reader.read_audio(video, *span)
        if not self.is_train:
            result |= {"view": dataset_dict["view"], "num_views": self.views[0] * self.views[1]}
        return result | {"labels": self._pack_labels(dataset_dict, reader.frame_times(start))}

    def _choose_span(
        self, dataset_dict: dict, video: VideoReader, temporal_view: int
    ) -> tuple[float, float]:
        """Return (start, end) of the clip in seconds of the file."""
        segment = None
        if "start_sec" in dataset_dict:
            segment = dataset_dict["start_sec"], dataset_dict["end_sec"]
            if segment[0] > video.duration:
                raise VideoDecodeError(
                    f"{dataset_dict['source']}: the segment starts at {segment[0]:g} s of "
                    f"{dataset_dict['file_name']}, which lasts {video.duration:g} s."
                )
        length = self.clip_reader.clip_sec
        if self.is_train:
            return random_span(length, video.duration, segment)
        return ith_span(temporal_view, self.views[0], length, video.duration, segment)

    def _pack_labels(self, dataset_dict: dict, times: list[float]) -> dict:
        """Return the target of each task of the model that the clip has labels for.

        In training with labels of segments (Charades), these are the segments that the clip shows.
        """
        labels = dataset_dict["labels"]
        if self.is_train and "segments" in dataset_dict:
            labels = {task: labels_at(times, dataset_dict["segments"]) for task in labels}
        return {
            task: pack_label(labels[task], num_classes, self.multi_label)
            for task, num_classes in self.num_classes.items()
            if task in labels
        }


def labels_at(times: list[float], segments: list[dict]) -> list[int]:
    """Return the sorted labels of the segments that contain any of the times (seconds)."""
    return sorted(
        {
            segment["label"]
            for segment in segments
            if any(segment["start_sec"] <= t <= segment["end_sec"] for t in times)
        }
    )
