"""Annotations and detections of AVA's kind as plain values."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

Keyframe = tuple[str, float]  # video id, seconds in the csv's clock
Box = tuple[float, float, float, float]  # x1, y1, x2, y2 in 0..1 of the frame


@dataclass(frozen=True)
class ActionBoxes:
    """Rows of an AVA csv as columns. Row i is one box with one action.

    Attributes:
        keyframes: distinct keyframes, in order of first appearance.
        keyframe: int32 (N,), index into ``keyframes``.
        boxes: float64 (N, 4), x1 y1 x2 y2 as fractions of width and height.
        actions: int32 (N,), ids of the label map.
        scores: float64 (N,), ones for annotations.
        persons: int32 (N,), rank of the person's name among all names of the file; None if these
            are no annotations.
        lines: int64 (N,), line of the file, from 1; None if these are no annotations of a file.
        empty: annotated keyframes without any person -> line of the file.
    """

    keyframes: list[Keyframe]
    keyframe: np.ndarray
    boxes: np.ndarray
    actions: np.ndarray
    scores: np.ndarray
    persons: np.ndarray | None = None
    lines: np.ndarray | None = None
    empty: Mapping[Keyframe, int] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.keyframe)


class LabelMap(dict[int, str]):
    """Names of the actions by id of the csv, in ascending order of the ids."""

    @property
    def ids(self) -> list[int]:
        """Return the ids."""
        return list(self)

    @property
    def names(self) -> list[str]:
        """Return the names, in the order of the ids."""
        return list(self.values())
