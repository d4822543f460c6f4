"""AVA-style annotations: official or anybody's csv files to dataset dicts.

A keyframe is one second of a video in which every person has a box and every box its actions. The
files are described in :mod:`avsf_det.structures.ava_csv` and :mod:`avsf_det.structures.label_map`.
Timestamps are seconds in the csv's own clock. Every defect raises :class:`AnnotationError`.
"""

import logging
import math
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

import numpy as np
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.structures import BoxMode

from ...structures import ActionBoxes, AnnotationError, Keyframe
from ...structures.addresses import list_folder
from ...structures.ava_csv import read_action_boxes, read_excluded_keyframes
from ...structures.label_map import read_label_map
from ..video.formats import count_endings
from .annotation_files import check_present, find_videos, first_few, without_garbage_collection

logger = logging.getLogger(__name__)


def register_ava_csv(
    name: str,
    csv_file: str,
    label_map: str | Mapping[int, str],
    video_dir: str,
    *,
    scored_label_map: str = "",
    excluded: str = "",
    person_boxes: str = "",
    offset: float = 0.0,
    valid_sec: tuple[float, float] | None = None,
    source: str = "",
) -> None:
    """Register a dataset in AVA's format. Files are read by ``DatasetCatalog.get(name)`` only.

    Videos may have any length and frame rate, keyframes any rate, action ids any gaps: an
    action's index in the model is its rank among the ids of the label map.

    Metadata: ``evaluator_type`` "ava", ``thing_classes`` ["person"], the files as
    ``annotation_file``, ``excluded_file``, ``label_map_file`` (that of the scored actions),
    ``proposal_file``, ``valid_sec``; and ``action_classes``, ``action_csv_ids``,
    ``scored_action_csv_ids``, once the label map is read (at once where it is a dict).

    Args:
        name: name of the dataset.
        csv_file: annotations.
        label_map: all actions that the annotations may contain: a file, or a dict id -> name.
        video_dir: folder of ``<video_id>.mp4`` (or mkv, avi, ts, ...), or of folders of these; like
            all files, a path or an address that starts with http://, s3://, ...
        scored_label_map: label map of the actions that are evaluated, if not all are.
        excluded: keyframes to leave out of training and evaluation.
        person_boxes: detected persons; used in testing unless ``DATASETS.PROPOSAL_FILES_TEST``
            names others.
        offset: second of the csv's clock at which the video files start.
        valid_sec: first and last second that may be annotated; None: any.
        source: where to get the files; shown when one is missing.
    """
    metadata = MetadataCatalog.get(name).set(
        evaluator_type="ava",
        thing_classes=["person"],
        annotation_file=csv_file,
        excluded_file=excluded,
        label_map_file=scored_label_map or (label_map if isinstance(label_map, str) else ""),
        proposal_file=person_boxes,
        valid_sec=valid_sec,
    )
    if not isinstance(label_map, str):  # so that predictions are drawn without any file
        metadata.set(action_classes=[label_map[i] for i in sorted(label_map)])
        metadata.set(action_csv_ids=sorted(label_map))

    def load() -> list[dict]:
        paths = {
            "annotations": csv_file,
            "label map": label_map if isinstance(label_map, str) else "",
            "scored label map": scored_label_map,
            "excluded keyframes": excluded,
            "videos": video_dir,
        }
        check_present(name, paths, source, "<video_id>.mp4")
        if isinstance(label_map, str):
            labels = read_label_map(label_map)
            metadata.set(action_classes=labels.names, action_csv_ids=labels.ids)
        ids = metadata.action_csv_ids
        metadata.set(scored_action_csv_ids=_scored_ids(scored_label_map, ids))
        left_out = read_excluded_keyframes(excluded) if excluded else ()
        return load_ava_csv(
            csv_file, ids, video_dir, excluded=left_out, offset=offset, valid_sec=valid_sec
        )

    DatasetCatalog.register(name, load)


@without_garbage_collection()
def load_ava_csv(
    csv_file: str,
    action_csv_ids: Sequence[int],
    video_dir: str,
    *,
    excluded: Collection[Keyframe] = (),
    offset: float = 0.0,
    valid_sec: tuple[float, float] | None = None,
    find_files: Callable[[Collection[Keyframe]], Mapping[Keyframe, tuple[str, float]]]
    | None = None,
) -> list[dict]:
    """Read the annotated keyframes, with the arguments of :func:`register_ava_csv`.

    Rows with the same coordinates and person are one box with several actions. Keyframes without
    persons have no annotations: training leaves them out. ``action_csv_ids`` are the csv's ids of
    the action indices. ``find_files`` returns the file and its offset for each keyframe, by default
    ``<video_id>.mp4``; keyframes that it leaves out are not returned.

    Returns:
        One dict per keyframe (contract 1 of docs/design.md), ordered by video and time.
    """
    rows = read_action_boxes(csv_file)
    # Index of each row's action; -1 where its id is unknown.
    index_of = {csv_id: index for index, csv_id in enumerate(action_csv_ids)}
    distinct, position = np.unique(rows.actions, return_inverse=True)
    actions = np.array([index_of.get(i, -1) for i in distinct.tolist()], np.int64)[position]
    _check_rows(csv_file, rows, actions, action_csv_ids, offset, valid_sec)
    for (_, second), line in rows.empty.items():
        _check_second(f"{csv_file}:{line}", second, offset, valid_sec)
    annotations = _group_by_keyframe(rows, actions)
    excluded = set(excluded)
    # Ordered by video and time, so that sequential readers decode each video once.
    annotations += [[] for _ in rows.empty]
    kept = sorted((keyframe, i) for i, keyframe in enumerate([*rows.keyframes, *rows.empty]))
    kept = [(keyframe, i) for keyframe, i in kept if keyframe not in excluded]
    if not kept:
        raise AnnotationError(
            f"{csv_file}: no keyframe ({sum(map(len, annotations))} boxes before exclusions). The "
            "file needs a row video_id,timestamp,x1,y1,x2,y2,action,person for each box and action."
        )
    if find_files:
        file_of = find_files([keyframe for keyframe, _ in kept])
    else:
        videos = _find_videos(video_dir, {video_id for (video_id, _), _ in kept}, csv_file)
        file_of = {keyframe: (videos[keyframe[0]], offset) for keyframe, _ in kept}
    assert rows.lines is not None
    # Keyframes are numbered in order of appearance, so keyframe i starts at the i-th first row.
    first_rows = np.unique(rows.keyframe, return_index=True)[1]
    lines = [*rows.lines[first_rows].tolist(), *rows.empty.values()]
    sources = [f"{csv_file}:{line}" for line in lines]
    return [
        _dataset_dict(keyframe, *file_of[keyframe], sources[i], annotations[i])
        for keyframe, i in kept
        if keyframe in file_of
    ]


def _check_rows(
    csv_file: str,
    rows: ActionBoxes,
    actions: np.ndarray,
    action_csv_ids: Sequence[int],
    offset: float,
    valid_sec: tuple[float, float] | None,
) -> None:
    """Raise an AnnotationError for the first row of a wrong second or of an unknown action."""
    first, last = valid_sec or (-math.inf, math.inf)
    seconds = np.array([second for _, second in rows.keyframes])[rows.keyframe]
    # All rows at once; the message is made for the first of them only.
    is_wrong = (seconds < max(offset, first)) | (seconds > last) | (actions < 0)
    if not is_wrong.any():
        return
    row = int(is_wrong.argmax())
    assert rows.lines is not None
    place = f"{csv_file}:{rows.lines[row]}"
    _check_second(place, seconds[row], offset, valid_sec)
    raise AnnotationError(
        f"{place}: action id {rows.actions[row]} is not in the label map, which has "
        f"{len(action_csv_ids)} ids from {min(action_csv_ids)} to {max(action_csv_ids)}. Add it "
        "there, or remove the row."
    )


def _check_second(
    place: str, second: float, offset: float, valid_sec: tuple[float, float] | None
) -> None:
    first, last = valid_sec or (-math.inf, math.inf)
    if second < offset:
        raise AnnotationError(
            f"{place}: timestamp {second:g} s lies before the video file, which starts at "
            f"{offset:g} s. Correct the row, or the offset given at registration."
        )
    if not first <= second <= last:
        raise AnnotationError(
            f"{place}: timestamp {second:g} s is outside the annotated seconds {first:g}..{last:g} "
            "of this dataset. Correct the row, or register the csv as a dataset of its own with "
            "another valid_sec."
        )


def _group_by_keyframe(rows: ActionBoxes, actions: np.ndarray) -> list[list[dict]]:
    """Return the annotations of each keyframe, ordered by coordinates and person."""
    assert rows.persons is not None
    x1, y1, x2, y2 = rows.boxes.T
    order = np.lexsort((actions, rows.persons, y2, x2, y1, x1, rows.keyframe))
    keyframe, boxes, actions = rows.keyframe[order], rows.boxes[order], actions[order]
    # Equal boxes have become neighbours, and so have their equal actions.
    box_key = np.column_stack([keyframe, boxes, rows.persons[order]])
    new_box = np.append(True, (box_key[1:] != box_key[:-1]).any(axis=1))[: len(order)]
    # A csv may repeat a row: only the first of equal actions of a box counts.
    new_action = new_box | np.append(True, actions[1:] != actions[:-1])[: len(order)]
    # The actions of box i are action_list[starts[i]:stops[i]].
    starts = np.flatnonzero(new_box[new_action])
    stops = np.append(starts[1:], np.count_nonzero(new_action))[: len(starts)]
    action_list = actions[new_action].tolist()
    annotations: list[list[dict]] = [[] for _ in rows.keyframes]
    for number, box, start, stop in zip(
        keyframe[new_box].tolist(), boxes[new_box].tolist(), starts, stops, strict=True
    ):
        person = {"bbox": box, "bbox_mode": BoxMode.XYXY_REL, "category_id": 0}
        annotations[number].append({**person, "action_ids": action_list[start:stop]})
    return annotations


def add_detected_keyframes(
    dataset_dicts: list[dict],
    detected: Iterable[Keyframe],
    *,
    excluded: Collection[Keyframe] = (),
    valid_sec: tuple[float, float] | None = None,
) -> list[dict]:
    """Add a dict without annotations for each further keyframe with detected persons.

    AVA is tested on every keyframe in which the detector sees somebody: on AVA val, 52,391
    keyframes have detections and 50,250 have annotations. Leaving the difference out would hide
    false positives and raise the mAP. Excluded keyframes are not added (the evaluation drops them
    from both sides), nor those outside ``valid_sec``. Videos without any annotation belong to
    another split: their keyframes are left out and counted in a warning.

    Returns the dicts, those of :func:`load_ava_csv` and new ones, ordered by video and time.
    """
    first, last = valid_sec or (0.0, math.inf)
    annotated = {(d["video_id"], d["timestamp"]) for d in dataset_dicts}
    sibling_of = {d["video_id"]: d for d in dataset_dicts}
    new = [k for k in set(detected) - annotated - set(excluded) if first <= k[1] <= last]
    strangers = sorted({video_id for video_id, _ in new} - sibling_of.keys())
    if strangers:
        logger.warning(
            f"Left out the detections of {len(strangers)} videos without annotations: "
            f"{first_few(strangers)}"
        )
    added = [
        _dataset_dict(keyframe, sibling["file_name"], sibling["offset"], "person boxes", [])
        for keyframe in new
        if (sibling := sibling_of.get(keyframe[0]))
    ]
    return sorted(dataset_dicts + added, key=lambda d: (d["video_id"], d["timestamp"]))


def _scored_ids(scored_label_map: str, action_csv_ids: list[int]) -> list[int]:
    if not scored_label_map:
        return list(action_csv_ids)
    ids = read_label_map(scored_label_map).ids
    unknown = sorted(set(ids) - set(action_csv_ids))
    if unknown:
        raise AnnotationError(
            f"{scored_label_map}: scores the ids {first_few(unknown)}, which are not among the "
            "actions of the dataset. Add them to its label map."
        )
    return ids


def _dataset_dict(
    keyframe: Keyframe, file_name: str, offset: float, source: str, annotations: list[dict]
) -> dict:
    video_id, timestamp = keyframe
    return {
        "file_name": file_name,
        "video_id": video_id,
        "image_id": f"{video_id},{timestamp:.15g}",
        "timestamp": timestamp,
        "offset": offset,
        "source": source,
        "annotations": annotations,
    }


def _find_videos(video_dir: str, video_ids: Collection[str], csv_file: str) -> dict[str, str]:
    """Return the file of each video id."""
    found = find_videos(video_dir, ("*", "*/*"), video_ids)
    missing = sorted(video_ids - found.keys())
    if missing:
        endings = count_endings(list_folder(video_dir) or ())
        raise AnnotationError(
            f"{csv_file}: {len(missing)} of the {len(video_ids)} videos are not in {video_dir}: "
            f"{first_few(missing)}. {endings}. Add <video_id>.mp4, or "
            "remove their rows"
        )
    return found
