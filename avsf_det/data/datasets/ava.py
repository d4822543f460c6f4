"""AVA-style annotations: official or anybody's csv files to dataset dicts.

A keyframe is one second of a video in which every person has a box and every box its actions.
Files (no header line, comma separated; formats of AVA v2.x and of the public person
boxes), with boxes in fractions of the frame's width and height:

- annotations: ``video_id,timestamp,x1,y1,x2,y2,action_id[,person_id]``, one row per box and action;
- person boxes: ``video_id,timestamp,x1,y1,x2,y2,[action_id],score``; without the action: 7 columns;
- excluded keyframes: ``video_id,timestamp``;
- label map: ``item { name: "sit" id: 11 }``, ``label { name: "sit" label_id: 11 }`` or ``11: sit``.

Timestamps are seconds in the csv's own clock; "0902" and "902" are the same keyframe. Every defect
raises :class:`AnnotationError`.
"""

import logging
import math
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from itertools import groupby

import numpy as np
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.structures import BoxMode

from .annotation_files import (
    VIDEO_EXTENSIONS,
    AnnotationError,
    check_present,
    find_videos,
    first_few,
    read_rows,
    reading,
    without_garbage_collection,
)

logger = logging.getLogger(__name__)

Keyframe = tuple[str, float]  # video id, timestamp in seconds

# A video id becomes a file name and a field of a csv.
_BAD_VIDEO_ID = re.compile(r"^$|\.\.|[/\\,\x00-\x1f\x7f]")
_QUOTED = r'"(?:[^"\\]|\\.)*"|\'(?:[^\'\\]|\\.)*\''
_PBTXT_FIELD = re.compile(rf"(\w+)\s*:\s*({_QUOTED}|[^\s,;]+)")
_LABEL = re.compile(
    rf"(?:(?:item|label)\s*\{{(?P<block>(?:{_QUOTED}|[^{{}}\"'])*)\}}"
    r"|(?P<id>\d+)\s*:\s*(?P<name>\S[^\n]*?))[^\S\n]*(?:\n\s*|\Z)"
)


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
    """Register a data set in AVA's format. Files are read by ``DatasetCatalog.get(name)`` only.

    Videos may have any length and frame rate, keyframes any rate, action ids any gaps: an
    action's index in the model is its rank among the ids of the label map.

    Metadata: ``evaluator_type`` "ava", ``thing_classes`` ["person"], the files as
    ``annotation_file``, ``excluded_file``, ``label_map_file`` (that of the scored actions),
    ``proposal_file``, ``valid_sec``; and ``action_classes``, ``action_csv_ids``,
    ``scored_action_csv_ids``, once the label map is read (at once where it is a dict).

    Args:
        csv_file: annotations.
        label_map: all actions that the annotations may contain: a file, or a dict id -> name.
        video_dir: folder of ``<video_id>.mp4`` (or mkv, webm, avi, mov).
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
    if not isinstance(label_map, str):
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
        paths = {what: path for what, path in paths.items() if path}
        check_present(name, paths, source, "<video_id>.mp4")
        if isinstance(label_map, str):
            ids, names = load_label_map(label_map)
            metadata.set(action_classes=names, action_csv_ids=ids)
        ids = metadata.action_csv_ids
        metadata.set(scored_action_csv_ids=_scored_ids(scored_label_map, ids))
        return load_ava_csv(
            csv_file,
            ids,
            video_dir,
            excluded=load_excluded(excluded) if excluded else (),
            offset=offset,
            valid_sec=valid_sec,
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
) -> list[dict]:
    """Read the annotated keyframes.

    Rows with the same coordinates and person are one box with several actions.

    Args:
        action_csv_ids: the csv's id of each action index.
        excluded: keyframes to leave out.
        offset, valid_sec: see :func:`register_ava_csv`.

    Returns:
        One dict per keyframe, ordered by video and time: ``file_name``, ``video_id``, ``image_id``
        ("video_id,timestamp"), ``timestamp`` (csv's clock) and ``offset`` in seconds,
        ``source`` (file and line of the keyframe's first row), and ``annotations``: ``bbox``
        [x1, y1, x2, y2] in 0..1, ``bbox_mode`` XYXY_REL, ``category_id`` 0 (person),
        ``action_ids`` sorted indices.

    Raises:
        AnnotationError: a bad row, an id that is not in ``action_csv_ids``, a missing video.
    """
    index_of = {csv_id: index for index, csv_id in enumerate(action_csv_ids)}
    first, last = valid_sec or (0.0, math.inf)
    actions_of: dict[tuple, set[int]] = {}  # of (video id, timestamp, x1, y1, x2, y2, person)
    place_of: dict[Keyframe, str] = {}
    keyframe_texts = box_texts = None
    for place, row in _read_rows(csv_file, (7, 8), "video_id,timestamp,x1,y1,x2,y2,action,person"):
        # The rows of a keyframe follow each other, and in it those of a box: parse them once.
        if row[:2] != keyframe_texts:
            keyframe_texts, box_texts = row[:2], None
            video_id, timestamp = _parse_keyframe(place, *row[:2])
            if timestamp < offset:
                raise AnnotationError(
                    f"{place}: timestamp {timestamp:g} s lies before the video file, which starts "
                    f"at {offset:g} s. Correct the row, or the offset given at registration."
                )
            if not first <= timestamp <= last:
                raise AnnotationError(
                    f"{place}: timestamp {timestamp:g} s is outside the annotated seconds "
                    f"{first:g}..{last:g} of this data set. Correct the row, or register the csv "
                    "as a data set of its own with another valid_sec."
                )
            place_of.setdefault((video_id, timestamp), place)
        if row[2:6] + row[7:] != box_texts:
            box_texts = row[2:6] + row[7:]
            person = row[7].strip() if len(row) == 8 else ""
            box = (video_id, timestamp, *_parse_box(place, row[2:6]), person)
        action = index_of.get(_parse_action(place, row[6]))
        if action is None:
            raise AnnotationError(
                f"{place}: action id {row[6]} is not in the label map, which has {len(index_of)} "
                f"ids from {min(index_of)} to {max(index_of)}. Add it there, or remove the row."
            )
        actions_of.setdefault(box, set()).add(action)

    excluded = set(excluded)
    kept = sorted(box for box in actions_of if box[:2] not in excluded)
    if not kept:
        raise AnnotationError(
            f"{csv_file}: no keyframe ({len(actions_of)} boxes before exclusions). The file needs "
            "a row video_id,timestamp,x1,y1,x2,y2,action,person for each box and action."
        )
    file_of = _find_videos(video_dir, {box[0] for box in kept}, csv_file)
    return [
        _dataset_dict(
            file_of[video_id],
            video_id,
            timestamp,
            offset,
            place_of[video_id, timestamp],
            [
                {
                    "bbox": list(box[2:6]),
                    "bbox_mode": BoxMode.XYXY_REL,
                    "category_id": 0,
                    "action_ids": sorted(actions_of[box]),
                }
                for box in boxes
            ],
        )
        for (video_id, timestamp), boxes in groupby(kept, key=lambda box: box[:2])
    ]


def add_detected_keyframes(
    dataset_dicts: list[dict],
    detected: Iterable[Keyframe],
    *,
    excluded: Collection[Keyframe] = (),
    valid_sec: tuple[float, float] | None = None,
) -> list[dict]:
    """The dicts, and one without annotations for each further keyframe with detected persons.

    AVA is tested on every keyframe in which the detector sees somebody: on AVA val, 52,391
    keyframes have detections and 50,250 have annotations. To leave the difference out would hide
    false positives and raise the mAP. Excluded keyframes are not added (the evaluation drops them
    from both sides), nor those outside ``valid_sec``. Videos without any annotation belong to
    another split: their keyframes are left out and counted in a warning.

    Args:
        dataset_dicts: from :func:`load_ava_csv`; not changed.
        detected: keyframes, such as the keys of :func:`load_person_boxes`.

    Returns:
        dataset dicts ordered by video and time.
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
        _dataset_dict(
            sibling["file_name"], video_id, timestamp, sibling["offset"], "person boxes", []
        )
        for video_id, timestamp in new
        if (sibling := sibling_of.get(video_id))
    ]
    return sorted(dataset_dicts + added, key=lambda d: (d["video_id"], d["timestamp"]))


def load_person_boxes(csv_file: str) -> dict[Keyframe, tuple[np.ndarray, np.ndarray]]:
    """Read detected persons.

    The score is the last of 8 or 7 columns. Rows with the same coordinates (published files repeat
    a box for each of its actions) are one box with the highest score; the actions are not used.

    Returns:
        keyframe -> boxes (N, 4) in 0..1 as x1, y1, x2, y2, and scores (N,), both float32.
    """
    keyframes: dict[Keyframe, dict[tuple, float]] = {}
    previous = keyframe_texts = None
    for place, row in _read_rows(csv_file, (7, 8), "video_id,timestamp,x1,y1,x2,y2,action,score"):
        if len(row) == 8 and row[6]:
            _parse_action(place, row[6])
        texts = row[:6] + row[-1:]
        if texts == previous:  # the same box for another action
            continue
        previous = texts
        if row[:2] != keyframe_texts:  # the rows of a keyframe follow each other: parse it once
            keyframe_texts = row[:2]
            scores = keyframes.setdefault(_parse_keyframe(place, *keyframe_texts), {})
        box = _parse_box(place, row[2:6])
        (score,) = _parse_numbers(place, row[-1:])
        if not 0 <= score <= 1:
            raise AnnotationError(
                f"{place}: person score {row[-1]} is outside 0..1. The last column of a "
                "person-box file is the detector's score; in an annotation file it is a person or "
                "an action (to test on annotated boxes, set MODEL.LOAD_PROPOSALS False)."
            )
        scores[box] = max(score, scores.get(box, 0.0))
    if not keyframes:
        raise AnnotationError(
            f"{csv_file}: the file is empty. Person boxes need rows "
            "video_id,timestamp,x1,y1,x2,y2,action,score (the action may be empty)."
        )
    return {
        keyframe: (np.array(list(scores), np.float32), np.array(list(scores.values()), np.float32))
        for keyframe, scores in keyframes.items()
    }


def load_excluded(csv_file: str) -> set[Keyframe]:
    """Read the keyframes to leave out; the file may be empty."""
    rows = _read_rows(csv_file, (2,), "video_id,timestamp")
    return {_parse_keyframe(place, *row[:2]) for place, row in rows}


def load_label_map(path: str) -> tuple[list[int], list[str]]:
    """Read a label map in one of the formats above.

    Returns:
        ids in ascending order, and the name of each.

    Raises:
        AnnotationError: no label, one without name or id, an id twice, or text that is no label.
    """
    with reading(path), open(path, encoding="utf-8-sig") as f:
        text = f.read().rstrip()
    labels: dict[int, str] = {}
    position = len(text) - len(text.lstrip())
    while position < len(text):
        line = text.count("\n", 0, position) + 1
        label = _LABEL.match(text, position)
        csv_id, name = _parse_label(label) if label else ("", "")
        if not (csv_id.isdecimal() and name):
            got = (label[0] if label else text[position:]).splitlines()[0]
            raise AnnotationError(
                f"{path}:{line}: '{got}' is not a label with a name and an id. Write it as "
                'item { name: "sit" id: 11 }, or as 11: sit.'
            )
        if int(csv_id) in labels:
            raise AnnotationError(
                f"{path}:{line}: id {csv_id} occurs twice, as '{labels[int(csv_id)]}' and "
                f"'{name}'. Give each action an id of its own."
            )
        labels[int(csv_id)] = name
        position = label.end()
    if not labels:
        raise AnnotationError(f'{path}: no label. Write each as item {{ name: "sit" id: 11 }}.')
    ids = sorted(labels)
    return ids, [labels[i] for i in ids]


def _parse_label(label: re.Match) -> tuple[str, str]:
    """Id and name; empty where the label has none."""
    if label["block"] is None:
        return label["id"], label["name"]
    fields = dict(_PBTXT_FIELD.findall(label["block"]))
    name = fields.get("name", "")
    name = re.sub(r"\\(.)", r"\1", name[1:-1]) if name[:1] in ("'", '"') else name
    return fields.get("id", fields.get("label_id", "")), name


def _scored_ids(scored_label_map: str, action_csv_ids: list[int]) -> list[int]:
    if not scored_label_map:
        return list(action_csv_ids)
    ids, _ = load_label_map(scored_label_map)
    unknown = sorted(set(ids) - set(action_csv_ids))
    if unknown:
        raise AnnotationError(
            f"{scored_label_map}: scores the ids {first_few(unknown)}, which are not among the "
            "actions of the data set. Add them to its label map."
        )
    return ids


def _dataset_dict(
    file_name: str,
    video_id: str,
    timestamp: float,
    offset: float,
    source: str,
    annotations: list[dict],
) -> dict:
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
    """The file of each video id."""
    found = find_videos(video_dir, ("*",), video_ids)
    missing = sorted(video_ids - found.keys())
    if missing:
        raise AnnotationError(
            f"{video_dir}: {len(missing)} of the {len(video_ids)} videos of {csv_file} are not "
            f"there: {first_few(missing)}. Expected <video_id> with one of the extensions "
            f"{' '.join(VIDEO_EXTENSIONS)}. Add the files, or remove their rows from the csv."
        )
    return found


def _read_rows(path: str, widths: tuple[int, ...], columns: str) -> Iterator[tuple[str, list[str]]]:
    """Yield ("file:line", fields) for every row that is not blank, of one of the widths."""
    for place, row in read_rows(path):
        if len(row) not in widths:
            raise AnnotationError(
                f"{place}: {len(row)} columns, expected {' or '.join(map(str, widths))}: "
                f"{columns}. Separate them with commas."
            )
        yield place, row


def _parse_keyframe(place: str, video_id: str, timestamp: str) -> Keyframe:
    video_id = video_id.strip()
    if _BAD_VIDEO_ID.search(video_id):
        raise AnnotationError(
            f"{place}: video id {video_id!r}. It must be a file's name without folder and "
            "extension: not empty, no '..', '/', '\\', comma or control character."
        )
    (second,) = _parse_numbers(place, [timestamp])
    if not 0 <= second < math.inf:
        raise AnnotationError(
            f"{place}: timestamp {timestamp}. It must be seconds from the start, at least 0."
        )
    return video_id, second


def _parse_box(place: str, texts: list[str]) -> tuple[float, float, float, float]:
    x1, y1, x2, y2 = _parse_numbers(place, texts)
    if not (0 <= x1 < x2 <= 1 and 0 <= y1 < y2 <= 1):
        raise AnnotationError(
            f"{place}: box {','.join(texts)}. It must be x1,y1,x2,y2 with 0 <= x1 < x2 <= 1 and "
            "0 <= y1 < y2 <= 1, as fractions of the frame: divide pixels by its width and height."
        )
    return x1, y1, x2, y2


def _parse_numbers(place: str, texts: list[str]) -> list[float]:
    try:
        return list(map(float, texts))
    except ValueError as error:
        raise AnnotationError(f"{place}: {error}. Remove any header line.") from None


def _parse_action(place: str, text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise AnnotationError(
            f"{place}: action id '{text}' is not an integer. Use the ids of the label map."
        ) from None
