"""Labelled clips: what the parsers of all clip datasets share.

Dataset dict of a clip: ``file_name``; ``video_id``; ``clip_id``, unique in the dataset;
``start_sec`` and ``end_sec`` in seconds of the file if the annotation gives a segment, else the
clip is the whole file; ``labels``, task -> class index or sorted list of class indices;
``source``, "file:line" of the annotation.

Every reader raises an AnnotationError for a bad row, an unknown class or one out of range, a clip
that occurs twice, and a missing video (with ``allow_missing``, if there is none at all).
"""

import difflib
import logging
import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from detectron2.data import DatasetCatalog, MetadataCatalog

from ...structures import AnnotationError
from .annotation_files import (
    check_present,
    find_videos,
    first_few,
    is_number,
    normal_form,
    read_lines,
    to_index,
)

logger = logging.getLogger(__name__)

_NO_ID = re.compile(r"^$|^/|(?:^|/)\.\.(?:/|$)|[\x00-\x1f\x7f]")
_MAX_SECOND = 1e9  # 31 years; a larger time is a number of another kind
_MAX_CLASSES = 100_000
ACTION_TASK = "action"  # name of the task in datasets that have a single task
# Dataset dicts, and class names by task, or those of the single task.
Loaded = tuple[list[dict], dict[str, list[str]] | list[str]]


def register_clips(
    name: str,
    load: Callable[[], Loaded],
    paths: Mapping[str, str],
    naming: str,
    source: str,
    *,
    evaluator_type: str = "clip",
    multi_label: bool = False,
    **metadata: Any,
) -> None:
    """Register a dataset of clips. Files are read by ``DatasetCatalog.get(name)`` only.

    The register functions of the formats take ``name`` and ``source``, too, and ``allow_missing``:
    whether clips whose video is missing are left out and logged, else they are an error.

    Args:
        name: name in the catalogs.
        load: function that reads the files. The class names become the metadata ``task_classes``.
        paths: role -> file or folder that must exist; empty paths are skipped. The path of
            "annotations" becomes the metadata ``annotation_file``.
        naming: file name pattern of the videos, for messages.
        source: where to get the files; shown if one is missing.
        evaluator_type: metadata that selects the evaluator: "clip", "epic" or "charades".
        multi_label: whether a clip has a list of labels per task.
        metadata: further entries of the MetadataCatalog.
    """
    MetadataCatalog.get(name).set(
        annotation_file=paths["annotations"],
        evaluator_type=evaluator_type,
        multi_label=multi_label,
        **metadata,
    )

    def load_registered() -> list[dict]:
        check_present(name, paths, source, naming)
        clips, task_classes = load()
        if not isinstance(task_classes, dict):
            task_classes = {ACTION_TASK: task_classes}
        # Set only now, because the class names are read with the annotations.
        MetadataCatalog.get(name).set(task_classes=task_classes)
        return clips

    DatasetCatalog.register(name, load_registered)


# Fields -------------------------------------------------------------------------------------------


def parse_seconds(place: str, column: str, text: str) -> float:
    """Parse a time in seconds, at least 0; ``place`` and ``column`` are for messages."""
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 0 <= seconds <= _MAX_SECOND or "_" in text:  # true for nan as well
        raise AnnotationError(
            f"{place}: {column} '{text}'. It must be seconds from the start of the video, at least "
            "0, such as 11.9."
        )
    return seconds


def parse_class_id(place: str, column: str, text: str, num_classes: int) -> int:
    """Parse a class index in 0..num_classes-1; ``place`` and ``column`` are for messages."""
    index = to_index(text)
    if index is None or index >= num_classes:
        raise AnnotationError(
            f"{place}: {column} '{text}'. It must be an integer 0..{num_classes - 1}: there are "
            f"{num_classes} classes and ids start at 0."
        )
    return index


def _parse_index(place: str, label: str) -> int:
    """Parse a class index where the number of classes is unknown."""
    index = to_index(label)
    if index is None or index >= _MAX_CLASSES:
        raise AnnotationError(
            f"{place}: label '{label}' as an index would need as many classes. Indices are below "
            f"{_MAX_CLASSES}."
        )
    return index


def make_clip(
    place: str,
    clip_id: str,
    labels: Mapping[str, int | list[int]],
    *,
    video_id: str = "",
    **more: Any,
) -> dict:
    """Return a dataset dict without ``file_name``; ``video_id`` is by default the clip's id."""
    ids = {"video_id": video_id or clip_id, "clip_id": clip_id}
    return {**ids, **more, "labels": labels, "source": place}


# Class names --------------------------------------------------------------------------------------


def load_class_names(path: str) -> list[str]:
    """Read one class name per line, in the order of the class indices."""
    place_of: dict[str, str] = {}
    for place, name in read_lines(path):
        name = normal_form(name)
        if name in place_of:
            raise AnnotationError(
                f"{place}: class '{name}' is already at {place_of[name]}. Remove one of them."
            )
        place_of[name] = place
    if not place_of:
        raise AnnotationError(f"{path}: no class name. Write one a line.")
    return list(place_of)


def class_names_from(
    labels: Iterable[tuple[str, str]], num_classes: int | None = None
) -> list[str]:
    """Derive class names from ("file:line", label) of each clip: the sorted labels.

    If all labels are indices: "0", "1", ... up to the largest, or to a larger ``num_classes - 1``.
    """
    place_of: dict[str, str] = {}
    for place, label in labels:
        place_of.setdefault(normal_form(label), place)
    # Sorted as text, "10" would come before "2".
    if place_of and all(map(is_number, place_of)):
        largest = max(_parse_index(place, label) for label, place in place_of.items())
        return [str(i) for i in range(max(largest + 1, num_classes or 0))]
    return sorted(place_of)


def class_names_or_ids(path: str, names: Sequence[str], num_classes: int | None) -> list[str]:
    """Return the K class names that were read from a file, or class ids if there are no names.

    Raises:
        AnnotationError: K is not ``num_classes``, or there are neither names nor ``num_classes``.
    """
    if not names and num_classes is None:
        raise AnnotationError(
            f"{path or 'class names'}: not there. Put the file there, or give the number of "
            "classes at registration."
        )
    if names and num_classes not in (None, len(names)):
        raise AnnotationError(
            f"{path}: {len(names)} classes, but the dataset has {num_classes}. Take the file of "
            "the same version, or register the dataset with another number of classes."
        )
    return list(names) or [str(i) for i in range(num_classes or 0)]


def index_labels(
    labels: Sequence[tuple[str, Sequence[str]]], class_names: Sequence[str] | None
) -> tuple[list[list[int]], list[str]]:
    """Convert labels, ("file:line", labels) of each clip, to sorted class indices.

    A label is a class name or an index. The class names, by default those of
    :func:`class_names_from`, are returned, too.

    Raises:
        AnnotationError: a label is neither a class name nor an index.
    """
    if class_names is None:  # the classes are the labels that occur
        class_names = class_names_from((place, t) for place, texts in labels for t in texts)
    index_of = {normal_form(name): index for index, name in enumerate(class_names)}
    indices = [
        sorted({_index_label(place, text, index_of) for text in texts}) for place, texts in labels
    ]
    return indices, list(class_names)


def _index_label(place: str, text: str, index_of: Mapping[str, int]) -> int:
    # A name wins over an index: the names of a list of indices are "0", "1", ...
    if (name := normal_form(text)) in index_of:
        return index_of[name]
    index = to_index(text)
    if index is not None and index < len(index_of):
        return index
    close = difflib.get_close_matches(text[:100], index_of) if len(index_of) < 10_000 else []
    raise AnnotationError(
        f"{place}: label '{text}' is neither one of the {len(index_of)} class names"
        + (f" (close: {first_few(close)})" if close else "")
        + f" nor an index 0..{len(index_of) - 1}. Correct it or the class list; indices start at 0."
    )


# Video files --------------------------------------------------------------------------------------


def find_and_attach(
    clips: Sequence[dict],
    video_dir: str,
    patterns: Sequence[str],
    annotations: str,
    naming: str,
    allow_missing: bool,
) -> list[dict]:
    """Add the file that :func:`find_videos` finds by ``video_id``; see :func:`attach_files`."""
    found = find_videos(video_dir, patterns, (clip["video_id"] for clip in clips))
    files = [found.get(clip["video_id"]) for clip in clips]
    return attach_files(clips, files, video_dir, annotations, naming, allow_missing)


def attach_files(
    clips: Sequence[dict],
    files: Sequence[str | None],
    video_dir: str,
    annotations: str,
    naming: str,
    allow_missing: bool,
) -> list[dict]:
    """Add ``file_name`` to each clip, whose file is None if it is missing.

    With ``allow_missing``, clips without file are left out and logged. ``video_dir``,
    ``annotations`` (a file or folder) and ``naming`` (a pattern) are for messages.

    Raises:
        AnnotationError: there is no clip, a ``clip_id`` occurs twice, files are missing (all of
            them, if ``allow_missing``).
    """
    if not clips:
        raise AnnotationError(f"{annotations}: no clip. Each needs a line of its own.")
    # Evaluators merge the views of a clip by its id, so ids must be unique. Tools name files by it.
    place_of: dict[str, str] = {}
    for clip in clips:
        if _NO_ID.search(clip["clip_id"]):
            raise AnnotationError(
                f"{clip['source']}: clip '{clip['clip_id']}'. An id names a file in a folder: it "
                "may not be empty, start with '/' or have '..' or control characters."
            )
        if clip["clip_id"] in place_of:
            raise AnnotationError(
                f"{clip['source']}: clip '{clip['clip_id']}' is already at "
                f"{place_of[clip['clip_id']]}. Remove one of them."
            )
        place_of[clip["clip_id"]] = clip["source"]
    present = [{"file_name": f, **c} for c, f in zip(clips, files, strict=True) if f is not None]
    missing = [clip for clip, file in zip(clips, files, strict=True) if file is None]
    if missing:
        names = first_few([clip["clip_id"] for clip in missing])
        message = (
            f"{missing[0]['source']}: {len(missing)} of the {len(clips)} clips have no video in "
            f"{video_dir}: {names}. Expected {naming}."
        )
        # Without any video the folder is most likely the wrong one.
        if not allow_missing or len(missing) == len(clips):
            raise AnnotationError(
                f"{message} Add the files, or "
                + ("give another folder." if allow_missing else "register with allow_missing=True.")
            )
        logger.warning(f"{message} They are left out.")
    return present
