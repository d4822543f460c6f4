"""Annotations and detections of AVA's kind as plain values, and the rows of csv that are valid."""

import logging
import math
import operator
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby, islice
from pathlib import Path
from typing import Any

import numpy as np

from .errors import AnnotationError
from .text_file import read_rows

Keyframe = tuple[str, float]  # video id, seconds in the csv's clock
Box = tuple[float, float, float, float]  # x1, y1, x2, y2 in 0..1 of the frame

logger = logging.getLogger(__name__)

MAX_ACTION_ID = np.iinfo(np.int32).max
MAX_SECOND = 1e9  # 31 years; a larger timestamp is a number of another kind
_MAX_ID_LENGTH = 1000  # characters; longer ones come from a file of another kind
# Video ids become file names.
_NO_FILE_NAME = re.compile(r"^$|\.\.|[/\\,\x00-\x1f\x7f]")


@dataclass(frozen=True)
class ActionBoxes:
    """Rows of an AVA csv as columns. Row i is one box with one action."""

    keyframes: list[Keyframe]  # distinct, in order of first appearance
    keyframe: np.ndarray  # int32 (N,), index into ``keyframes``
    boxes: np.ndarray  # float64 (N, 4), x1 y1 x2 y2 as fractions of width and height
    actions: np.ndarray  # int32 (N,), ids of the label map
    scores: np.ndarray  # float64 (N,), ones for annotations
    # Of annotations of a file: int32 (N,), rank of the person's name among all names; int64 (N,),
    # line from 1 (of person boxes, too); annotated keyframes without any person -> line.
    persons: np.ndarray | None = None
    lines: np.ndarray | None = None
    empty: Mapping[Keyframe, int] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.keyframe)


def take_every(dataset_dicts: Sequence[dict], stride: int) -> list[dict]:
    """Return each ``stride``-th keyframe of every video, its first one first, ordered by time."""
    if stride == 1:
        return list(dataset_dicts)
    ordered = sorted(dataset_dicts, key=lambda d: (d["video_id"], d["timestamp"]))
    groups = groupby(ordered, key=lambda d: d["video_id"])
    return [d for _, video in groups for d in islice(video, 0, None, stride)]


@dataclass(frozen=True)
class RowRules:
    """Rows that a csv of boxes may have."""

    columns: str  # form of a row, for messages
    last_is_score: bool = False  # the last column; else it names a person
    for_persons: bool = False  # scores are in 0..1, also those of rows without an action
    coordinates: tuple[float, float] = (0.0, 1.0)  # least and greatest
    overshoot: float = 0.01  # how far coordinates may lie beyond; such boxes are clipped
    order: Callable[[Any, Any], Any] | None = operator.lt  # of x1 and x2, y1 and y2; None: any
    # All rows have as many columns as the first, and no line is blank. Else a row
    # video_id,timestamp is a keyframe without persons, as in AVA-Kinetics.
    equal_widths: bool = False
    ids_are_files: bool = True  # a video id is a file name, and a timestamp at least 0

    @property
    def has_lines(self) -> bool:
        """Whether the lines of the rows are kept; detections are too many."""
        return self.for_persons or not self.last_is_score


ANNOTATIONS = RowRules("video_id,timestamp,x1,y1,x2,y2,action,person")
# As annotations, but what is only scored needs no video and may have boxes without area.
GROUND_TRUTH = replace(ANNOTATIONS, order=operator.le, ids_are_files=False)
# Detectors overshoot the frame and produce boxes without area; beyond -1..2 they are pixels. A row
# that lacks its score would silently count with score 1, so that widths must be equal.
DETECTIONS = RowRules(
    "video_id,timestamp,x1,y1,x2,y2,action_id[,score]",
    last_is_score=True,
    coordinates=(-1.0, 2.0),
    overshoot=0.0,
    order=None,
    equal_widths=True,
    ids_are_files=False,
)
PERSON_BOXES = RowRules(
    "video_id,timestamp,x1,y1,x2,y2,person,score", last_is_score=True, for_persons=True
)


def parse_rows(path: str | Path, rules: RowRules) -> ActionBoxes:
    """Parse a csv of boxes row by row; raise an AnnotationError for the first that is wrong."""
    index: dict[Keyframe, int] = {}
    empty: dict[Keyframe, int] = {}
    columns: list[tuple[int, Box, int, float, str, int]] = []
    num_columns = num_clipped = 0
    for place, row in read_rows(path, skip_blank=not rules.equal_widths, comments=True):
        line = int(place.rpartition(":")[2])
        if not rules.equal_widths and 2 <= len(row) <= 8 and not any(row[2:]):
            empty.setdefault(parse_keyframe(place, row[:2], rules), line)
            continue
        num_columns = num_columns or len(row)
        if len(row) not in (7, 8) or (rules.equal_widths and len(row) != num_columns):
            expected = num_columns if rules.equal_widths and num_columns in (7, 8) else "7 or 8"
            raise AnnotationError(
                f"{place}: {max(len(row), 1)} columns, expected {expected}: {rules.columns}. "
                "Separate them with commas."
            )
        keyframe = parse_keyframe(place, row[:2], rules)
        box, is_clipped = _parse_box(place, row[2:6], rules)
        num_clipped += is_clipped
        # Only rows of person boxes may lack column 7, which holds an action or the person's id.
        has_action = not rules.for_persons or (len(row) == 8 and row[6] != "")
        action = _parse_action(place, row[6], rules) if has_action else -1
        has_score = rules.for_persons or (rules.last_is_score and len(row) == 8)
        score = _parse_score(place, row[-1], rules) if has_score else 1.0
        person = row[7].strip() if len(row) == 8 and not rules.last_is_score else ""
        number = index.setdefault(keyframe, len(index))
        columns.append((number, box, action, score, person, line))
    log_clipped(path, num_clipped)
    keyframes, boxes, actions, scores, persons, lines = (
        zip(*columns, strict=True) if columns else [()] * 6
    )
    # Ranks stand for the names: only their equality and order count.
    names = np.unique(np.array(persons, str), return_inverse=True)[1].astype(np.int32)
    return ActionBoxes(
        list(index),
        np.array(keyframes, np.int32),
        np.array(boxes, np.float64).reshape(-1, 4) + 0.0,  # turns -0 into 0
        np.array(actions, np.int32),
        np.array(scores, np.float64),
        None if rules.last_is_score else names,
        np.array(lines, np.int64) if rules.has_lines else None,
        {keyframe: line for keyframe, line in empty.items() if keyframe not in index},
    )


def log_clipped(path: str | Path, count: int) -> None:
    """Warn of boxes that lay beyond the frame, once for a file."""
    if count:
        logger.warning(f"{path}: {count} boxes overshot the frame by up to 1 % and were clipped")


def is_wrong_video_id(text: str, rules: RowRules) -> bool:
    """Return whether a text, without surrounding blanks, cannot be a video id."""
    if rules.ids_are_files and _NO_FILE_NAME.search(text):
        return True
    return not text or "," in text or len(text) > _MAX_ID_LENGTH


def parse_keyframe(place: str, texts: Sequence[str], rules: RowRules) -> Keyframe:
    """Parse the texts of video id and timestamp; ``place`` ("file:line") is for messages."""
    video_id = texts[0].strip()
    if len(video_id) > _MAX_ID_LENGTH:  # too long to be shown
        raise AnnotationError(
            f"{place}: a video id of {len(video_id)} characters. A row is {rules.columns}."
        )
    if is_wrong_video_id(video_id, rules):
        raise AnnotationError(
            f"{place}: video id {video_id!r}. It must be a file's name without folder and "
            "extension: not empty, no '..', '/', '\\', comma or control character."
        )
    second = _parse_number(place, "timestamp", texts[1], rules)
    if abs(second) > MAX_SECOND:
        raise AnnotationError(
            f"{place}: timestamp {texts[1]} is no number of seconds. A row is {rules.columns}."
        )
    if rules.ids_are_files and second < 0:
        raise AnnotationError(
            f"{place}: timestamp {texts[1]}. It must be seconds from the start, at least 0."
        )
    return video_id, second + 0.0


def _parse_box(place: str, texts: Sequence[str], rules: RowRules) -> tuple[Box, bool]:
    """Return a box, and whether it was clipped."""
    names = ("x1", "y1", "x2", "y2")
    given = [_parse_number(place, *item, rules) for item in zip(names, texts, strict=True)]
    low, high = rules.coordinates
    box = given
    if low - rules.overshoot <= min(given) and max(given) <= high + rules.overshoot:
        box = [min(max(value, low), high) for value in given]
    x1, y1, x2, y2 = box
    ordered = rules.order is None or (rules.order(x1, x2) and rules.order(y1, y2))
    if not (low <= min(box) and max(box) <= high and ordered):
        sign = {operator.lt: "<", operator.le: "<=", None: "and"}[rules.order]
        form = " and ".join(f"{low:g} <= {c}1 {sign} {c}2 <= {high:g}" for c in "xy")
        raise AnnotationError(
            f"{place}: box {','.join(texts)}. It must be x1,y1,x2,y2 with {form}, as fractions "
            "of the frame: divide pixels by its width and height."
        )
    return (x1, y1, x2, y2), box != given


def _parse_action(place: str, text: str, rules: RowRules) -> int:
    number = _to_float(text)
    if not (abs(number) <= MAX_ACTION_ID and number.is_integer()):
        kind, remedy = "action", "Use the ids of the label map."
        if rules.for_persons:
            kind, remedy = "person or action", "Column 7 may be empty."
        raise AnnotationError(f"{place}: {kind} id '{text}' is not an integer. {remedy}")
    return int(number)


def _parse_score(place: str, text: str, rules: RowRules) -> float:
    score = _parse_number(place, "score", text, rules)
    if rules.for_persons and not 0 <= score <= 1:
        raise AnnotationError(
            f"{place}: person score {text} is outside 0..1. The last column of a person-box file "
            "is the detector's score; in an annotation file it is a person or an action (to test "
            "on annotated boxes, set MODEL.LOAD_PROPOSALS False)."
        )
    return score


def _parse_number(place: str, column: str, text: str, rules: RowRules) -> float:
    number = _to_float(text)
    if not math.isfinite(number):
        raise AnnotationError(
            f"{place}: {column} '{text}' is not a finite number. A row is {rules.columns}. Remove "
            "any header line."
        )
    return number


def _to_float(text: str) -> float:
    """Return nan for what is no number: it fails every comparison."""
    try:
        return math.nan if "_" in text else float(text)  # Python alone reads 1_0 as 10
    except ValueError:
        return math.nan
