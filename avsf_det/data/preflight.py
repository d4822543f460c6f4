"""What a training checks before it starts: all its annotations, also those of the evaluation."""

import logging
import os
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

from detectron2.config import CfgNode
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.utils import comm
from tqdm import tqdm

from ..structures import AVSFError, ConfigError
from ..structures.addresses import is_address
from .build import keyframes_to_test
from .checks import check_tasks, has_keyframes
from .datasets.annotation_files import first_few
from .keyframe_mapper import keyframe_second
from .video import VideoDecodeError, VideoReader

CLASSES_SHOWN = 12
PATIENCE = 3.0  # seconds after which a progress bar appears

logger = logging.getLogger(__name__)


def check_training_data(cfg: CfgNode) -> None:
    """Read the annotations of DATASETS.TRAIN and DATASETS.TEST, and log what is in them.

    With DATASETS.CHECK_SECONDS each second must be within its video: one that is not would stop
    the evaluation, after the training. The first process checks; all raise the same error.

    Raises:
        AVSFError: an annotation cannot be used.
    """
    problem = ""
    if comm.is_main_process() and cfg.INPUT.KIND != "frames":
        try:
            _check(cfg)
        except AVSFError as error:
            problem = str(error)
    problem = comm.all_gather(problem)[0]
    if problem:
        raise AVSFError(problem)


def _check(cfg: CfgNode) -> None:
    latest: dict[str, dict] = {}  # file -> dataset dict of its last second
    trained, tested = set(), set()
    for name in dict.fromkeys((*cfg.DATASETS.TRAIN, *cfg.DATASETS.TEST)):
        is_tested = name in cfg.DATASETS.TEST
        if has_keyframes(cfg, name):
            dicts = keyframes_to_test(cfg, name) if is_tested else DatasetCatalog.get(name)
            logger.info(_describe_keyframes(name, dicts))
        else:
            dicts = DatasetCatalog.get(name)
            check_tasks(cfg, name)
            logger.info(f"{name}: {len(dicts)} clips")
        files = {d["file_name"] for d in dicts}
        tested |= files if is_tested else set()
        trained |= files if name in cfg.DATASETS.TRAIN else set()
        for d in dicts:
            if _last_second(d) > _last_second(latest.get(d["file_name"], {})):
                latest[d["file_name"]] = d
    if shared := sorted(trained & tested):
        logger.warning(
            f"{len(shared)} videos are in DATASETS.TRAIN and in DATASETS.TEST; the figures are too "
            f"good: {first_few(shared)}"
        )
    if cfg.DATASETS.CHECK_SECONDS:
        _check_seconds([d for d in latest.values() if not is_address(d["file_name"])], tested)


def _last_second(dataset_dict: dict) -> float:
    """Return the second of the file that must be in it; -1 for a clip that is a whole file."""
    if "timestamp" in dataset_dict:
        return dataset_dict["timestamp"] - dataset_dict["offset"]
    return dataset_dict.get("start_sec", -1.0)


def _describe_keyframes(name: str, dicts: list[dict]) -> str:
    counts = Counter(i for d in dicts for a in d["annotations"] for i in a["action_ids"])
    classes = MetadataCatalog.get(name).action_classes
    shown = [f"{classes[i]} {number}" for i, number in counts.most_common(CLASSES_SHOWN)]
    more = f", and {len(counts) - len(shown)} more" if len(counts) > len(shown) else ""
    none = [classes[i] for i in range(len(classes)) if i not in counts]
    return (
        f"{name}: {len(dicts)} keyframes in {len({d['video_id'] for d in dicts})} videos, "
        f"{sum(len(d['annotations']) for d in dicts)} boxes; boxes by action: "
        f"{', '.join(shown)}{more}" + (f"; without a box: {first_few(none)}" if none else "")
    )


def _check_seconds(dicts: list[dict], tested: set[str]) -> None:
    """Compare the last second of each file with its length.

    Args:
        dicts: a dataset dict of each file.
        tested: files of the evaluation, which must be readable; in training bad files are replaced.
    """
    errors = []
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        found = pool.map(_find_error, dicts)
        title = "videos (DATASETS.CHECK_SECONDS)"
        for d, error in zip(dicts, tqdm(found, title, len(dicts), delay=PATIENCE), strict=True):
            if error and (d["file_name"] in tested or isinstance(error, ConfigError)):
                errors.append(error)
            elif error:
                logger.warning(f"Cannot be read, will be replaced: {error}")
    if errors:
        more = f"{len(errors)} videos cannot be used; the first: " if len(errors) > 1 else ""
        raise AVSFError(f"{more}{errors[0]}")


def _find_error(dataset_dict: dict) -> AVSFError | None:
    """Return what is wrong: a ConfigError of a second that is not in the file."""
    try:
        with VideoReader(dataset_dict["file_name"]) as video:
            try:
                if "timestamp" in dataset_dict:
                    keyframe_second(dataset_dict, video)
                elif _last_second(dataset_dict) > video.duration:
                    return ConfigError(
                        f"{dataset_dict['source']}: starts at {dataset_dict['start_sec']:g} s of "
                        f"{dataset_dict['file_name']}, which lasts {video.duration:g} s."
                    )
            except VideoDecodeError as error:
                return ConfigError(error)
    except VideoDecodeError as error:
        return error
    return None
