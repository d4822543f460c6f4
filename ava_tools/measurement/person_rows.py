"""Boxes of persons at keyframes, matched with the annotated ones, and linked by their ids."""

from collections.abc import Collection, Iterator, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace

import numpy as np

from ava_tools.timelines.bouts import Track
from avsf_det.evaluation.ava_map import IOU_THRESHOLD, iou_of_pairs, pair_by_keyframe
from avsf_det.structures import ActionBoxes, AVSFError, Keyframe


@dataclass(frozen=True)
class PersonRows:
    """Boxes, one row per person and keyframe.

    Attributes:
        keyframes: distinct (video id, second of the file).
        keyframe: int64 (N,), index into ``keyframes``.
        boxes: float64 (N, 4), x1 y1 x2 y2 in 0..1 of the frame.
        persons: int64 (N,), id of the person within its video.
        scores: float64 (N, K), scores of the K actions; of annotations 1 or 0.
    """

    keyframes: list[Keyframe]
    keyframe: np.ndarray
    boxes: np.ndarray
    persons: np.ndarray
    scores: np.ndarray

    @property
    def seconds(self) -> np.ndarray:
        """Second of each row."""
        return np.array([second for _, second in self.keyframes], float)[self.keyframe]

    def where(self, kept: np.ndarray) -> "PersonRows":
        """Return the rows of a mask, bool (N,)."""
        columns = (self.keyframe, self.boxes, self.persons, self.scores)
        return PersonRows(self.keyframes, *(column[kept] for column in columns))

    def at(self, keyframes: Collection[Keyframe]) -> "PersonRows":
        """Return the rows of these keyframes."""
        wanted = set(keyframes)
        kept = [i for i, keyframe in enumerate(self.keyframes) if keyframe in wanted]
        number = np.full(len(self.keyframes), -1, np.int64)
        number[kept] = np.arange(len(kept))
        rows = self.where(number[self.keyframe] >= 0)
        keyframes_left = [self.keyframes[i] for i in kept]
        return replace(rows, keyframes=keyframes_left, keyframe=number[rows.keyframe])

    def rows_by_person(self) -> dict[tuple[str, str], np.ndarray]:
        """Return (video, person) -> its rows, by time."""
        videos = [video for video, _ in self.keyframes]
        rows: dict[tuple[str, str], list[int]] = {}
        for row in np.argsort(self.seconds, kind="stable").tolist():
            key = videos[self.keyframe[row]], str(self.persons[row])
            rows.setdefault(key, []).append(row)
        return {key: np.array(found) for key, found in rows.items()}

    def tracks(self) -> Iterator[Track]:
        """Yield the scores along each person's boxes."""
        seconds = self.seconds
        for (video, person), rows in self.rows_by_person().items():
            yield Track(video, person, seconds[rows], self.scores[rows])


def person_rows(
    rows: ActionBoxes,
    action_ids: Sequence[int],
    *,
    offset: float = 0.0,
    excluded: AbstractSet[Keyframe] = frozenset(),
    source: str = "",
) -> PersonRows:
    """Join the rows of a csv that have the same keyframe, box and person.

    Args:
        rows: annotations with ids of persons, detections, or person boxes with their id in the
            column of the action (``action_ids`` is empty then); those without id are left out.
        action_ids: ids of the K actions; rows of others are of a person without action.
        offset: second of the csv's clock at which the files start.
        excluded: keyframes of the csv to leave out.
        source: file of annotations, for messages. It makes ids of persons a must.

    Raises:
        AVSFError: a person of the annotations has two boxes at a keyframe.
    """
    persons = rows.persons
    if not action_ids:
        persons = rows.actions
    elif persons is None:
        persons = np.zeros(len(rows), np.int64)
    key = np.column_stack([rows.keyframe, persons, rows.boxes])
    # The rows of a box mostly follow each other: each run of them is one before the sort.
    starts = np.append(True, (key[1:] != key[:-1]).any(axis=1))[: len(key)]
    key, run = np.unique(key[starts], axis=0, return_inverse=True)
    row = run.reshape(-1)[np.cumsum(starts) - 1]
    scores = np.zeros((len(key), len(action_ids)))
    column = {action: k for k, action in enumerate(action_ids)}
    columns = np.array([column.get(a, -1) for a in rows.actions.tolist()], np.int64)
    known = columns >= 0
    np.maximum.at(scores, (row[known], columns[known]), rows.scores[known])
    if source and len(np.unique(key[:, :2], axis=0)) < len(key):
        same = np.flatnonzero((np.diff(key[:, :2], axis=0) == 0).all(axis=1))[0]
        video, second = rows.keyframes[int(key[same, 0])]
        raise AVSFError(
            f"{source}: one person has two boxes at second {second:g} of '{video}'. Bouts need the "
            "id of the person in column 8"
        )
    # Milliseconds make seconds of files and of csv comparable.
    of_file = {k: (k[0], round(k[1] - offset, 3)) for k in rows.keyframes}
    joined = PersonRows(
        list(of_file.values()),
        key[:, 0].astype(np.int64),
        key[:, 2:],
        key[:, 1].astype(np.int64),
        scores,
    )
    if not action_ids:
        joined = joined.where(joined.persons >= 0)
    return joined.at([of_file[k] for k in rows.keyframes if k not in excluded])


def match_rows(found: PersonRows, truth: PersonRows) -> np.ndarray:
    """Return the annotated row of each detected box, int64 (N,); -1 if there is none.

    Of the pairs with an IoU of at least 0.5 those with the highest come first, and each row is used
    once.
    """
    position = {keyframe: i for i, keyframe in enumerate(truth.keyframes)}
    at = np.array([position.get(k, -1) for k in found.keyframes], np.int64)[found.keyframe]
    # Pairs are formed of rows that lie keyframe by keyframe.
    by_keyframe = np.argsort(truth.keyframe, kind="stable")
    first, second = pair_by_keyframe(at, truth.keyframe[by_keyframe], len(truth.keyframes))
    second = by_keyframe[second]
    overlap = iou_of_pairs(found.boxes[first], truth.boxes[second])
    owner = np.full(len(found.boxes), -1, np.int64)
    taken = np.zeros(len(truth.boxes), bool)
    for i in np.argsort(-overlap, kind="stable"):
        if overlap[i] < IOU_THRESHOLD:
            break
        if owner[first[i]] < 0 and not taken[second[i]]:
            owner[first[i]], taken[second[i]] = second[i], True
    return owner
