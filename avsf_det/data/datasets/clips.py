"""Labelled clips: what the parsers of all clip data sets share.

A clip is a dict: ``file_name``; ``video_id``; ``clip_id``, unique in the data set; ``start_sec``
and ``end_sec`` in seconds of the file where the annotation gives a segment, else the whole file;
``labels``, task -> class index or sorted list of them; ``source``, "file:line" of the annotation.
"""

import difflib
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence

from detectron2.data import DatasetCatalog, MetadataCatalog

from .annotation_files import AnnotationError, check_present, read_lines, some

logger = logging.getLogger(__name__)

TASK = "action"  # the task of data sets that have one only


def register_clips(
    name: str,
    load: Callable[[], tuple[list[dict], dict[str, list[str]]]],
    *,
    paths: Mapping[str, str],
    naming: str,
    source: str,
    **metadata,
) -> None:
    """Register a data set of clips.

    Args:
        load: reads the files; gives the clips and ``task_classes``, task -> class names, which
            becomes metadata.
        paths: what it is -> file or folder that must be there ("" is skipped).
        naming, source: see :func:`annotation_files.check_present`.
        metadata: the rest of it, set at once.
    """
    MetadataCatalog.get(name).set(annotation_file=paths["annotations"], **metadata)

    def load_registered() -> list[dict]:
        check_present(name, {what: path for what, path in paths.items() if path}, source, naming)
        clips, task_classes = load()
        MetadataCatalog.get(name).set(task_classes=task_classes)
        return clips

    DatasetCatalog.register(name, load_registered)


def load_class_names(path: str) -> list[str]:
    """Read one class name a line, in the order of the class indices."""
    place_of: dict[str, str] = {}
    for place, name in read_lines(path):
        if name in place_of:
            raise AnnotationError(
                f"{place}: class '{name}' is already at {place_of[name]}. Remove one of them."
            )
        place_of[name] = place
    if not place_of:
        raise AnnotationError(f"{path}: no class name. Write one a line.")
    return list(place_of)


def class_names_from(labels: Iterable[str], num_classes: int | None = None) -> list[str]:
    """Class names where no file lists them: the sorted labels, or "0", "1", ... where they are
    indices, up to the largest or to ``num_classes``."""
    labels = set(labels)
    if labels and all(map(str.isdecimal, labels)):
        return [str(i) for i in range(max(*map(int, labels), (num_classes or 0) - 1) + 1)]
    return sorted(labels)


def class_names_or_ids(path: str, names: Sequence[str], num_classes: int | None) -> list[str]:
    """The names read from ``path``, or the ids as names where there are none.

    Raises:
        AnnotationError: not as many as ``num_classes``; neither names nor ``num_classes``.
    """
    if not names and num_classes is None:
        raise AnnotationError(
            f"{path or 'class names'}: not there. Put the file there, or give the number of "
            "classes at registration."
        )
    if names and num_classes not in (None, len(names)):
        raise AnnotationError(
            f"{path}: {len(names)} classes, but the data set has {num_classes}. Take the file of "
            "the same version, or register the data set with another number of classes."
        )
    return list(names) or [str(i) for i in range(num_classes)]


def index_labels(
    labels: Sequence[tuple[str, Sequence[str]]], class_names: Sequence[str] | None
) -> tuple[list[list[int]], list[str]]:
    """Class indices of labels that are names or indices.

    Args:
        labels: for each clip ("file:line", its labels).
        class_names: in the order of the indices; None: :func:`class_names_from` the labels.

    Returns:
        the sorted indices of each clip, and the class names.
    """
    if class_names is None:
        class_names = class_names_from(text for _, texts in labels for text in texts)
    index_of = {name: index for index, name in enumerate(class_names)}
    indices = [
        sorted({_index_label(place, text, index_of) for text in texts}) for place, texts in labels
    ]
    return indices, list(class_names)


def _index_label(place: str, text: str, index_of: Mapping[str, int]) -> int:
    index = index_of.get(text)
    if index is None and text.isdecimal() and int(text) < len(index_of):
        index = int(text)
    if index is None:
        close = difflib.get_close_matches(text, index_of)
        raise AnnotationError(
            f"{place}: label '{text}' is neither one of the {len(index_of)} class names"
            + (f" (close: {some(close)})" if close else "")
            + f" nor an index 0..{len(index_of) - 1}. Correct it or the class list; indices start "
            "at 0."
        )
    return index


def parse_class_id(place: str, column: str, text: str, num_classes: int) -> int:
    """A class index in 0..num_classes-1."""
    if not (text.isdecimal() and int(text) < num_classes):
        raise AnnotationError(
            f"{place}: {column} '{text}'. It must be an integer 0..{num_classes - 1}: there are "
            f"{num_classes} classes and ids start at 0."
        )
    return int(text)


def attach_files(
    clips: Sequence[dict],
    files: Sequence[str | None],
    video_dir: str,
    annotations: str,
    naming: str,
    allow_missing: bool,
) -> list[dict]:
    """The clips with their ``file_name``.

    Args:
        files: of each clip; None where it is missing.
        annotations, naming: where the clips are from, and how their files are named; for messages.
        allow_missing: leave out clips without file, and log how many.

    Raises:
        AnnotationError: no clip, a ``clip_id`` twice, missing files.
    """
    if not clips:
        raise AnnotationError(f"{annotations}: no clip. Each needs a line of its own.")
    place_of: dict[str, str] = {}
    for clip in clips:
        if clip["clip_id"] in place_of:
            raise AnnotationError(
                f"{clip['source']}: clip '{clip['clip_id']}' is already at "
                f"{place_of[clip['clip_id']]}. Remove one of them."
            )
        place_of[clip["clip_id"]] = clip["source"]
    missing = [clip["clip_id"] for clip, file in zip(clips, files, strict=True) if file is None]
    if missing:
        message = (
            f"{video_dir}: {len(missing)} of the {len(clips)} clips of {annotations} have no video "
            f"there ({some(missing)}). Expected {naming}."
        )
        if not allow_missing or len(missing) == len(clips):
            raise AnnotationError(
                f"{message} Add the files, or "
                + ("give another folder." if allow_missing else "register with allow_missing=True.")
            )
        logger.warning(f"{message} They are left out.")
    return [
        {"file_name": file, **clip}
        for clip, file in zip(clips, files, strict=True)
        if file is not None
    ]
