"""Train and test loaders, built on Detectron2's.

A dataset has keyframes with person boxes, or clips with classes. From either come dataset dicts
(contract 1 of docs/design.md), and a mapper turns each into a model input (contract 2).
"""

from collections.abc import Callable
from functools import partial

import numpy as np
from detectron2.config import CfgNode
from detectron2.data import DatasetCatalog, DatasetFromList, DatasetMapper, MetadataCatalog
from detectron2.data.samplers import InferenceSampler
from detectron2.utils import comm
from torch.utils.data import Dataset

from ..structures import AVSFError, ConfigError
from ..structures.ava_boxes import take_every
from ..structures.ava_csv import read_person_boxes
from .checks import check_not_empty, check_num_classes, check_tasks, has_keyframes
from .clip_reader import BadClipReplacer
from .datasets.annotation_files import without_garbage_collection
from .keyframe_images import register_keyframe_images
from .keyframe_mapper import KeyframeMapper, VideoOrderSampler
from .loader import (
    ClipItems,
    ClipLoader,
    ClipStream,
    TrainLoader,
    WorkerBoard,
    build_training_sampler,
)
from .proposals import attach_person_boxes, attach_test_boxes
from .segment_mapper import SegmentMapper
from .transforms import SequentialReader, build_clip_augmentations


@without_garbage_collection()
def build_clip_train_loader(cfg: CfgNode) -> TrainLoader:
    """Build the training loader of ``cfg.DATASETS.TRAIN``: endless batches of model inputs.

    Its seed is SEED, or a random one if that is negative.
    """
    if not cfg.DATASETS.TRAIN:
        raise AVSFError("DATASETS.TRAIN is empty; name the datasets to train on")
    if cfg.INPUT.KIND == "frames":
        return _build_frame_train_loader(cfg)
    if cfg.MODEL.AVSYNC.ENABLED and not cfg.INPUT.AUDIO.NEGATIVES:
        raise ConfigError(
            "MODEL.AVSYNC.ENABLED compares audio with negatives. Set INPUT.AUDIO.NEGATIVES True "
            "(for models without labels TEST.AUDIO_NEGATIVES True, too), or MODEL.AVSYNC.ENABLED "
            "False."
        )
    mapper: KeyframeMapper | SegmentMapper
    if has_keyframes(cfg, cfg.DATASETS.TRAIN[0]):
        dicts, mapper = _training_keyframes(cfg), KeyframeMapper(cfg, is_train=True)
    else:
        dicts, mapper = _training_clips(cfg), SegmentMapper(cfg, is_train=True)
    # Serialised: loader workers share the buffer, while each would copy Python objects.
    clips = DatasetFromList(dicts, copy=False)
    replacer = BadClipReplacer(mapper, clips, cfg.DATALOADER.MAX_BAD_CLIPS)
    return _build_train_loader(cfg, clips, replacer)


def _build_frame_train_loader(cfg: CfgNode) -> TrainLoader:
    """Build the loader of the images of keyframes, for a person detector of Detectron2."""
    if cfg.DATASETS.TEST:
        raise ConfigError(
            "DATASETS.TEST must be () for a person detector: its training ends without a test. "
            "Then ava_tools/detect_persons.py scores it on a dataset."
        )
    max_bad, images = cfg.DATALOADER.MAX_BAD_CLIPS, []
    for name in cfg.DATASETS.TRAIN:
        has_keyframes(cfg, name)  # or raises
        dicts = DatasetCatalog.get(register_keyframe_images(name, max_bad_fraction=max_bad))
        images += [d for d in dicts if d["annotations"]]
    check_not_empty(images, ", ".join(cfg.DATASETS.TRAIN), "keyframes with persons")
    groups = None
    if cfg.DATALOADER.ASPECT_RATIO_GROUPING:
        groups = np.array([int(d["width"] <= d["height"]) for d in images])
    dataset = DatasetFromList(images, copy=False)
    return _build_train_loader(cfg, dataset, DatasetMapper(cfg, True), groups)


def _build_train_loader(
    cfg: CfgNode,
    dataset: DatasetFromList,
    mapper: Callable[[dict], dict],
    groups: np.ndarray | None = None,
) -> TrainLoader:
    """Build the loader of a dataset that is not empty."""
    batch_size, rest = divmod(cfg.SOLVER.IMS_PER_BATCH, comm.get_world_size())
    if rest or batch_size < 1:
        raise AVSFError(
            f"SOLVER.IMS_PER_BATCH is {cfg.SOLVER.IMS_PER_BATCH}; it must be a positive multiple "
            f"of the number of processes, {comm.get_world_size()}"
        )
    workers = cfg.DATALOADER.NUM_WORKERS
    return TrainLoader(
        ClipItems(dataset, mapper, WorkerBoard(workers)),
        partial(build_training_sampler, cfg, dataset),
        seed=cfg.SEED if cfg.SEED >= 0 else comm.shared_random_seed(),
        batch_size=batch_size,
        num_workers=workers,
        timeout=cfg.DATALOADER.TIMEOUT_SEC,
        groups=groups,
    )


def _training_keyframes(cfg: CfgNode) -> list[dict]:
    """Load the annotated keyframes of the training sets."""
    # Ground-truth boxes are the proposals, as published. These files add detected person boxes, of
    # which the model uses those that match one.
    files = cfg.DATASETS.PROPOSAL_FILES_TRAIN
    if files and len(files) != len(cfg.DATASETS.TRAIN):
        raise ConfigError(
            "DATASETS.PROPOSAL_FILES_TRAIN needs one file per entry of DATASETS.TRAIN"
        )
    dicts = []
    for i, name in enumerate(cfg.DATASETS.TRAIN):
        # Keyframes without persons have nothing to learn from.
        dataset = take_every(DatasetCatalog.get(name), cfg.DATASETS.KEYFRAME_STRIDE_TRAIN)
        dataset = [d for d in dataset if d["annotations"]]
        check_not_empty(dataset, name, "keyframes with persons")
        check_num_classes(cfg, name)
        if files:
            min_score = cfg.DATASETS.PROPOSAL_MIN_SCORE_TRAIN
            dataset = attach_person_boxes(dataset, read_person_boxes(files[i]), min_score)
        dicts += dataset
    return dicts


def _training_clips(cfg: CfgNode) -> list[dict]:
    """Load the labelled clips of the training sets."""
    dicts = []
    for name in cfg.DATASETS.TRAIN:
        dataset = DatasetCatalog.get(name)
        check_not_empty(dataset, name, "clips")
        check_tasks(cfg, name)
        unlabelled = next((d for d in dataset if not d["labels"]), None)
        if unlabelled and cfg.MODEL.CLIP_HEAD.TASKS:
            raise ConfigError(
                f"Dataset '{name}' has clips without labels, the first at "
                f"{unlabelled['source']}. It cannot be trained on."
            )
        dicts += dataset
    return dicts


@without_garbage_collection()
def build_clip_test_loader(cfg: CfgNode, dataset_name: str) -> ClipLoader:
    """Build the test loader of one dataset: batches of TEST.BATCH_SIZE, each clip once over all.

    Keyframes are read in one pass through each video, clips in ``TEST.VIEWS``: a batch has all
    crops of its times.
    """
    workers, batch_size = cfg.DATALOADER.NUM_WORKERS, cfg.TEST.BATCH_SIZE
    board, timeout = WorkerBoard(workers), cfg.DATALOADER.TIMEOUT_SEC
    mapper: KeyframeMapper | SegmentMapper
    if has_keyframes(cfg, dataset_name):
        dicts = keyframes_to_test(cfg, dataset_name)  # or raises if there is none
        source = SequentialReader(build_clip_augmentations(cfg, is_train=False))
        mapper = KeyframeMapper(cfg, is_train=False, source=source)
        clips = DatasetFromList(dicts, copy=False)
        stream = ClipStream(clips, mapper, board, VideoOrderSampler(dicts, batch_size))
        return ClipLoader(stream, batch_size=None, num_workers=workers, timeout=timeout)
    dicts = DatasetCatalog.get(dataset_name)
    check_not_empty(dicts, dataset_name, "clips")
    check_tasks(cfg, dataset_name)
    if cfg.TEST.AUDIO_MODE == "swap":
        swap_audio(dicts)
    mapper = SegmentMapper(cfg, is_train=False)
    times = TimeDataset(dicts, cfg.TEST.VIEWS.TEMPORAL, cfg.TEST.VIEWS.SPATIAL)
    return ClipLoader(
        ClipItems(times, mapper.read_crops, board),
        sampler=InferenceSampler(len(times)),
        batch_size=batch_size,
        num_workers=workers,
        timeout=timeout,
    )


class TimeDataset(Dataset):
    """Every clip once for each of its times, with the index of the first ``view`` at that time."""

    def __init__(self, dicts: list[dict], temporal: int, spatial: int) -> None:
        self.clips = DatasetFromList(dicts, copy=False)
        self.temporal, self.spatial = temporal, spatial

    def __len__(self) -> int:
        return len(self.clips) * self.temporal

    def __getitem__(self, i: int) -> dict:
        clip, time = divmod(i, self.temporal)
        return {**self.clips[clip], "view": time * self.spatial}


def keyframes_to_test(cfg: CfgNode, dataset_name: str) -> list[dict]:
    """Load the keyframes of a test set that have a person box, see :func:`attach_test_boxes`."""
    dataset, stride = DatasetCatalog.get(dataset_name), cfg.DATASETS.KEYFRAME_STRIDE_TEST
    if stride > 1 and MetadataCatalog.get(dataset_name).evaluator_type == "ava":
        raise ConfigError(
            f"DATASETS.KEYFRAME_STRIDE_TEST is {stride}, but the annotations of '{dataset_name}' "
            "are scored as a whole; it must be 1"
        )
    dataset = take_every(dataset, stride)
    check_num_classes(cfg, dataset_name)
    dicts = attach_test_boxes(cfg, dataset, dataset_name)
    if cfg.TEST.AUDIO_MODE == "swap":
        swap_audio(dicts)
    return dicts


def swap_audio(dataset: list[dict]) -> None:
    """Give each dict an ``audio_from``: the clip half a dataset away, of another video."""
    if len({d["video_id"] for d in dataset}) < 2:
        raise ConfigError("TEST.AUDIO_MODE swap needs at least two videos")
    span = ("timestamp", "offset", "clock", "start_sec", "end_sec")
    keys = ("file_name", "source", "image_id", *span)
    sources = [{key: d[key] for key in keys if key in d} for d in dataset]
    for i, d in enumerate(dataset):
        j = (i + len(dataset) // 2) % len(dataset)
        while dataset[j]["video_id"] == d["video_id"]:
            j = (j + 1) % len(dataset)
        d["audio_from"] = sources[j]
