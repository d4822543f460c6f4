"""What a generated data set consists of, before anything is drawn."""

import csv
import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ava_tools.mini.script import Movie


@dataclass(frozen=True)
class MiniSet:
    """Keys are paths inside the set's folder; an annotation file is its text, whole. A movie's
    suffix says how it is encoded."""

    movies: dict[str, Movie]
    annotations: dict[str, str]


def csv_text(rows: Iterable[Sequence[object]]) -> str:
    """Rows of a csv file; cells are quoted where they must be."""
    file = io.StringIO()
    csv.writer(file, lineterminator="\n").writerows(rows)
    return file.getvalue()
