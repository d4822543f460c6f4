"""Write the features of many videos, one npz each; a killed run loses at most one video."""

import logging
import os
from collections.abc import Mapping
from typing import Any

import numpy as np
from tqdm import tqdm

from ava_tools.support.ranks import file_size, gather, take_share
from avsf_det.data import VideoDecodeError
from avsf_det.data.datasets.annotation_files import strip_extension
from avsf_det.engine.feature_extractor import FeatureError, FeatureExtractor, Persons
from avsf_det.structures.addresses import stem_of
from avsf_det.utils.atomic import atomic_path
from avsf_det.utils.npz import read_npz

logger = logging.getLogger(__name__)


def write_features(
    extractor: FeatureExtractor,
    videos: Mapping[str, str | None],
    output: str,
    *,
    hop: float = 1.0,
    persons: Mapping[str, Persons] | None = None,
) -> dict[str, list[str]]:
    """Write the features of each video to an npz; existing files are kept, processes share them.

    An npz holds the arrays of :class:`FeatureExtractor`, its settings, "hop" (0 with persons) and
    "video", the path of the file.

    Args:
        extractor: the feature extractor.
        videos: name to path, None where the file is missing. "a/b.mp4" is written to
            "<output>/a/b.npz".
        output: folder of the npz files.
        hop: seconds between clips.
        persons: person boxes by the file's name without extension; other videos are left out.

    Returns:
        of all processes, sorted: the npz files "written", "kept" and "left out"; and under "bad"
        the errors of bad videos.

    Raises:
        FeatureError: two videos have the same npz, or one outside of ``output``; an existing npz
            was made with other settings; there are no persons of any video.
    """
    settings = {**extractor.settings, "hop": hop if persons is None else 0.0}
    done: dict[str, list[str]] = {"written": [], "kept": [], "left out": [], "bad": []}
    files = take_share([*_name_files(videos, output).items()], lambda item: file_size(item[1]))
    for file, path in tqdm(files, "videos", mininterval=2):
        if path is None:
            done["bad"].append(f"{file}: there is no video for it")
            continue
        boxes = None if persons is None else persons.get(stem_of(path), {})
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
                contents: dict[str, Any] = {**arrays, **settings, "video": path}
                with atomic_path(file) as temporary:
                    np.savez(temporary, **contents)
                done["written"].append(file)
    done = {what: sorted(gather(files)) for what, files in done.items()}
    if len(done["left out"]) == len(videos):
        named = ", ".join(list(persons or {})[:3])
        raise FeatureError(f"there are boxes of {named}, ...: of no video")
    return done


def _name_files(videos: Mapping[str, str | None], output: str) -> dict[str, str | None]:
    """Return the path of each npz with the path of its video."""
    files: dict[str, str | None] = {}
    names: dict[str, str] = {}
    for name, path in videos.items():
        stem = strip_extension(os.path.normpath(name))
        if os.path.isabs(stem) or stem.startswith(".."):
            raise FeatureError(f"{name}: is not below the folder of the list; move one of them")
        file = f"{os.path.join(output, stem)}.npz"
        if file in files:
            raise FeatureError(f"{file}: {names[file]} and {name} go there; rename one")
        files[file], names[file] = path, name
    return files


def _check_settings(file: str, settings: dict) -> None:
    try:
        arrays = read_npz(file)
    except ValueError as error:
        raise FeatureError(f"{error}. Choose another folder, or delete it") from None
    for name, value in settings.items():
        if name not in arrays or not np.array_equal(arrays[name], value):
            raise FeatureError(
                f"{file}: is there, but made with another '{name}'. Choose another folder, or "
                "delete it"
            )
