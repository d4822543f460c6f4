"""Read the csv of the VGG Image Annotator 3, as exported or as saved by a spreadsheet.

Spreadsheets change the delimiter and the quotes, and pad rows with empty fields. They also split
the comment that defines the attributes at its commas, and drop quotes after them::

    {"1":{"aname":"pose","type":4}}     as exported
    {"1":{"aname":"pose",type:4}}       as saved by a spreadsheet, its fields joined again
"""

import csv
import io
import json
import re
from collections.abc import Iterator
from itertools import islice
from typing import Any, NamedTuple

from ava_tools.annotation_import.drawn_boxes import quote, short
from ava_tools.annotation_import.export_file import load_json, refuse_table
from avsf_det.structures import AnnotationError
from avsf_det.structures.text_file import open_text

_USED = ("file_list", "temporal_coordinates", "spatial_coordinates", "metadata")
_COLUMNS = ("metadata_id", "file_list", "flags", *_USED[1:])
_DEFINITIONS = re.compile(r"#\s*ATTRIBUTE\s*=")
_HEADER = re.compile(r"#\s*CSV_HEADER\s*=")
_DIALECTS = tuple((delimiter, quotes) for quotes in "\"'" for delimiter in ",;\t|")
_NUM_TRIED = 20  # rows that decide on the dialect
# A string up to its end or that of the text, or a key without quotes.
_TOKEN = re.compile(
    r'"(?:[^"\\]|\\.)*(?:"|\Z)|[^\s"{}\[\],:][^"{}\[\],:]{0,100}"?(?=\s*:)', re.DOTALL
)
_STRAIGHT = str.maketrans(dict.fromkeys("\u201c\u201d\u201e\u201f", '"'))
_AGAIN = "Export it again with VIA 3, or save the project and give its json."

_Row = tuple[str, list[str]]  # "file:line" and fields


class RawRegion(NamedTuple):
    """An entry of an export with unchecked values.

    Attributes:
        place: place in the export, for messages.
        files: names of the files that its view shows.
        moment: z in json.
        shape: xy in json.
        values: av in json.
    """

    place: str
    files: Any
    moment: Any
    shape: Any
    values: Any


def read_csv_export(path: str) -> tuple[Iterator[RawRegion], Any]:
    """Return the entries of a file, and the json that defines its attributes.

    Args:
        path: csv file.

    Raises:
        AnnotationError: the file is not an export of VIA 3, or a row cannot be parsed.
    """
    with open_text(path) as file:
        text = file.read()
    dialect = _find_dialect(path, text)
    try:
        rows = list(_split(path, text, *dialect))
    except csv.Error as error:
        raise AnnotationError(f"{path}: not csv ({error}). {_AGAIN}") from None
    return _regions(path, rows), _definitions(path, text, rows)


def _find_dialect(path: str, text: str) -> tuple[str, str]:
    """Return the delimiter and the quotation mark with which most rows can be parsed."""

    def num_parsed(dialect: tuple[str, str]) -> int:
        rows = (row for _, row in _split(path, text, *dialect) if not row[0].startswith("#"))
        try:
            return sum(map(_is_region, islice(rows, _NUM_TRIED)))
        except csv.Error:
            return 0

    return max(_DIALECTS, key=num_parsed)


def _split(path: str, text: str, delimiter: str, quotes: str) -> Iterator[_Row]:
    """Yield the comments, then the other rows, without blank rows and the empty fields at ends."""
    lines = list(enumerate(io.StringIO(text, newline=""), 1))
    # Each comment alone: it is no csv when exported, and a quote in it could hide all that follows.
    for number, line in lines:
        if line.startswith("#"):
            try:
                row = next(csv.reader([line], delimiter=delimiter, quotechar=quotes))
            except csv.Error:  # a long one, such as options that are images
                row = [line]
            yield f"{path}:{number}", _without_empty_end(row)
    lines = [(number, line) for number, line in lines if not line.startswith("#")]
    reader = csv.reader((line for _, line in lines), delimiter=delimiter, quotechar=quotes)
    for row in reader:
        if len(row) == 1 and not row[0].startswith("#"):
            # Where the list separator is another one, a spreadsheet keeps the line in one field.
            row = next(csv.reader(row), [])
        if row := _without_empty_end(row):
            yield f"{path}:{lines[reader.line_num - 1][0]}", row


def _without_empty_end(row: list[str]) -> list[str]:
    end = next((i for i in range(len(row), 0, -1) if row[i - 1].strip()), 0)
    return row[:end]


def _definitions(path: str, text: str, rows: list[_Row]) -> Any:
    # As exported, the line is no csv.
    lines = [(f"{path}:{n}", line) for n, line in enumerate(io.StringIO(text), 1)]
    joined = [(place, ",".join(row)) for place, row in rows]
    found = [
        (place, line.strip()[match.end() :])
        for place, line in lines + joined
        if (match := _DEFINITIONS.match(line.strip()))
    ]
    for _, definitions in found[:_NUM_TRIED]:
        try:
            return _parse(definitions)
        except ValueError:
            pass
    if not found:
        refuse_table(path, [row for _, row in rows[:_NUM_TRIED]])
    raise AnnotationError(f"{found[0][0]}: no json after '# ATTRIBUTE ='. {_AGAIN}")


def _regions(path: str, rows: list[_Row]) -> Iterator[RawRegion]:
    names = list(_COLUMNS)
    for place, row in rows:
        is_header = _HEADER.match(row[0])
        if is_header or row[0] == _COLUMNS[0]:
            names = [name.strip() for name in ",".join(row).split("=")[-1].split(",")]
            missing = [name for name in _USED if name not in names]
            if missing:
                raise AnnotationError(
                    f"{place}: no column {missing[0]}, but {quote(names)}. {_AGAIN}"
                )
            continue
        if row[0].startswith("#"):
            continue
        used = [names.index(name) for name in _USED]
        if not max(used) < len(row) <= len(names):
            raise AnnotationError(
                f"{place}: {len(row)} columns, expected {short(','.join(names))}. {_AGAIN}"
            )
        values = []
        for name, i in zip(_USED, used, strict=True):
            try:
                values.append(_parse(row[i]))
            except ValueError as error:
                raise AnnotationError(
                    f"{place}: {error} in {name} {quote(row[i])}. {_AGAIN}"
                ) from None
        yield RawRegion(place, *values)


def _is_region(row: list[str]) -> bool:
    if len(row) != len(_COLUMNS):
        return False
    try:
        for name in _USED:
            _parse(row[_COLUMNS.index(name)])
    except ValueError:
        return False
    return True


def _parse(text: str) -> Any:
    """Parse json, if need be without what spreadsheets did to it; ValueError if not."""
    try:
        return load_json(text)
    except ValueError as error:
        reason = error.msg if isinstance(error, json.JSONDecodeError) else "not json"
    straight = text.translate(_STRAIGHT)
    for candidate in (straight, straight.replace('""', '"'), _TOKEN.sub(_quote_key, straight)):
        try:
            return load_json(candidate)
        except ValueError:
            pass
    raise ValueError(reason)


def _quote_key(token: re.Match[str]) -> str:
    text = token[0]
    return text if text.startswith('"') else f'"{text.strip(chr(34)).strip()}"'
