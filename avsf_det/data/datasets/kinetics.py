"""Kinetics-400, -600, -700 and subsets, from any of the three forms that users have on disk.

- the official csv ``label,youtube_id,time_start,time_end,split`` (columns in any order, others are
  ignored), with the clips cut to ``<youtube_id>_<start>_<end>.mp4``, the seconds as six digits, or
  to ``<youtube_id>.mp4``, in one folder or in a folder per class;
- a list of lines ``path label``, the paths in the folder of the videos;
- a folder that has a folder of videos for each class.

Test lists have no labels: their clips have empty ``labels``, and are evaluated without figures.
Class indices follow the alphabetical order of the class names.
"""

import os
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from typing import NamedTuple

from ...structures import AnnotationError
from ...structures.addresses import exists, is_folder, join, list_folder
from ...structures.text_file import reading
from ..video.formats import VIDEO_EXTENSIONS
from .annotation_files import (
    find_videos,
    inner_path,
    is_path_list,
    present_files,
    read_header,
    read_path_list,
    read_table,
    strip_extension,
    to_index,
)
from .clips import (
    ACTION_TASK,
    Loaded,
    attach_files,
    class_names_from,
    index_labels,
    load_class_names,
    make_clip,
    register_clips,
)

_NAMING = "<youtube_id>_<start, 6 digits>_<end, 6 digits>.mp4"
_COLUMNS = ("youtube_id", "time_start", "time_end")


class _Row(NamedTuple):
    place: str  # "file:line", or the video of a class folder
    label: str | None  # None in a test list
    video_id: str
    clip_id: str
    path: str  # empty in the official csv, which names no files


def register_kinetics(
    name: str,
    annotations: str,
    video_dir: str = "",
    *,
    class_files: Sequence[str] = (),
    num_classes: int | None = None,
    keep_classes: Collection[str] = (),
    allow_missing: bool = True,
    source: str = "",
) -> None:
    """Register a dataset in a form of Kinetics. ``DatasetCatalog.get(name)`` reads the files.

    Args:
        name: name in the catalogs.
        annotations: official csv, list, or folder of class folders.
        video_dir: folder of the videos; not needed for a folder of class folders.
        class_files: candidates for the source of the class names; the first that exists is read.
            Each is a file of one class name per line, or annotations of any split. Give train and
            val the same, so that their indices agree. Default: ``annotations``.
        num_classes: expected number of classes; None: any.
        keep_classes: class names whose clips are kept, with unchanged indices; default all.
        allow_missing: leave out clips whose video is missing and log how many. Many clips of the
            official lists are no longer available.
        source: where to get the files; shown if one is missing.
    """
    options: dict = {"keep_classes": keep_classes, "allow_missing": allow_missing}

    def load() -> Loaded:
        # A class list is preferred; otherwise train gives the classes of both splits.
        class_file = next(filter(exists, class_files), annotations)
        class_names = load_kinetics_classes(class_file, num_classes)
        return load_kinetics(annotations, video_dir, class_names, **options), class_names

    paths = {"annotations": annotations, "videos": video_dir}
    register_clips(name, load, paths, _NAMING, source)


def load_kinetics(
    annotations: str,
    video_dir: str,
    class_names: Sequence[str],
    *,
    keep_classes: Collection[str] = (),
    allow_missing: bool = True,
) -> list[dict]:
    """Read the clips, with the arguments of :func:`register_kinetics`, in the order of the file."""
    unknown = sorted(set(keep_classes) - set(class_names))
    if unknown:
        raise AnnotationError(
            f"{annotations}: no class '{unknown[0]}' to keep, among {len(class_names)} classes. "
            "Give a class file with the official names."
        )
    rows = _read_annotations(annotations)
    texts = [(row.place, [] if row.label is None else [row.label]) for row in rows]
    # All rows are checked, indexed and looked up before classes are dropped.
    indices, _ = index_labels(texts, class_names)
    found = _find_files(rows, annotations, video_dir)
    clips, files = [], []
    for row, index, file in zip(rows, indices, found, strict=True):
        if not keep_classes or any(class_names[i] in keep_classes for i in index):
            labels = {ACTION_TASK: index[0]} if index else {}
            clips.append(make_clip(row.place, row.clip_id, labels, video_id=row.video_id))
            files.append(file)
    folder = video_dir or annotations
    return attach_files(clips, files, folder, annotations, _NAMING, allow_missing)


def load_kinetics_classes(path: str, num_classes: int | None = None) -> list[str]:
    """Read class names from a file with one per line, or from annotations in any form.

    Args:
        path: file, or folder of class folders.
        num_classes: expected number of classes; None: any. A list of indices may lack the last.

    Raises:
        AnnotationError: the number of classes is not ``num_classes``.
    """
    if is_folder(path) or _is_official(path) or is_path_list(path):
        names = class_names_from(
            ((r.place, r.label) for r in _read_annotations(path) if r.label is not None),
            num_classes,
        )
        if not names:
            raise AnnotationError(
                f"{path}: no labels, so the names of the classes are unknown. Give class_files."
            )
    else:
        names = load_class_names(path)
    if num_classes not in (None, len(names)):
        raise AnnotationError(
            f"{path}: {len(names)} classes, but the dataset has {num_classes}. Give "
            "a file with all class names, one a line (annotations/label_map.txt of a built-in "
            "dataset); or register your selection by register_kinetics, under a name of its own."
        )
    return names


def _is_official(path: str) -> bool:
    return "youtube_id" in read_header(path)


def _read_annotations(path: str) -> list[_Row]:
    if is_folder(path):
        return list(_read_class_folders(path))
    if _is_official(path):
        has_labels = "label" in read_header(path)  # official test lists have none
        return [
            _Row(place, label if has_labels else None, id_, _clip_id(place, id_, start, end), "")
            for place, (id_, start, end, label) in read_table(path, _COLUMNS, ["label"])
        ]
    # In a list, the file name without extension is the id of video and clip.
    rows = [
        (row, strip_extension(os.path.basename(row[1].replace("\\", "/"))))
        for row in read_path_list(path)
    ]
    return [_Row(place, label or None, stem, stem, file) for (place, file, label), stem in rows]


def _read_class_folders(folder: str) -> Iterator[_Row]:
    with reading(folder):
        labels = sorted(list_folder(folder) or ())
    for label in filter(lambda label: is_folder(join(folder, label)), labels):
        for name in sorted(list_folder(join(folder, label)) or ()):
            stem, extension = os.path.splitext(name)
            if extension.lower() in VIDEO_EXTENSIONS:
                path = os.path.join(label, name)
                yield _Row(join(folder, path), label, stem, stem, path)


def _clip_id(place: str, video_id: str, start: str, end: str) -> str:
    first, last = to_index(start), to_index(end)
    if first is None or last is None or first >= last:
        raise AnnotationError(
            f"{place}: time_start '{start}' and time_end '{end}'. They must be whole seconds of "
            "the original video, the end after the start."
        )
    return f"{video_id}_{first:06d}_{last:06d}"


def _find_files(rows: Sequence[_Row], annotations: str, video_dir: str) -> list[str | None]:
    """Return the file of each row; None where it is missing."""
    # Lists and class folders name files.
    if rows and rows[0].path:
        folder = annotations if is_folder(annotations) else video_dir
        return present_files(folder, [inner_path(r.place, r.path, folder) for r in rows])
    # <youtube_id>.mp4 identifies a clip only if the annotations have a single clip of that video.
    num_clips = Counter(row.video_id for row in rows)
    candidates = [
        (row.clip_id, row.video_id) if num_clips[row.video_id] == 1 else (row.clip_id,)
        for row in rows
    ]
    found = find_videos(video_dir, ("*", "*/*"), {stem for stems in candidates for stem in stems})
    return [next((found[s] for s in stems if s in found), None) for stems in candidates]
