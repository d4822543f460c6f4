"""Train and test loaders: Detectron2's, of keyframes with person boxes joined to them, or of clips
in views."""

import logging

import numpy as np
from detectron2.data import (
    DatasetCatalog,
    DatasetFromList,
    MetadataCatalog,
    build_detection_test_loader,
    build_detection_train_loader,
    get_detection_dataset_dicts,
)
from detectron2.data.common import ToIterableDataset
from detectron2.data.samplers import TrainingSampler
from torch.utils.data import Dataset

from .dataset_mapper import ClipMapper, KeyframeMapper, SegmentMapper
from .datasets.annotation_files import without_garbage_collection
from .datasets.ava import add_detected_keyframes, load_excluded, load_person_boxes
from .movie_mapper import MovieMapper
from .person_mapper import PersonMapper
from .samplers import VideoOrderSampler

# Meta-architectures of Detectron2 that are trained to find persons in single frames.
PERSON_DETECTORS = ("GeneralizedRCNN", "RetinaNet")

# Boxes float32 (N, 4) in 0..1 and scores float32 (N,) of a keyframe.
PersonBoxes = tuple[np.ndarray, np.ndarray]

logger = logging.getLogger(__name__)


@without_garbage_collection()
def build_clip_train_loader(cfg):
    """The training loader of ``cfg.DATASETS.TRAIN``: batches of model inputs (contract 2)."""
    if cfg.MODEL.META_ARCHITECTURE in PERSON_DETECTORS:
        dicts, mapper = _training_frames(cfg), PersonMapper(cfg, is_train=True)
    elif has_keyframes(cfg, cfg.DATASETS.TRAIN[0]):
        dicts, mapper = _training_keyframes(cfg), KeyframeMapper(cfg, is_train=True)
    else:
        dicts, mapper = _training_clips(cfg), SegmentMapper(cfg, is_train=True)
    clips = DatasetFromList(dicts, copy=False)
    # Releases of Detectron2 after 0.6 seed their default sampler with SEED, even where that is -1.
    sampler = None
    if cfg.DATALOADER.SAMPLER_TRAIN == "TrainingSampler":
        sampler = TrainingSampler(len(clips))
    return build_detection_train_loader(
        cfg, dataset=clips, mapper=BadClipReplacer(mapper, clips), sampler=sampler
    )


def has_keyframes(cfg, dataset_name: str) -> bool:
    """Whether a data set is of keyframes with person boxes, or else of clips with classes.

    Raises:
        ValueError: if it is of the kind that the model cannot take.
    """
    keyframes = MetadataCatalog.get(dataset_name).evaluator_type == "ava"
    model = cfg.MODEL.META_ARCHITECTURE
    takes_keyframes = {"ActionDetector": True, "ClipClassifier": False, "AVPretrainer": False}
    takes_keyframes |= dict.fromkeys(PERSON_DETECTORS, True)
    if takes_keyframes.get(model, keyframes) != keyframes:
        kind = "keyframes with person boxes" if keyframes else "clips without person boxes"
        raise ValueError(
            f"Data set '{dataset_name}' is of {kind}, which is not for MODEL.META_ARCHITECTURE "
            f"'{model}'"
        )
    return keyframes


def _training_keyframes(cfg) -> list[dict]:
    """Ground-truth boxes are the proposals, as published; ``DATASETS.PROPOSAL_FILES_TRAIN`` adds
    detected person boxes, of which the model uses those that match one."""
    files = cfg.DATASETS.PROPOSAL_FILES_TRAIN
    if files and len(files) != len(cfg.DATASETS.TRAIN):
        raise ValueError("DATASETS.PROPOSAL_FILES_TRAIN needs one file per entry of DATASETS.TRAIN")
    dicts = []
    for i, name in enumerate(cfg.DATASETS.TRAIN):
        dataset = get_detection_dataset_dicts(name, filter_empty=True)
        check_num_classes(cfg, name)
        if files:
            dataset = attach_person_boxes(
                dataset, load_person_boxes(files[i]), cfg.DATASETS.PROPOSAL_MIN_SCORE_TRAIN
            )
        dicts += dataset
    return dicts


def _training_frames(cfg) -> list[dict]:
    """The annotated keyframes, of which a person detector learns the boxes."""
    if cfg.DATASETS.TEST:
        raise ValueError(
            "DATASETS.TEST must be () for a person detector: its training ends without a test. "
            "Then ava_tools/detect_persons.py scores it on a data set."
        )
    for name in cfg.DATASETS.TRAIN:
        has_keyframes(cfg, name)
    return get_detection_dataset_dicts(cfg.DATASETS.TRAIN, filter_empty=True)


def _training_clips(cfg) -> list[dict]:
    dicts = []
    for name in cfg.DATASETS.TRAIN:
        dataset = DatasetCatalog.get(name)
        check_tasks(cfg, name)
        unlabelled = next((d for d in dataset if not d["labels"]), None)
        if unlabelled and cfg.MODEL.CLIP_HEAD.TASKS:
            raise ValueError(
                f"Data set '{name}' has clips without labels, the first at "
                f"{unlabelled['source']}. It cannot be trained on."
            )
        dicts += dataset
    return dicts


class BadClipReplacer:
    """A training mapper that, for a clip that cannot be read, takes another one at random.

    Detectron2's ``MapDataset`` means to do this, by ``random.sample`` of a set, which Python 3.11
    no longer allows. ``ClipMapper`` stops the search when too many clips are bad.
    """

    def __init__(self, mapper: ClipMapper, dataset: DatasetFromList):
        self.mapper = mapper
        self.dataset = dataset

    def __call__(self, dataset_dict: dict) -> dict:
        clip = self.mapper(dataset_dict)
        while clip is None:
            clip = self.mapper(self.dataset[np.random.randint(len(self.dataset))])
        return clip


@without_garbage_collection()
def build_clip_test_loader(cfg, dataset_name: str):
    """The test loader of one data set: one clip a batch, each exactly once over all processes.
    Keyframes are read in one pass through each movie."""
    keyframes = has_keyframes(cfg, dataset_name)
    if keyframes:
        dicts, mapper = keyframes_to_test(cfg, dataset_name), MovieMapper(cfg)
    else:
        dicts, mapper = DatasetCatalog.get(dataset_name), SegmentMapper(cfg, is_train=False)
        check_tasks(cfg, dataset_name)
    if cfg.TEST.AUDIO_MODE == "swap":
        swap_sounds(dicts)
    if keyframes:
        clips = DatasetFromList(dicts, copy=False)
        dataset = ToIterableDataset(clips, VideoOrderSampler(dicts), shard_sampler=False)
    else:
        dataset = ViewDataset(dicts, cfg.TEST.VIEWS.TEMPORAL * cfg.TEST.VIEWS.SPATIAL)
    return build_detection_test_loader(
        dataset, mapper=mapper, num_workers=cfg.DATALOADER.NUM_WORKERS
    )


class ViewDataset(Dataset):
    """Every clip ``num_views`` times in a row, with the number of its ``view``."""

    def __init__(self, dicts: list[dict], num_views: int):
        self.clips = DatasetFromList(dicts, copy=False)
        self.num_views = num_views

    def __len__(self) -> int:
        return len(self.clips) * self.num_views

    def __getitem__(self, i: int) -> dict:
        clip, view = divmod(i, self.num_views)
        return {**self.clips[clip], "view": view}


def keyframes_to_test(cfg, dataset_name: str) -> list[dict]:
    """The person boxes come from ``DATASETS.PROPOSAL_FILES_TEST`` or else from the file that the
    data set was registered with; keyframes that have only detected boxes are tested too, as the
    official protocol asks. With ``MODEL.LOAD_PROPOSALS False`` the ground-truth boxes serve."""
    dataset = DatasetCatalog.get(dataset_name)
    check_num_classes(cfg, dataset_name)
    file = person_box_file(cfg, dataset_name)
    if file:
        dataset = _with_detected_boxes(cfg, dataset, dataset_name, file)
    else:
        logger.info(f"Ground-truth boxes are the person boxes of '{dataset_name}'")
        dataset = [use_ground_truth_boxes(d) for d in dataset]
    kept = [d for d in dataset if len(d["proposals"]["boxes"])]
    logger.info(f"{len(kept)} of {len(dataset)} keyframes of '{dataset_name}' have a person box")
    if not kept:
        raise ValueError(
            f"No keyframe of '{dataset_name}' has a person box. Check the boxes' video ids and "
            "timestamps, and DATASETS.PROPOSAL_MIN_SCORE_TEST."
        )
    return kept


def check_tasks(cfg, dataset_name: str) -> None:
    """Compare the model's tasks with a data set's, which must have been loaded.

    Raises:
        ValueError: if a task is not the data set's, or has more classes than the model, or other
            classes than in the first training set; or one of them has several labels per clip.
    """
    metadata, head = MetadataCatalog.get(dataset_name), cfg.MODEL.CLIP_HEAD
    if head.TASKS and metadata.multi_label != (head.LOSS == "sigmoid"):
        number = "several labels" if metadata.multi_label else "one label"
        raise ValueError(
            f"Data set '{dataset_name}' has {number} per clip, which does not go with "
            f"MODEL.CLIP_HEAD.LOSS '{head.LOSS}'"
        )
    for task, given in zip(head.TASKS, head.NUM_CLASSES, strict=True):
        names = metadata.task_classes.get(task)
        if names is None:
            raise ValueError(
                f"Data set '{dataset_name}' has no task '{task}' of MODEL.CLIP_HEAD.TASKS; it has "
                f"{', '.join(metadata.task_classes)}"
            )
        if given < len(names):
            raise ValueError(
                f"Data set '{dataset_name}' has {len(names)} classes of '{task}', the model "
                f"{given}. Set MODEL.CLIP_HEAD.NUM_CLASSES."
            )
        trained = MetadataCatalog.get(cfg.DATASETS.TRAIN[0]).get("task_classes", {}).get(task)
        if trained is not None and trained != names:
            raise ValueError(
                f"Data sets '{cfg.DATASETS.TRAIN[0]}' and '{dataset_name}' have different classes "
                f"of '{task}'. Register both with the same list of classes."
            )


def check_num_classes(cfg, dataset_name: str) -> None:
    """Raise ValueError if the data set has more actions than the model."""
    needed = len(MetadataCatalog.get(dataset_name).action_classes)
    given = cfg.MODEL.ROI_ACTION_HEAD.NUM_CLASSES
    if given < needed:
        raise ValueError(
            f"Data set '{dataset_name}' has {needed} actions, the model {given}. "
            f"Set MODEL.ROI_ACTION_HEAD.NUM_CLASSES {needed}."
        )
    if given > needed:
        logger.warning(
            f"The model scores {given} actions, of which data set '{dataset_name}' has the first "
            f"{needed}. MODEL.ROI_ACTION_HEAD.NUM_CLASSES {needed} would do."
        )


def person_box_file(cfg, dataset_name: str) -> str:
    """The csv of a test set's person boxes; "" if the ground-truth boxes are to be used.

    Raises:
        ValueError: neither the config nor the data set names a file.
    """
    if not cfg.MODEL.LOAD_PROPOSALS:
        return ""
    files = cfg.DATASETS.PROPOSAL_FILES_TEST
    if files and len(files) != len(cfg.DATASETS.TEST):
        raise ValueError("DATASETS.PROPOSAL_FILES_TEST needs one file per entry of DATASETS.TEST")
    if files:
        return files[list(cfg.DATASETS.TEST).index(dataset_name)]
    file = MetadataCatalog.get(dataset_name).proposal_file
    if not file:
        raise ValueError(
            f"Data set '{dataset_name}' has no person boxes. Name a csv in "
            "DATASETS.PROPOSAL_FILES_TEST, or set MODEL.LOAD_PROPOSALS False to use the "
            "ground-truth boxes."
        )
    return file


def _with_detected_boxes(cfg, dataset: list[dict], dataset_name: str, file: str) -> list[dict]:
    metadata = MetadataCatalog.get(dataset_name)
    logger.info(f"Person boxes of '{dataset_name}': {file}")
    boxes_of = load_person_boxes(file)
    dataset = add_detected_keyframes(
        dataset,
        boxes_of,
        excluded=load_excluded(metadata.excluded_file) if metadata.excluded_file else (),
        valid_sec=metadata.valid_sec,
    )
    return attach_person_boxes(dataset, boxes_of, cfg.DATASETS.PROPOSAL_MIN_SCORE_TEST)


def attach_person_boxes(
    dataset: list[dict], boxes_of: dict[tuple[str, float], PersonBoxes], min_score: float
) -> list[dict]:
    """Copies of the dicts with ``proposals``: boxes (N, 4) in 0..1 and scores (N,), both float32.

    Args:
        boxes_of: (video id, timestamp) to person boxes.
        min_score: only boxes with at least this score are taken.
    """
    nothing = np.zeros((0, 4), np.float32), np.zeros(0, np.float32)
    result = []
    for d in dataset:
        boxes, scores = boxes_of.get((d["video_id"], d["timestamp"]), nothing)
        keep = scores >= min_score
        result.append({**d, "proposals": {"boxes": boxes[keep], "scores": scores[keep]}})
    return result


def use_ground_truth_boxes(dataset_dict: dict) -> dict:
    """A copy of the dict whose ``proposals`` are its annotated boxes, with score 1."""
    boxes = [annotation["bbox"] for annotation in dataset_dict["annotations"]]
    proposals = {
        "boxes": np.array(boxes, np.float32).reshape(-1, 4),
        "scores": np.ones(len(boxes), np.float32),
    }
    return {**dataset_dict, "proposals": proposals}


def swap_sounds(dataset: list[dict]) -> None:
    """Give each dict an ``audio_from``: the clip half a data set away, of another video."""
    videos = sorted({d["video_id"] for d in dataset})
    if len(videos) < 2:
        raise ValueError("TEST.AUDIO_MODE swap needs at least two videos")
    step = len(dataset) // 2
    keys = ("file_name", "source", "image_id", "timestamp", "offset", "start_sec", "end_sec")
    sources = [{key: d[key] for key in keys if key in d} for d in dataset]
    for i, d in enumerate(dataset):
        j = (i + step) % len(dataset)
        while dataset[j]["video_id"] == d["video_id"]:
            j = (j + 1) % len(dataset)
        d["audio_from"] = sources[j]
