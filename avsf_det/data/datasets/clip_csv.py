"""Your own labelled clips: a csv file of videos, labels and, optionally, segments."""

from collections.abc import Sequence

from ...structures import AnnotationError
from .annotation_files import (
    inner_path,
    present_files,
    read_header,
    read_path_list,
    read_table,
    strip_extension,
)
from .clips import (
    ACTION_TASK,
    Loaded,
    attach_files,
    index_labels,
    load_class_names,
    make_clip,
    parse_seconds,
    register_clips,
)

_NAMING = "as in the annotations, such as walk/0001.mp4"


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
    """Register labelled clips; see :func:`.clips.register_clips`.

    Args:
        name: name in the catalogs.
        csv_file: comma-separated file whose first line names the columns ``video`` (or ``path``),
            ``label`` and, for segments of longer videos, ``start`` and ``end`` in seconds; or
            lines ``path label`` without such a first line. A label is a class name or an index
            from 0.
        video_dir: folder to which the paths are relative, and which they may not leave: ".." is
            refused, and an absolute path that is not in it ("/" allows any absolute path).
        class_file: file of one class name per line, in the order of the indices. Without it the
            classes are the sorted labels of this csv: give it if train and val may have different
            labels.
        multi_label: whether a clip has any number of labels, separated by ";".
        allow_missing: leave out clips whose video is missing and log how many.
        source: where to get the files; shown if one is missing.
    """

    def load() -> Loaded:
        # None: the classes are the labels that occur in the csv.
        names = load_class_names(class_file) if class_file else None
        return load_clip_csv(
            csv_file, video_dir, names, multi_label=multi_label, allow_missing=allow_missing
        )

    paths = {"annotations": csv_file, "class names": class_file, "videos": video_dir}
    register_clips(name, load, paths, _NAMING, source, multi_label=multi_label)


def load_clip_csv(
    csv_file: str,
    video_dir: str,
    class_names: Sequence[str] | None = None,
    *,
    multi_label: bool = False,
    allow_missing: bool = False,
) -> tuple[list[dict], list[str]]:
    """Read the clips of a csv file, with the arguments of :func:`register_clip_csv`.

    Returns:
        Dataset dicts in the order of the file, and the class names. The ``clip_id`` is the path
        without extension, followed by "_start_end" for a segment.
    """
    rows = _read_rows(csv_file)
    labels = [
        (place, [t.strip() for t in label.split(";") if t.strip()] if multi_label else [label])
        for place, _, label, _ in rows
        if label is not None
    ]
    if not labels and rows and class_names is None:
        raise AnnotationError(
            f"{csv_file}:1: no column label. Add it, or give class_file for a list without labels."
        )
    # With one class per clip, an empty label or a ";" is a mistake.
    for place, texts in labels:
        if not multi_label and (not texts[0] or ";" in texts[0]):
            raise AnnotationError(
                f"{place}: label '{texts[0]}'. A clip needs one class; register the dataset with "
                "multi_label=True for any number of them, separated by ';'."
            )
    ids, class_names = index_labels(labels, class_names)
    # The clips of a list without labels have none.
    targets = [{ACTION_TASK: i if multi_label else i[0]} for i in ids] or [{} for _ in rows]
    paths = [inner_path(place, path, video_dir) for place, path, _, _ in rows]
    clips = []
    for (place, _, _, segment), path, target in zip(rows, paths, targets, strict=True):
        video_id = strip_extension(path)
        # "walk/0001", or "walk/0001_1.5_4" for a segment of a video with several.
        clip_id = "_".join([video_id, *(f"{second:.15g}" for second in segment.values())])
        clips.append(make_clip(place, clip_id, target, video_id=video_id, **segment))
    files = present_files(video_dir, paths)
    return attach_files(clips, files, video_dir, csv_file, _NAMING, allow_missing), class_names


def _read_rows(csv_file: str) -> list[tuple[str, str, str | None, dict[str, float]]]:
    """Read ("file:line", path, label, segment); the segment is empty for a whole video.

    All labels are None in a list without labels.
    """
    header = read_header(csv_file)
    if not {"video", "path", "label"} & set(header):
        return [(place, path, label or None, {}) for place, path, label in read_path_list(csv_file)]
    column = "path" if "path" in header else "video"
    return [
        (place, path, label if "label" in header else None, _parse_segment(place, start, end))
        for place, (path, label, start, end) in read_table(
            csv_file, [column], ("label", "start", "end")
        )
    ]


def _parse_segment(place: str, start: str, end: str) -> dict[str, float]:
    if not (start or end):  # the whole video
        return {}
    start_sec, end_sec = parse_seconds(place, "start", start), parse_seconds(place, "end", end)
    if start_sec >= end_sec:
        raise AnnotationError(
            f"{place}: start {start} and end {end}. A segment must end after it starts; leave both "
            "empty for the whole video."
        )
    return {"start_sec": start_sec, "end_sec": end_sec}
