"""Label maps: the ids and names of actions.

The formats are protobuf text, on one line or on many, and lines ``id: name``::

    item { name: "sit" id: 11 }
    label { name: "sit" label_id: 11 }
    11: sit
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import TextIO

from .ava_boxes import LabelMap
from .errors import AnnotationError
from .text_file import open_text

_QUOTED = r'"(?:[^"\\]|\\.)*"|\'(?:[^\'\\]|\\.)*\''
_FIELD = re.compile(rf"(\w+)\s*:\s*({_QUOTED}|[^\s,;]+)")
# A brace inside a quoted name does not end its block.
_LABEL = re.compile(
    rf"\w+\s*\{{(?P<block>(?:{_QUOTED}|[^{{}}\"'])*)\}}"
    r"|(?P<id>\d+)[^\S\n]*:[^\S\n]*(?P<name>\S[^\n]*?)[^\S\n]*(?=\n|\Z)"
)
_GAP = re.compile(r"(?:\s|#[^\n]*)*")  # blanks and comments


def read_label_map(path: str | Path, *, distinct_names: bool = False) -> LabelMap:
    """Read a label map in one of the formats above.

    Args:
        path: text file.
        distinct_names: whether two ids with one name are an error.

    Raises:
        AnnotationError: no label, one without name or id, an id (or name) twice, other text.
    """
    with open_text(path) as file:
        text = file.read().rstrip()
    labels: dict[int, str] = {}
    position = _end_of_gap(text, 0)
    while position < len(text):
        place = f"{path}:{text.count(chr(10), 0, position) + 1}"
        # Labels follow each other without any other text: match here, not somewhere further on.
        label = _LABEL.match(text, position)
        csv_id, name = _parse_label(label) if label else ("", "")
        if label is None or not (csv_id.isdecimal() and name):
            got = (label[0] if label else text[position:]).splitlines()[0]
            raise AnnotationError(
                f"{place}: '{got}' is not a label with a name and an id. Write it as "
                'item { name: "sit" id: 11 }, or as 11: sit.'
            )
        if int(csv_id) in labels:
            raise AnnotationError(
                f"{place}: id {csv_id} occurs twice, as '{labels[int(csv_id)]}' and '{name}'. "
                "Give each action an id of its own."
            )
        if distinct_names and name in labels.values():
            raise AnnotationError(f"{place}: name '{name}' occurs twice. Use each name once.")
        labels[int(csv_id)] = name
        position = _end_of_gap(text, label.end())
    if not labels:
        raise AnnotationError(f'{path}: no label. Write each as item {{ name: "sit" id: 11 }}.')
    return LabelMap(sorted(labels.items()))


def write_label_map(file: TextIO, label_map: Mapping[int, str]) -> None:
    """Write a label map as protobuf text, in ascending order of the ids."""
    for action_id in sorted(label_map):
        quoted = label_map[action_id].replace("\\", "\\\\").replace('"', '\\"')
        file.write(f'item {{\n  name: "{quoted}"\n  id: {action_id}\n}}\n')


def _end_of_gap(text: str, position: int) -> int:
    """Skip blanks and comments."""
    gap = _GAP.match(text, position)
    return gap.end() if gap else position


def _parse_label(label: re.Match[str]) -> tuple[str, str]:
    """Return id and name of a match of ``_LABEL``, "" for what the label lacks."""
    if label["block"] is None:
        return label["id"], label["name"]
    # Other fields, such as display_name, are ignored.
    fields: dict[str, str] = dict(_FIELD.findall(label["block"]))
    name = fields.get("name", "")
    name = re.sub(r"\\(.)", r"\1", name[1:-1]) if name[:1] in ("'", '"') else name
    return fields.get("id", fields.get("label_id", "")), name
