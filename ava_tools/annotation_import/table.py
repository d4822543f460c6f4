"""Read boxes from a table as people have it: a csv of pandas, of a spreadsheet or of a script.

The first line names the columns, in any order; else rows are those of AVA. Fields are separated by
commas, semicolons, tabs or "|". Boxes are fractions of the frame, or pixels if any is above 1.
"""

import csv
import re
from collections.abc import Collection, Mapping
from typing import NamedTuple

from ava_tools.annotation_import.drawn_boxes import (
    DrawnBox,
    Export,
    actions_in,
    is_number,
    quote,
    relative_box,
    short,
    video_id_of,
)
from ava_tools.annotation_import.videos import AnnotatedVideos
from avsf_det.structures import AnnotationError
from avsf_det.structures.text_file import bounded_lines, open_text

# Our name of a column -> names that it has elsewhere, in lower case, letters and digits only.
_NAMES = {
    "video": "video videoid videoname videofile filename file path clip clipname media mediafile",
    "second": "second seconds sec secs time timestamp timesec timesecond timeseconds timeins t",
    "x1": "x1 xmin left bboxx1 boxx1 xtl",
    "y1": "y1 ymin top bboxy1 boxy1 ytl",
    "x2": "x2 xmax right bboxx2 boxx2 xbr",
    "y2": "y2 ymax bottom bboxy2 boxy2 ybr",
    "x": "x bboxx boxx bboxleft",
    "y": "y bboxy boxy bboxtop",
    "width": "width w bboxwidth boxwidth bboxw boxw",
    "height": "height h bboxheight boxheight bboxh boxh",
    "action": "action actions actionid actionname label labels labelid labelname class classid "
    "classname category activity behavior behaviors behaviour behaviours",
    "person": "person personid track trackid entityid subject subjectid objectid instanceid",
}
_COLUMN_OF = {name: column for column, names in _NAMES.items() for name in names.split()}
_AVA = ("video", "second", "x1", "y1", "x2", "y2", "action", "person")
_CORNERS, _SIZES = ("x1", "y1", "x2", "y2"), ("x", "y", "width", "height")
_ROW = "video, second, x1, y1, x2, y2, action (and person)"
_MAX_FRACTION = 1.05  # boxes overshoot the frame a little; a larger coordinate is in pixels
_NUMBER = re.compile(r"-?(\d{1,15}(\.\d{0,30})?|\.\d{1,30})([eE][-+]?\d{1,2})?")
_CLOCK = re.compile(r"(?:(\d{1,4}):)?(\d{1,2}):(\d{1,2}(?:\.\d{0,9})?)")  # hh:mm:ss.f, mm:ss
_INDEX = re.compile(r"|index|Unnamed: \d+", re.I)  # names of pandas' index


class Table(NamedTuple):
    """Rows of a file, with the positions of our columns.

    Attributes:
        columns: name of a column -> its position.
        others: names of columns that are not used.
        rows: "file:line" and fields.
        decimal_comma: whether numbers have a comma.
    """

    columns: Mapping[str, int]
    others: list[str]
    rows: list[tuple[str, list[str]]]
    decimal_comma: bool


def find_table(path: str) -> Table | None:
    """Return the table in a csv; None if the file is no table of boxes.

    Raises:
        AnnotationError: it is one, and lacks a column.
    """
    rows, delimiter = split_rows(path)
    if not rows:
        return None
    place, header = rows[0]
    names = ["" if _INDEX.fullmatch(name.strip()) else name.strip() for name in header]
    columns: dict[str, int] = {}
    for i, name in enumerate(names):
        column = _COLUMN_OF.get(re.sub(r"[^a-z0-9]", "", name.lower()))
        if column and column in columns:
            raise AnnotationError(
                f"{place}: the columns {quote(names[columns[column]])} and {quote(name)} are both "
                f"the {column}. Remove one."
            )
        if column:
            columns[column] = i
    if "video" not in columns and "second" not in columns:
        return _rows_of_ava(rows, delimiter)
    corners = _corners_in(columns)
    missing = [x for x in ("video", "second", *corners, "action") if x not in columns]
    if missing and not {"x1", "x2", "x", "width"} & columns.keys():
        return None  # times without boxes, as of BORIS: named elsewhere
    if missing:
        frames = "frame" in [name.lower() for name in names] and "second" in missing
        hint = " (its frame number divided by frames per second)" if frames else ""
        raise AnnotationError(
            f"{place}: no column {', '.join(missing)}{hint} in {quote(names)}. The first line must "
            f"name {_ROW}."
        )
    columns = {name: columns[name] for name in _AVA + _SIZES if name in columns}
    others = [x for i, x in enumerate(names) if x and i not in columns.values()]
    return Table(columns, others, rows[1:], delimiter != ",")


def _corners_in(columns: Collection[str]) -> tuple[str, ...]:
    """Return the columns of the box; "width" and "height" alone are those of the frame."""
    return max(_CORNERS, _SIZES, key=lambda names: len({*names} & {*columns}))


def split_rows(path: str) -> tuple[list[tuple[str, list[str]]], str]:
    """Return the rows that are neither blank nor comments, and what separates the fields."""
    with open_text(path) as file:
        lines = [*enumerate(bounded_lines(file, path), 1)]
    lines = [(i, x) for i, x in lines if x.strip(" \t\r\n,;|") and not x.startswith("#")]
    delimiter = ""
    if lines and (found := re.fullmatch(r'"?sep=(.)"?\s*', lines[0][1])):  # of Excel
        delimiter, lines = found[1], lines[1:]
    if not lines:
        return [], ","
    delimiter = delimiter or max(",;\t|", key=lines[0][1].count)
    reader = csv.reader((line for _, line in lines), delimiter=delimiter)
    try:
        rows = [(f"{path}:{lines[reader.line_num - 1][0]}", row) for row in reader]
    except csv.Error as error:
        raise AnnotationError(f"{path}: no csv ({error}). Save it as csv again.") from None
    return rows, delimiter


def _rows_of_ava(rows: list[tuple[str, list[str]]], delimiter: str) -> Table | None:
    """Return rows in AVA's order, perhaps after an index or below a line that numbers them."""
    header = [field.strip() for field in rows[0][1]]
    numbered = [str(i) for i in range(len(header))]
    if header in (numbered, ["", *numbered[:-1]]) and len(rows) > 1:
        rows = rows[1:]
    row, comma = rows[0][1], delimiter != ","

    def is_box(start: int) -> bool:
        return all(_to_number(text, comma) is not None for text in row[start : start + 4])

    has_index = len(row) in (8, 9) and row[0].strip().isdecimal() and is_box(3)
    has_index = has_index and _to_number(row[1], comma) is None
    start = int(has_index)
    if len(row) - start not in (7, 8) or not is_box(start + 2):
        return None
    columns = {name: i for i, name in enumerate(_AVA[: len(row) - start], start)}
    return Table(columns, [], rows, comma)


def read_table(
    table: Table,
    videos: AnnotatedVideos,
    *,
    attributes: Collection[str],
    label_map: Mapping[int, str] | None,
) -> Export:
    """Read the boxes of a table.

    Args:
        table: result of :func:`find_table`.
        videos: annotated videos.
        attributes: must be empty, or the column of the actions.
        label_map: names of the actions whose ids are in the table; None if there is none.

    Raises:
        AnnotationError: a row cannot be used.
    """
    export, columns = Export(), table.columns
    export.attributes["action"] = 0
    corners = _corners_in(columns)
    read: list[tuple[str, dict[str, str], tuple[float, ...]]] = []
    for place, row in table.rows:
        if max(columns.values()) >= len(row):
            row = [*row, *[""] * (max(columns.values()) + 1 - len(row))]  # cut by spreadsheets
        fields = {name: " ".join(row[i].split()) for name, i in columns.items()}
        if not any(fields[name] for name in corners):
            export.left_out["rows without a box"] += 1
            continue
        numbers = [_number(place, name, fields[name], table.decimal_comma) for name in corners]
        x, y, *rest = numbers
        if corners == _SIZES:
            rest = [x + rest[0], y + rest[1]]
        read.append((place, fields, (x, y, *rest)))
    in_pixels = any(max(box) > _MAX_FRACTION for _, _, box in read)
    for place, fields, box in read:
        if not video_id_of(fields["video"]).strip():
            raise AnnotationError(f"{place}: no name of a video. A row is {_ROW}.")
        second = parse_second(place, fields["second"], table.decimal_comma)
        size = videos.frame_size(fields["video"], place) if in_pixels else (1, 1)
        actions = actions_in({"action": fields["action"].replace("|", ";")}, attributes)
        actions = {x: [_name_of(name, label_map, place) for name in y] for x, y in actions.items()}
        export.boxes.append(
            DrawnBox(
                fields["video"],
                second,
                relative_box(place, box, *size),
                export.count_actions(actions),
                fields.get("person", ""),
                place,
            )
        )
    export.notes += ["boxes are in pixels, divided by the size of the frame"] * in_pixels
    if table.others:
        export.notes.append(f"columns that are not used: {short(', '.join(table.others))}")
    return export


def _name_of(action: str, label_map: Mapping[int, str] | None, place: str) -> str:
    """Return the name of an action, which may be written as its id."""
    if not action.isdecimal() or len(action) > 9:
        return action
    if label_map is None:
        raise AnnotationError(
            f"{place}: action {action} is a number. Give a --label-map that exists and names it "
            '(item { name: "sit" id: 1 }), or write names.'
        )
    return action if action in label_map.values() else label_map.get(int(action), action)


def _to_number(text: str, decimal_comma: bool) -> float | None:
    text = text.strip()
    text = text.replace(",", ".") if decimal_comma else text
    value = float(text) if _NUMBER.fullmatch(text) else None
    return value if is_number(value) else None


def _number(place: str, column: str, text: str, decimal_comma: bool) -> float:
    number = _to_number(text, decimal_comma)
    if number is None:
        raise AnnotationError(f"{place}: {column} is {quote(text)}, no number. A row is {_ROW}.")
    return number


def parse_second(place: str, text: str, decimal_comma: bool) -> float:
    """Parse seconds, or a time such as 0:01:02.5."""
    if clock := _CLOCK.fullmatch(text.replace(",", ".") if decimal_comma else text):
        return 3600 * int(clock[1] or 0) + 60 * int(clock[2]) + float(clock[3])
    second = _to_number(text, decimal_comma)
    if second is None or second < 0:
        raise AnnotationError(
            f"{place}: second is {quote(text)}. Write seconds from the start of the video, or "
            "hh:mm:ss."
        )
    return second
