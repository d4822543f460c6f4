"""The csv files of AVA: the one reader and the one writer.

No file has a header line. Boxes are fractions of the frame's width and height, timestamps are
seconds, and "0902" and "902" are the same keyframe. A row that starts with "#" is a comment::

    annotations         video_id,timestamp[,x1,y1,x2,y2,action_id[,person_id]]
    detections          video_id,timestamp,x1,y1,x2,y2,action_id[,score]
    person boxes        video_id,timestamp,x1,y1,x2,y2,[person_id,]score
    excluded keyframes  video_id,timestamp

Annotations of two columns (AVA-Kinetics) are keyframes without persons: training has nothing to
learn from them, in evaluation every detection on them is wrong. Boxes of annotations and persons
that overshoot the frame by up to 1 % are clipped and counted in the log. The id of a detected
person (empty or negative: unknown) is unique in its video; published files have actions there.

Every reader raises an AnnotationError, with file, line, value and remedy, for a bad row. Ground
truth and person boxes may not be empty.

pyarrow parses whole files in C++. Where it refuses a file, or a value is out of range, the file is
read again row by row. That pass defines what is valid, and its errors name the line. It gives the
same values: both parsers round a decimal to the nearest float64.
"""

import csv
import itertools
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TextIO

import numpy as np
import pyarrow as pa
from pyarrow import csv as arrow_csv

from .addresses import local_path
from .ava_boxes import (
    ANNOTATIONS,
    DETECTIONS,
    GROUND_TRUTH,
    MAX_ACTION_ID,
    MAX_SECOND,
    PERSON_BOXES,
    ActionBoxes,
    Box,
    Keyframe,
    RowRules,
    is_wrong_video_id,
    log_clipped,
    parse_keyframe,
    parse_rows,
)
from .errors import AnnotationError
from .text_file import check_file, read_rows, reading

DETECTION_DIGITS = 5  # decimals of the coordinates of detections


# Reading ------------------------------------------------------------------------------------------


def read_action_boxes(path: str | Path, rules: RowRules = ANNOTATIONS) -> ActionBoxes:
    """Read boxes with actions from csv or csv.gz; an empty file holds no row."""
    with reading(path):
        check_file(path)
    rows = _parse_table(path, rules)
    return parse_rows(path, rules) if rows is None else rows


def read_ground_truth(path: str | Path) -> ActionBoxes:
    """Read annotations that are scored only: they need no video, and boxes may have no area."""
    rows = read_action_boxes(path, GROUND_TRUTH)
    if not len(rows):
        raise AnnotationError(
            f"{path}: no ground truth, the file is empty. It needs rows {GROUND_TRUTH.columns}."
        )
    return rows


def read_detections(path: str | Path) -> ActionBoxes:
    """Read detections. The score is 1 if the file has no such column.

    Boxes may overshoot the frame or have no area, since detectors produce such boxes.
    """
    return read_action_boxes(path, DETECTIONS)


def has_annotations(path: str | Path) -> bool:
    """Return whether a csv has actions and no scores, by its first rows."""
    rows = [row for _, row in itertools.islice(read_rows(path, comments=True), 1000)]
    rows = [row for row in rows if len(row) != 2]  # keyframes without persons
    # The number of a person is no score, nor is the id of an action in the last column; but ids
    # that are all 0 or 1 could be scores.
    return (
        len(rows) > 0
        and all(len(row) in (7, 8) and row[6].strip().isdecimal() for row in rows)
        and not any(re.fullmatch(r"\d*\.\d*([eE][-+]?\d+)?", row[-1].strip()) for row in rows)
        and (len(rows[0]) == 8 or any(row[6].strip() not in ("0", "1") for row in rows))
    )


def read_person_boxes(
    path: str | Path, *, take_annotations: bool = False, take_ids: bool = False
) -> dict[Keyframe, tuple[np.ndarray, ...]]:
    """Read detected persons; with ``take_annotations`` also annotated ones, with score 1.

    The score is the last of 8 or 7 columns. Rows with the same coordinates (published files repeat
    a box for each of its actions) are one box with the highest score. The actions are not used.

    Returns:
        For each keyframe boxes (N, 4), x1 y1 x2 y2 in 0..1, and scores (N,), both float32, in
        order of first appearance; with ``take_ids`` also ids int32 (N,), -1 where there is none.
    """
    is_annotated = has_annotations(path)
    if is_annotated and not take_annotations:
        raise AnnotationError(
            f"{path}: has actions and no scores, as annotations have. Give person boxes with "
            "scores (detect_persons.py), or set MODEL.LOAD_PROPOSALS False to use annotated boxes."
        )
    rows = read_action_boxes(path, ANNOTATIONS if is_annotated else PERSON_BOXES)
    if not len(rows):
        raise AnnotationError(
            f"{path}: the file is empty. Person boxes need rows {PERSON_BOXES.columns} (the "
            "person may be empty)."
        )
    # Equal boxes of a keyframe become neighbours, the first in the file first.
    order = np.lexsort((*rows.boxes.T, rows.keyframe))
    keys = np.column_stack([rows.keyframe, rows.boxes])[order]
    start = np.flatnonzero(np.append(True, (keys[1:] != keys[:-1]).any(axis=1)))
    first, highest = order[start], np.maximum.reduceat(rows.scores[order], start)
    # Back into the order of the file, keyframe by keyframe.
    by_appearance = np.lexsort((first, rows.keyframe[first]))
    first, highest = first[by_appearance], highest[by_appearance]
    columns: list[np.ndarray] = [rows.boxes[first].astype(np.float32), highest.astype(np.float32)]
    if take_ids:
        # One box with several numbers: they are its actions.
        low, high = (f.reduceat(rows.actions[order], start) for f in (np.minimum, np.maximum))
        is_tracked = not is_annotated and (low == high).all()
        unknown = np.full(len(first), -1, np.int32)
        columns.append(_check_ids(path, rows, first) if is_tracked else unknown)
    ends = np.cumsum(np.bincount(rows.keyframe[first]))[:-1]
    split = zip(*(np.split(column, ends) for column in columns), strict=True)
    return dict(zip(rows.keyframes, split, strict=True))


def _check_ids(path: str | Path, rows: ActionBoxes, kept: np.ndarray) -> np.ndarray:
    """Return the person ids of the kept rows; no two of a keyframe may be equal."""
    ids, keyframe = np.maximum(rows.actions[kept], -1), rows.keyframe[kept]
    order = np.lexsort((kept, ids, keyframe))
    is_same = (np.diff(ids[order]) == 0) & (np.diff(keyframe[order]) == 0)
    clashes = kept[order[1:][is_same & (ids[order[1:]] >= 0)]]
    if len(clashes):
        row = clashes.min()
        video, second = rows.keyframes[rows.keyframe[row]]
        line = rows.lines[row] if rows.lines is not None else "?"
        raise AnnotationError(
            f"{path}:{line}: person {rows.actions[row]} has two boxes at {second:g} s of '{video}'"
            ". Give each person an id of its own, or leave column 7 empty."
        )
    return ids


def read_excluded_keyframes(path: str | Path) -> frozenset[Keyframe]:
    """Read the keyframes that are left out of training and evaluation; the file may be empty."""
    keyframes = []
    for place, row in read_rows(path, comments=True):
        if len(row) != 2:
            raise AnnotationError(
                f"{place}: {len(row)} columns, expected 2: video_id,timestamp. Separate them "
                "with commas."
            )
        keyframes.append(parse_keyframe(place, row, GROUND_TRUTH))
    return frozenset(keyframes)


def _parse_table(path: str | Path, rules: RowRules) -> ActionBoxes | None:
    """Parse the whole file at once. Return None if any of it needs a closer look."""
    text_type = pa.dictionary(pa.int32(), pa.utf8())
    types = dict.fromkeys([f"f{i}" for i in range(8)], pa.float64())
    types |= {"f0": text_type, "f7": types["f7"] if rules.last_is_score else text_type}
    try:
        table = arrow_csv.read_csv(
            local_path(path),
            read_options=arrow_csv.ReadOptions(autogenerate_column_names=True),
            # A blank line is a row with too few columns, so that row i is on line i + 1.
            parse_options=arrow_csv.ParseOptions(ignore_empty_lines=False),
            convert_options=arrow_csv.ConvertOptions(
                column_types=types, null_values=[""] if rules.for_persons else []
            ),
        )
    except (pa.ArrowException, OSError):
        return None
    num_rows, num_columns = table.num_rows, table.num_columns
    if num_columns not in (7, 8):
        return None
    # Empty cells of person boxes are nulls, as numbers nan. Only the action may be empty.
    seconds = table["f1"].to_numpy()
    boxes = np.empty((num_rows, 4))
    for i in range(4):
        boxes[:, i] = table[2 + i].to_numpy()
    boxes += 0.0  # turns -0 into 0
    boxes, num_clipped = _clip(boxes, rules)
    actions = np.full(num_rows, -1.0)  # persons without a column of actions
    if not rules.for_persons or num_columns == 8:
        actions = (table["f6"].fill_null(-1.0) if rules.for_persons else table["f6"]).to_numpy()
    scores = np.ones(num_rows)
    if rules.last_is_score and (num_columns == 8 or rules.for_persons):
        scores = table[num_columns - 1].to_numpy()
    videos = table["f0"]
    names = table["f7"] if num_columns == 8 and not rules.last_is_score else None
    del table  # half of the memory
    if not _are_valid(seconds, boxes, actions, scores, rules):
        return None
    ids, video = _texts_and_codes(videos)
    person_names, person = [""], np.zeros(num_rows, np.int32)
    if names is not None:
        person_names, person = _texts_and_codes(names)
    # Quotes and blanks are left to the csv module and to str.strip.
    if any('"' in text or text != text.strip() for text in [*ids, *person_names]):
        return None
    if any(is_wrong_video_id(text, rules) or text.startswith("#") for text in ids):
        return None
    log_clipped(path, num_clipped)
    keyframes, keyframe = _index_keyframes(ids, video, seconds)
    lines = np.arange(1, num_rows + 1) if rules.has_lines else None
    persons = None
    if not rules.last_is_score:
        persons = np.argsort(np.argsort(person_names)).astype(np.int32)[person]  # ranks
    return ActionBoxes(keyframes, keyframe, boxes, actions.astype(np.int32), scores, persons, lines)


def _clip(boxes: np.ndarray, rules: RowRules) -> tuple[np.ndarray, int]:
    """Clip boxes if all are within the tolerance; return them, and how many lay beyond."""
    low, high = rules.coordinates
    # The extrema first: they take less time than a comparison of all values.
    least, greatest = (boxes.min(), boxes.max()) if len(boxes) else (low, high)
    is_within = low - rules.overshoot <= least and greatest <= high + rules.overshoot
    if not is_within or (low <= least and greatest <= high):
        return boxes, 0
    num_clipped = int(((boxes < low) | (boxes > high)).any(axis=1).sum())
    return boxes.clip(low, high), num_clipped


def _are_valid(
    seconds: np.ndarray, boxes: np.ndarray, actions: np.ndarray, scores: np.ndarray, rules: RowRules
) -> bool:
    """Check all numbers of a file; nan fails every comparison."""
    low, high = rules.coordinates
    return bool(
        (np.abs(seconds) <= MAX_SECOND).all()
        and (not rules.ids_are_files or (seconds >= 0).all())
        and (boxes >= low).all()
        and (boxes <= high).all()
        and (rules.order is None or rules.order(boxes[:, :2], boxes[:, 2:]).all())
        and (np.abs(actions) <= MAX_ACTION_ID).all()
        and (actions == np.rint(actions)).all()
        and np.isfinite(scores).all()
        and (not rules.for_persons or ((scores >= 0) & (scores <= 1)).all())
    )


def _texts_and_codes(column: pa.ChunkedArray) -> tuple[list[str], np.ndarray]:
    """Return the distinct texts of a column, and for each row the index of its text."""
    values = column.unify_dictionaries().combine_chunks()
    if values.null_count:
        return [""], np.zeros(len(values), np.int32)
    return values.dictionary.to_pylist(), values.indices.to_numpy()


def _index_keyframes(
    ids: list[str], video: np.ndarray, seconds: np.ndarray
) -> tuple[list[Keyframe], np.ndarray]:
    """Return the distinct keyframes in order of first appearance, and the index of each row's."""
    time = pa.array(seconds + 0.0).dictionary_encode()
    # One integer per (video, time): pyarrow encodes no pairs.
    pairs = video.astype(np.int64) * len(time.dictionary) + time.indices.to_numpy()
    encoded = pa.array(pairs).dictionary_encode()  # its dictionary is in order of appearance
    videos, times = divmod(encoded.dictionary.to_numpy(), len(time.dictionary))
    seconds_of = time.dictionary.to_numpy()[times].tolist()
    keyframes = [(ids[v], t) for v, t in zip(videos.tolist(), seconds_of, strict=True)]
    return keyframes, encoded.indices.to_numpy()


# Writing ------------------------------------------------------------------------------------------


def write_action_boxes(
    file: TextIO,
    rows: Iterable[tuple[Keyframe, Box, int, str | int]],
    *,
    digits: int = 4,
    second_digits: int = 4,
) -> None:
    """Write annotations: keyframe, box, action id and person of each box and action.

    ``digits`` are the decimals of the coordinates, ``second_digits`` the least number of digits of
    a whole second.
    """
    writer = csv.writer(file, lineterminator="\n")
    for (video_id, second), box, action_id, person in rows:
        corners = [f"{value:.{digits}f}" for value in box]
        time = _format_second(second, second_digits)
        writer.writerow([video_id, time, *corners, action_id, person])


def write_detections(
    file: TextIO,
    keyframe: Keyframe,
    boxes: np.ndarray,
    action_ids: Sequence[int],
    scores: np.ndarray,
) -> None:
    """Write the detections of one keyframe, each box with all actions.

    Nine digits distinguish any two float32 scores, so that writing makes no ties. Boxes are float32
    (N, 4), x1 y1 x2 y2 in 0..1, scores float32 (N, K) of K action ids.
    """
    start = f"{keyframe[0]},{_format_second(keyframe[1])}"
    for box, box_scores in zip(boxes.tolist(), scores.tolist(), strict=True):
        key = start + "".join(f",{value:.{DETECTION_DIGITS}f}" for value in box)
        rows = zip(action_ids, box_scores, strict=True)
        file.writelines(f"{key},{action_id},{score:.9g}\n" for action_id, score in rows)


def write_person_boxes(
    file: TextIO,
    keyframes: Iterable[tuple[Keyframe, Iterable[Sequence[float]]]],
    *,
    digits: int = 4,
) -> None:
    """Write detected persons: x1, y1, x2, y2 in 0..1, score and, if known, id for each keyframe.

    ``digits`` are the decimals of the coordinates; the score has four. Negative ids are left out.
    """
    for (video_id, second), persons in keyframes:
        for row in persons:
            corners = ",".join(f"{value:.{digits}f}" for value in row[:4])
            person = f"{row[5]:.0f}" if len(row) > 5 and row[5] >= 0 else ""
            file.write(f"{video_id},{_format_second(second)},{corners},{person},{row[4]:.4f}\n")


def write_excluded_keyframes(file: TextIO, keyframes: Iterable[Keyframe]) -> None:
    """Write keyframes to leave out, one a line."""
    file.writelines(f"{video_id},{_format_second(second)}\n" for video_id, second in keyframes)


def _format_second(second: float, digits: int = 4) -> str:
    """Return whole seconds with four digits, as in the official files, others exactly."""
    second = float(second)
    return f"{second:0{digits}.0f}" if second.is_integer() else repr(second)
