"""Anybody's own labelled clips: a csv of videos, labels and, optionally, segments."""

import os
import re
from collections.abc import Sequence

from .annotation_files import (
    VIDEO_EXTENSIONS,
    AnnotationError,
    parse_seconds,
    present_files,
    read_header,
    read_lines,
    read_table,
)
from .clips import TASK, attach_files, index_labels, load_class_names, register_clips

_NAMING = "as in the annotations, such as walk/0001.mp4"
_EXTENSION = "|".join(re.escape(extension) for extension in VIDEO_EXTENSIONS)
# The last video extension ends the path: paths and class names may contain blanks.
_LIST_LINE = re.compile(rf"(?P<path>.*(?:{_EXTENSION}))(?:\s*,\s*|\s+)(?P<label>\S.*)", re.I)


def register_clip_csv(
    name: str,
    csv_file: str,
    video_dir: str,
    *,
    class_file: str = "",
    multi_label: bool = False,
    allow_missing: bool = False,
    source: str = "",
) -> None:
    """Register labelled clips. Files are read by ``DatasetCatalog.get(name)`` only.

    Args:
        csv_file: comma-separated with a first line that names the columns ``video`` (or ``path``),
            ``label`` and, for a segment of a longer video, ``start`` and ``end`` in seconds; or
            one ``path label`` a line, without such a first line. A label is a class name or an
            index from 0.
        video_dir: folder to which the paths are relative.
        class_file: one class name a line, in the order of the indices. Without it the classes are
            the sorted labels of this csv: give it where train and val may not have the same ones.
        multi_label: a clip has any number of labels, separated by ";".
        allow_missing: leave out clips whose video is not there, and log how many.
        source: where to get the files; shown when one is missing.
    """

    def load() -> tuple[list[dict], dict[str, list[str]]]:
        class_names = load_class_names(class_file) if class_file else None
        clips, class_names = load_clip_csv(
            csv_file,
            video_dir,
            class_names,
            multi_label=multi_label,
            allow_missing=allow_missing,
        )
        return clips, {TASK: class_names}

    register_clips(
        name,
        load,
        paths={"annotations": csv_file, "class names": class_file, "videos": video_dir},
        naming=_NAMING,
        source=source,
        evaluator_type="clip",
        multi_label=multi_label,
    )


def load_clip_csv(
    csv_file: str,
    video_dir: str,
    class_names: Sequence[str] | None = None,
    *,
    multi_label: bool = False,
    allow_missing: bool = False,
) -> tuple[list[dict], list[str]]:
    """Read the clips of :func:`register_clip_csv`.

    The ``clip_id`` is the path without extension, and "_start_end" where there is a segment.

    Returns:
        clips in the order of the file, and the class names.

    Raises:
        AnnotationError: a bad row, an unknown label, a clip twice, a missing video.
    """
    rows = _read_rows(csv_file)
    labels = [
        (place, [t.strip() for t in label.split(";") if t.strip()] if multi_label else [label])
        for place, _, label, _ in rows
    ]
    for place, texts in labels:
        if not multi_label and (not texts[0] or ";" in texts[0]):
            raise AnnotationError(
                f"{place}: label '{texts[0]}'. A clip needs one class; register the data set with "
                "multi_label=True for any number of them, separated by ';'."
            )
    ids, class_names = index_labels(labels, class_names)
    clips = []
    for (place, path, _, segment), indices in zip(rows, ids, strict=True):
        video_id = os.path.splitext(path)[0]
        clips.append(
            {
                "video_id": video_id,
                "clip_id": "_".join([video_id, *(f"{second:.15g}" for second in segment.values())]),
                **segment,
                "labels": {TASK: indices if multi_label else indices[0]},
                "source": place,
            }
        )
    files = present_files(video_dir, [path for _, path, _, _ in rows])
    return attach_files(clips, files, video_dir, csv_file, _NAMING, allow_missing), class_names


def read_path_list(path: str) -> list[tuple[str, str, str]]:
    """Read ``path label`` lines, separated by blanks or a comma; both may contain blanks.

    Returns:
        For each ("file:line", path, label).
    """
    rows = []
    for place, line in read_lines(path):
        match = _LIST_LINE.fullmatch(line)
        if not match:
            raise AnnotationError(
                f"{place}: '{line}' is not a path that ends in {' '.join(VIDEO_EXTENSIONS)} and a "
                "label. Write 'walk/0001.mp4 3', or let the first line name columns: video,label."
            )
        rows.append((place, match["path"], match["label"]))
    return rows


def is_path_list(path: str) -> bool:
    """Whether the first line has the ``path label`` form."""
    _, line = next(read_lines(path), ("", ""))
    return _LIST_LINE.fullmatch(line) is not None


def _read_rows(csv_file: str) -> list[tuple[str, str, str, dict[str, float]]]:
    """For each row ("file:line", path, label, segment with ``start_sec``, ``end_sec`` or empty)."""
    header = read_header(csv_file)
    if not {"video", "path", "label"} & set(header):
        return [(*row, {}) for row in read_path_list(csv_file)]
    columns = ("path" if "path" in header else "video", "label")
    return [
        (place, path, label, _parse_segment(place, start, end))
        for place, (path, label, start, end) in read_table(csv_file, columns, ("start", "end"))
    ]


def _parse_segment(place: str, start: str, end: str) -> dict[str, float]:
    if not (start or end):
        return {}
    start_sec, end_sec = parse_seconds(place, "start", start), parse_seconds(place, "end", end)
    if start_sec >= end_sec:
        raise AnnotationError(
            f"{place}: start {start} and end {end}. A segment must end after it starts; leave both "
            "empty for the whole video."
        )
    return {"start_sec": start_sec, "end_sec": end_sec}
