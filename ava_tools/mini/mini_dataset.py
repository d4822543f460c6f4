"""A generated dataset before it is rendered, and its csv text."""

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from ava_tools.mini.video_plan import VideoPlan


@dataclass(frozen=True)
class MiniDataset:
    """Everything that a dataset folder will contain.

    Attributes:
        videos: path inside the folder -> plan of the video; the suffix selects the encoding.
        annotations: path inside the folder -> whole content of the annotation file.
    """

    videos: dict[str, VideoPlan]
    annotations: Mapping[str, str | bytes]


def csv_text(rows: Iterable[Sequence[object]]) -> str:
    """Return rows as csv text, with quotes where a cell needs them."""
    file = io.StringIO()
    csv.writer(file, lineterminator="\n").writerows(rows)
    return file.getvalue()
