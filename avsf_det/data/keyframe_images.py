"""Keyframes as image files: the dataset that one of Detectron2's detectors is trained on."""

import logging
import os
import zlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import groupby
from pathlib import Path

import numpy as np
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.structures import BoxMode
from detectron2.utils import comm
from PIL import Image
from tqdm import tqdm

from ..utils.atomic import atomic_path
from .keyframe_mapper import keyframe_second
from .video import SequentialVideoReader, VideoDecodeError

logger = logging.getLogger(__name__)


def register_keyframe_images(
    name: str, folder: str | Path = "", *, max_bad_fraction: float = 0.0
) -> str:
    """Register the images of a dataset's annotated keyframes, with its boxes as persons.

    The images are lossless and are written when the dataset is first loaded. A later load, or one
    after a run that was killed, writes only those that are missing.

    Args:
        name: registered dataset in AVA's format.
        folder: folder for the images; "": ``$DETECTRON2_DATASETS/<name>_frames``.
        max_bad_fraction: largest fraction of keyframes that cannot be read, 0..1. They are logged
            and left out; more are a VideoDecodeError when the dataset is loaded.

    Returns:
        name of the registered dataset, ``<name>_frames``. Its ``bbox`` are in pixels.
    """
    frames = f"{name}_frames"
    root = Path(os.path.expanduser(os.getenv("DETECTRON2_DATASETS", "datasets")))
    folder = Path(folder or root / frames)
    if frames in DatasetCatalog.list():
        DatasetCatalog.remove(frames)
    DatasetCatalog.register(
        frames, lambda: _load_keyframe_images(DatasetCatalog.get(name), folder, max_bad_fraction)
    )
    MetadataCatalog.get(frames).set(thing_classes=["person"])
    return frames


def _load_keyframe_images(
    keyframes: Sequence[dict], folder: Path, max_bad_fraction: float
) -> list[dict]:
    """Write the images of keyframes that are missing; return Detectron2's dataset dicts."""
    digests = {name: _digest(name) for name in {d["file_name"] for d in keyframes}}
    paths = []
    for d in keyframes:
        images = folder / f"{d['video_id']}-{digests[d['file_name']]}"
        paths.append(images / f"{d['timestamp'] - d['offset']:.6f}.png")
    missing = [pair for pair in zip(keyframes, paths, strict=True) if not pair[1].exists()]
    _write_images(missing, len(digests))
    comm.synchronize()  # each process writes the images of a part of the videos
    sizes: dict[Path, tuple[int, int]] = {}  # of the frames of a video: width, height
    result = []
    for keyframe, path in zip(keyframes, paths, strict=True):
        if path.exists():
            if path.parent not in sizes:
                with Image.open(path) as image:  # reads the header only
                    sizes[path.parent] = image.size
            result.append(_image_dict(keyframe, path, *sizes[path.parent]))
    num_bad = len(keyframes) - len(result)
    if num_bad > max_bad_fraction * len(keyframes) or not result:
        raise VideoDecodeError(
            f"{num_bad} of {len(keyframes)} keyframes could not be read, more than "
            f"DATALOADER.MAX_BAD_CLIPS = {max_bad_fraction}. The log names them."
        )
    return result


def _digest(file_name: str) -> str:
    """Return 8 hexadecimal digits that change with a video file, so that no image is outdated."""
    stat = os.stat(file_name) if os.path.isfile(file_name) else None
    version = (stat.st_size, stat.st_mtime_ns) if stat else ()
    return f"{zlib.crc32(repr((os.path.abspath(file_name), version)).encode()):08x}"


def _write_images(missing: list[tuple[dict, Path]], num_videos: int) -> None:
    """Write images of (keyframe, path) in threads, a video each, with a progress line."""
    missing.sort(key=lambda pair: (pair[0]["file_name"], pair[0]["timestamp"]))
    videos = [list(group) for _, group in groupby(missing, lambda pair: pair[0]["file_name"])]
    videos = videos[comm.get_rank() :: comm.get_world_size()]
    if not videos:
        return
    logger.info(f"Writing {len(missing)} images of the keyframes of {num_videos} videos")
    total = sum(map(len, videos))
    with tqdm(total=total, desc="images", mininterval=2, disable=None) as progress:
        pool = ThreadPoolExecutor(os.cpu_count())
        try:
            for done in pool.map(_write_images_of_video, videos):
                progress.update(done)
        finally:
            pool.shutdown(cancel_futures=True)


def _write_images_of_video(pairs: list[tuple[dict, Path]]) -> int:
    """Write the images of one video's keyframes in time order; return their number."""
    try:
        with SequentialVideoReader(pairs[0][0]["file_name"]) as video:
            for keyframe, path in pairs:
                try:
                    second = keyframe_second(keyframe, video)
                    (frame,) = video.get_frames_played_at([second])
                except VideoDecodeError as error:
                    logger.warning(f"Bad keyframe, left out: {error}")
                    continue
                with atomic_path(path) as temporary:
                    # Level 1 is several times faster than the default, for slightly larger files.
                    Image.fromarray(frame).save(temporary, compress_level=1)
    except VideoDecodeError as error:
        logger.warning(f"{len(pairs)} bad keyframes, left out: {error}")
    return len(pairs)


def _image_dict(keyframe: dict, path: Path, width: int, height: int) -> dict:
    """Return Detectron2's dataset dict of an image; every box is a person."""
    size = {"height": height, "width": width}
    boxes = [np.multiply(a["bbox"], (width, height) * 2) for a in keyframe["annotations"]]
    person = {"bbox_mode": BoxMode.XYXY_ABS, "category_id": 0}
    annotations = [{"bbox": box, **person} for box in boxes]
    image = {"file_name": str(path), "image_id": keyframe["image_id"], **size}
    return image | {"annotations": annotations}
