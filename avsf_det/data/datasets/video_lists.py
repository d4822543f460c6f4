"""Which videos annotation files name, whatever their format."""

import os
from collections.abc import Iterable

from .annotation_files import (
    VIDEO_EXTENSIONS,
    AnnotationError,
    find_videos,
    present_files,
    read_header,
    read_rows,
    read_table,
    reading,
)
from .clip_csv import is_path_list, read_path_list

_ANYWHERE = ("*", "*/*")


def read_video_ids(files: Iterable[str]) -> list[str]:
    """The ids in the first column of AVA's csv files, or of lists of file names. Each once, sorted.

    Raises:
        AnnotationError: a file cannot be read or names no video.
    """
    ids = set()
    for file in files:
        found = {_stem(row[0].strip()) for _, row in read_rows(file)}
        if not found:
            raise AnnotationError(f"{file}: names no video. The first column must be the video id.")
        ids |= found
    return sorted(ids)


def find_movies(video_dir: str, video_ids: Iterable[str]) -> dict[str, str]:
    """Id -> file, of those that are in a folder or in its folders."""
    return find_videos(video_dir, _ANYWHERE, set(video_ids))


def videos_in(folder: str) -> dict[str, str]:
    """Path relative to a folder -> file, of all videos at any depth, by name.

    Raises:
        AnnotationError: no such folder, or no video there.
    """
    with reading(folder), os.scandir(folder):
        pass  # os.walk takes a missing folder for an empty one
    files = [
        os.path.join(parent, name)
        for parent, _, names in os.walk(folder, followlinks=True)
        for name in names
        if name.lower().endswith(VIDEO_EXTENSIONS) and not name.startswith(".")
    ]
    if not files:
        raise AnnotationError(
            f"{folder}: no video there. Expected files with one of the extensions "
            f"{' '.join(VIDEO_EXTENSIONS)}."
        )
    return {os.path.relpath(file, folder): file for file in sorted(files)}


def videos_of(annotations: str, video_dir: str) -> dict[str, str | None]:
    """Path or video id -> file, None where it is missing, of the videos that annotations name.

    Args:
        annotations: csv of clips (columns video or path, label), "path label" lines, or AVA's csv.
        video_dir: where the videos are.

    Raises:
        AnnotationError: a bad row, no such folder, or an official csv of Kinetics.
    """
    header = read_header(annotations)
    if "youtube_id" in header:
        raise AnnotationError(
            f"{annotations}: an official csv of Kinetics names videos, not files. Let "
            "prepare_video_lists.py make a list of the files first."
        )
    if column := next((name for name in ("path", "video") if name in header), None):
        paths = [path for _, (path,) in read_table(annotations, (column,))]
    elif is_path_list(annotations):
        paths = [path for _, path, _ in read_path_list(annotations)]
    else:
        ids = read_video_ids([annotations])
        return {video_id: None for video_id in ids} | find_movies(video_dir, ids)
    paths = sorted(set(paths))
    return dict(zip(paths, present_files(video_dir, paths), strict=True))


def _stem(name: str) -> str:
    """A file name without its extension; video ids may contain dots."""
    stem, extension = os.path.splitext(name)
    return stem if extension.lower() in VIDEO_EXTENSIONS else name
