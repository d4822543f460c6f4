"""Files of features, one for each video, in a way that a kill costs no more than one video."""

import logging
import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from tqdm import tqdm

from avsf_det.data import VideoDecodeError
from avsf_det.data.datasets.annotation_files import VIDEO_EXTENSIONS
from avsf_det.engine.feature_extractor import FeatureError, FeatureExtractor, Persons

logger = logging.getLogger(__name__)


def write_features(
    extractor: FeatureExtractor,
    videos: Mapping[str, str | None],
    output: str,
    *,
    hop: float = 1.0,
    persons: Mapping[str, Persons] | None = None,
) -> dict[str, list[str]]:
    """Write an npz for each video: what :class:`FeatureExtractor` gives, its settings, "hop" (0
    with persons) and "video", the file. Those that are there are not made again.

    Args:
        videos: name to file, None where it is missing. "a/b.mp4" goes to "<output>/a/b.npz".
        persons: by the file's name without extension; videos that are not in it are left out.

    Returns:
        "written", "kept" (those that were there) and "left out", npz files; and "bad", what is
        wrong with bad videos.

    Raises:
        FeatureError: two videos have one npz, or one outside of ``output``; one that is there was
            made with other settings; there are no persons of any video.
    """
    settings = {**extractor.settings, "hop": hop if persons is None else 0.0}
    done = {"written": [], "kept": [], "left out": [], "bad": []}
    for file, path in tqdm(_name_files(videos, output).items(), "videos", mininterval=2):
        if path is None:
            done["bad"].append(f"{file}: there is no video for it")
            continue
        boxes = None if persons is None else persons.get(Path(path).stem, {})
        if boxes == {}:
            done["left out"].append(file)
        elif os.path.exists(file):
            _check_settings(file, settings)
            done["kept"].append(file)
        else:
            try:
                arrays = extractor(path, hop=hop, persons=boxes)
            except VideoDecodeError as error:
                logger.error(error)
                done["bad"].append(str(error))
            else:
                _save(file, {**arrays, **settings, "video": path})
                done["written"].append(file)
    if len(done["left out"]) == len(videos):
        raise FeatureError(f"there are boxes of {', '.join(list(persons)[:3])}, ...: of no video")
    return done


def _name_files(videos: Mapping[str, str | None], output: str) -> dict[str, str | None]:
    """npz to video."""
    files, names = {}, {}
    for name, path in videos.items():
        stem, extension = os.path.splitext(os.path.normpath(name))
        stem = stem if extension.lower() in VIDEO_EXTENSIONS else stem + extension
        if os.path.isabs(stem) or stem.startswith(".."):
            raise FeatureError(f"{name}: is not below the folder of the list; move one of them")
        file = f"{os.path.join(output, stem)}.npz"
        if file in files:
            raise FeatureError(f"{file}: {names[file]} and {name} go there; rename one")
        files[file], names[file] = path, name
    return files


def _save(file: str, arrays: dict) -> None:
    """All of it or nothing."""
    os.makedirs(os.path.dirname(file) or ".", exist_ok=True)
    with open(f"{file}.part", "wb") as part:
        np.savez(part, **arrays)
    os.replace(f"{file}.part", file)


def _check_settings(file: str, settings: dict) -> None:
    with np.load(file) as arrays:
        for name, value in settings.items():
            if name not in arrays or not np.array_equal(arrays[name], value):
                raise FeatureError(
                    f"{file}: is there, but of another '{name}'. Name another folder, or delete it"
                )
