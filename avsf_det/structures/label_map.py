"""Label maps: the ids and names of actions.

The formats are protobuf text, on one line or on many; lines ``id: name``; and csv, whose first line
may name the columns ``id`` and ``name``. Text after "#" at the start of a line is a comment::

    item { name: "sit" id: 11 }
    label { name: "sit" label_id: 11 }
    11: sit
    11,sit
"""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TextIO

from .ava_boxes import MAX_ACTION_ID
from .errors import AnnotationError
from .text_file import bounded_lines, open_text, read_rows

_MAX_TEXT = 10_000_000  # characters of a file
_QUOTED = re.compile(r'"((?:[^"\\\n]|\\.)*)"|\'((?:[^\'\\\n]|\\.)*)\'')
_BLOCK = re.compile(r"\w+\s*\{")
_KEY = re.compile(r"(\w+)\s*:\s*")
_NEXT_KEY = re.compile(r"[\s,;]\w+\s*:")
_LINE = re.compile(r"(\d+)[^\S\n]*:[^\S\n]*(\S[^\n]*)")
_GAP = re.compile(r"(?:\s|#[^\n]*)*")  # blanks and comments
_SEPARATORS = re.compile(r"(?:[\s,;]|#[^\n]*)*")  # the same between the fields of a block
# First line of a csv: an id and a name, or the names of the columns.
_CSV = re.compile(r'\s*(?:"?\d+"?|"?\w*id"?|"?\w*name"?)[^\S\n\t]*([,;\t])')
_ID_COLUMNS, _NAME_COLUMNS = ("id", "label_id", "action_id"), ("name", "label", "label_name")


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


class _FormatError(Exception):
    """Text at some position that is not a label."""


def read_label_map(path: str | Path, *, distinct_names: bool = False) -> LabelMap:
    """Read a label map in one of the formats above.

    Raises:
        AnnotationError: no label, one without name or id, an id (or name) twice, other text.
    """
    labels: dict[int, str] = {}
    names: set[str] = set()
    for place, csv_id, name in _read_labels(path):
        if not (csv_id.isdecimal() and name) or min(name) < " ":
            raise _not_a_label(place, f"{csv_id}: {name}" if csv_id or name else "")
        action_id = int(csv_id) if len(csv_id) <= 10 else MAX_ACTION_ID + 1
        if action_id > MAX_ACTION_ID:
            raise AnnotationError(
                f"{place}: id {csv_id} is too large. Give ids up to {MAX_ACTION_ID}."
            )
        if action_id in labels:
            raise AnnotationError(
                f"{place}: id {action_id} occurs twice, as '{labels[action_id]}' and '{name}'. "
                "Give each action an id of its own."
            )
        if distinct_names and name in names:
            raise AnnotationError(f"{place}: name '{name}' occurs twice. Use each name once.")
        labels[action_id] = name
        names.add(name)
    if not labels:
        raise AnnotationError(f'{path}: no label. Write each as item {{ name: "sit" id: 11 }}.')
    return LabelMap(sorted(labels.items()))


def write_label_map(file: TextIO, label_map: Mapping[int, str]) -> None:
    """Write a label map as protobuf text, in ascending order of the ids."""
    for action_id in sorted(label_map):
        quoted = label_map[action_id].replace("\\", "\\\\").replace('"', '\\"')
        file.write(f'item {{\n  name: "{quoted}"\n  id: {action_id}\n}}\n')


def _read_labels(path: str | Path) -> Iterator[tuple[str, str, str]]:
    """Yield ("file:line", id, name) of each label; id or name is "" where the label lacks it."""
    with open_text(path) as file:
        lines, size = [], 0
        for line in bounded_lines(file, path):
            lines.append(line)
            size += len(line)
            if size > _MAX_TEXT:
                raise AnnotationError(f"{path}: too long for a label map. Give another file.")
    text = "".join(lines).replace("\r\n", "\n").replace("\r", "\n").rstrip()
    position = _end(_GAP, text, 0)
    if found := _CSV.match(text, position):
        yield from _read_csv(path, found[1])
        return
    line_number, counted = 1, 0
    while position < len(text):
        line_number += text.count("\n", counted, position)
        counted = position
        place = f"{path}:{line_number}"
        # Labels follow each other without any other text: match here, not somewhere further on.
        if line_label := _LINE.match(text, position):
            yield place, line_label[1], _unquote(line_label[2].strip())
            position = line_label.end()
        else:
            try:
                fields, position = _parse_block(text, position)
            except _FormatError:
                raise _not_a_label(place, text[position:].split("\n", 1)[0]) from None
            # Other fields, such as display_name, are ignored.
            yield place, fields.get("id", fields.get("label_id", "")), fields.get("name", "")
        position = _end(_GAP, text, position)


def _read_csv(path: str | Path, delimiter: str) -> Iterator[tuple[str, str, str]]:
    id_column, name_column, width = 0, 1, 0
    for place, row in read_rows(path, delimiter=delimiter, comments=True):
        fields = [field.strip() for field in row]
        if not any(fields):
            continue
        if not width:
            width = len(fields)
            header = [field.lower() for field in fields]
            ids = [header.index(name) for name in _ID_COLUMNS if name in header]
            names = [header.index(name) for name in _NAME_COLUMNS if name in header]
            if ids and names:
                id_column, name_column = ids[0], names[0]
                continue
            width = 2  # without names of the columns, a third one would be a part of a name
        if len(fields) != width:
            raise AnnotationError(
                f"{place}: {len(fields)} columns, expected {width}. Put names that contain "
                f"'{delimiter}' in double quotes."
            )
        yield place, fields[id_column], fields[name_column]


def _parse_block(text: str, position: int) -> tuple[dict[str, str], int]:
    """Parse ``word { key: value ... }``; return its fields and where it ends."""
    block = _BLOCK.match(text, position)
    if not block:
        raise _FormatError
    fields: dict[str, str] = {}
    position = _end(_SEPARATORS, text, block.end())
    while text[position : position + 1] != "}":
        key = _KEY.match(text, position)
        if not key or key[1] in fields:
            raise _FormatError
        position = key.end()
        if quoted := _QUOTED.match(text, position):  # a brace in it does not end the block
            value, position = quoted[0], quoted.end()
        else:
            # Up to the next key, the end of the block or of the line.
            value = re.split(r"[}\n]", text[position : position + 2000], maxsplit=1)[0]
            if following := _NEXT_KEY.search(value):
                value = value[: following.start()]
            position += len(value)
            value = value.split(" #")[0].strip(" \t,;")
            if set(value) & set("{\"'") and key[1] == "name":
                raise _FormatError
        fields[key[1]] = _unquote(value)
        position = _end(_SEPARATORS, text, position)
    return fields, position + 1


def _unquote(text: str) -> str:
    quoted = _QUOTED.fullmatch(text)
    return re.sub(r"\\(.)", r"\1", quoted[1] or quoted[2] or "") if quoted else text


def _end(pattern: re.Pattern[str], text: str, position: int) -> int:
    """Return where a match of the pattern ends; it may be empty."""
    found = pattern.match(text, position)
    return found.end() if found else position


def _not_a_label(place: str, text: str) -> AnnotationError:
    return AnnotationError(
        f"{place}: '{text}' is not a label with a name and an id. Write it as "
        'item { name: "sit" id: 11 }, or as 11: sit.'
    )
