"""Find the videos that annotation files of any format name."""

import logging
import os
from collections.abc import Iterable

from avsf_det.data.datasets.annotation_files import (
    find_videos,
    first_few,
    is_path_list,
    present_files,
    read_header,
    read_path_list,
    read_table,
    strip_extension,
)
from avsf_det.data.video.formats import VIDEO_EXTENSIONS, count_endings, printable
from avsf_det.structures import AnnotationError
from avsf_det.structures.addresses import is_address, join, list_folder
from avsf_det.structures.text_file import read_rows, reading

logger = logging.getLogger(__name__)


def read_video_ids(files: Iterable[str]) -> list[str]:
    """Read video ids from AVA's csv files or from lists of file names.

    Returns:
        Distinct ids of the first column, without video extension, sorted.

    Raises:
        AnnotationError: a file cannot be read or names no video.
    """
    ids = set()
    for file in files:
        found = {strip_extension(row[0].strip()) for _, row in read_rows(file)}
        if not found:
            raise AnnotationError(f"{file}: names no video. The first column must be the video id.")
        ids |= found
    return sorted(ids)


def videos_in(folder: str) -> dict[str, str]:
    """Find all videos of a folder, at any depth; of an address, those in the folder itself.

    Returns:
        Path relative to the folder -> file, sorted by file.

    Raises:
        AnnotationError: the folder is missing or has no video; a sub-folder cannot be read.
    """

    def refuse(error: OSError) -> None:
        raise AnnotationError(f"{error.filename}: cannot be read ({error.strerror})")

    if is_address(folder):
        with reading(folder):
            names = sorted(list_folder(folder) or ())
        return {name: join(folder, name) for name in names if _is_video(name)}
    files, others, visited = [], [], set()
    for parent, folders, names in os.walk(folder, onerror=refuse, followlinks=True):
        place = os.path.realpath(parent)
        if place in visited:  # links may form a circle
            folders.clear()
            continue
        visited.add(place)
        for name in names:
            if _is_video(name):
                files.append(os.path.join(parent, name))
            else:
                others.append(name)
    if not files:
        endings = " ".join(VIDEO_EXTENSIONS).replace(".", "")
        there = f"{count_endings(others)}; videos end in {endings}."
        raise AnnotationError(f"{printable(folder)}: no video there. {there}")
    # Hidden files are none of the user's, but hidden videos may be.
    others = sorted(x for x in others if x[0] != "." or x.lower().endswith(VIDEO_EXTENSIONS))
    if others:
        logger.warning(
            f"{printable(folder)}: {len(others)} files left out, which do not end as videos or are "
            f"hidden: {first_few(others)}"
        )
    return {os.path.relpath(file, folder): file for file in sorted(files)}


def videos_of(annotations: str, video_dir: str) -> dict[str, str | None]:
    """Find the videos that an annotation file names.

    Args:
        annotations: csv of clips (columns video or path, label), lines "path label", or AVA's csv.
        video_dir: folder of the videos.

    Returns:
        Path or video id -> file; None where it is missing.

    Raises:
        AnnotationError: a bad row, a missing folder, or an official csv of Kinetics.
    """
    header = read_header(annotations)
    if "youtube_id" in header:
        raise AnnotationError(
            f"{annotations}: an official csv of Kinetics names videos, not files. Let "
            "prepare_video_lists.py make a list of the files first."
        )
    # Three formats: named columns, lines "path label", or AVA's csv without header.
    if column := next((name for name in ("path", "video") if name in header), None):
        paths = [path for _, (path,) in read_table(annotations, (column,))]
    elif is_path_list(annotations):
        paths = [path for _, path, _ in read_path_list(annotations)]
    else:
        ids = read_video_ids([annotations])
        found = find_videos(video_dir, ("*", "*/*"), ids)
        return {video_id: found.get(video_id) for video_id in ids}
    paths = sorted(set(paths))  # a video with several segments has several rows
    return dict(zip(paths, present_files(video_dir, paths), strict=True))


def last_seconds(annotations: str, offset: float = 0.0) -> dict[str, float]:
    """Return the last second of each video in an annotation file, on the clock of the video file.

    Args:
        annotations: as of :func:`videos_of`; of whole clips nothing is returned.
        offset: second of the csv's clock at which the videos start.

    Raises:
        AnnotationError: a bad row.
    """
    header = read_header(annotations)
    latest: dict[str, float] = {}
    if column := next((name for name in ("path", "video") if name in header), None):
        rows = read_table(annotations, (column,), ("start",))
        seconds = ((name, place, start) for place, (name, start) in rows if start)
    elif is_path_list(annotations):
        return {}
    else:
        rows = (
            (place, row) for place, row in read_rows(annotations, comments=True) if len(row) > 1
        )
        seconds = ((strip_extension(row[0].strip()), place, row[1]) for place, row in rows)
    for name, place, text in seconds:
        try:
            second = float(text) - offset
        except ValueError:
            raise AnnotationError(f"{place}: '{text}' is no number of seconds.") from None
        latest[name] = max(second, latest.get(name, second))
    return latest


def _is_video(name: str) -> bool:
    return name.lower().endswith(VIDEO_EXTENSIONS) and not name.startswith(".")
