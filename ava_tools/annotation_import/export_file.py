"""Parse the files of annotation tools, and name the tools whose files are not read."""

import json
import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Sequence
from typing import Any, Literal, NoReturn

from ava_tools.annotation_import.drawn_boxes import quote
from avsf_det.structures import AnnotationError
from avsf_det.structures.text_file import open_text, reading

_AS_BOUTS = "Give the project (.boris), or its aggregated events."
_DRAW = (
    "Not read: draw the boxes in VIA 3, CVAT or Label Studio, or write a csv with a first line "
    "video,second,x1,y1,x2,y2,action,person (docs/custom_dataset.md)."
)
_AS_JSON = "Export the project as JSON."
_VIA_2 = "It knows images and no time: annotate the videos with VIA 3 (via_video_annotator.html)."
_AS_CVAT = (
    "Its images have no time: from CVAT, export the task as 'CVAT for video 1.1'; else write rows "
    "of AVA's csv (docs/custom_dataset.md)."
)
# Of JSON: keys of the outer object, or of the first object in a list -> whose file it is, remedy.
_JSON_TOOLS: tuple[tuple[set[str], str, str], ...] = (
    ({"_via_img_metadata"}, "a project of VIA 2", _VIA_2),
    ({"filename", "regions"}, "an export of VIA 2", _VIA_2),
    ({"images", "annotations"}, "COCO's json", _AS_CVAT),
    ({"images", "categories"}, "COCO's json", _AS_CVAT),
    ({"data", "completions"}, "an export of an old Label Studio", _AS_JSON),
    ({"annotator", "lead_time"}, "an export of Label Studio as JSON_MIN", _AS_JSON),
    ({"annotation_id", "lead_time"}, "an export of Label Studio as JSON_MIN", _AS_JSON),
    ({"framesCount", "objects"}, "an annotation of Supervisely", _DRAW),
    ({"data_row", "projects"}, "an export of Labelbox", _DRAW),
    ({"item", "annotations"}, "an export of V7 Darwin", _DRAW),
    ({"data_hash", "data_units"}, "an export of Encord", _DRAW),
    ({"shapes", "imagePath"}, "a file of Labelme", _DRAW),
    ({"categories", "items"}, "a dataset of Datumaro", _AS_CVAT),
    ({"tracks", "shapes"}, "annotations of a CVAT backup", _AS_CVAT),
)
# Of XML: tag of the root.
_XML_TOOLS = {
    "annotation": ("a file of Pascal VOC or ANVIL", _DRAW),
    "viper": ("a file of ViPER", _DRAW),
    "html": ("a web page", "Save the export itself."),
}
# Of csv: columns.
_CSV_TOOLS: tuple[tuple[set[str], str, str], ...] = (
    (
        {"temporal_segment_start"},
        "temporal segments of VIA 3, which have no boxes",
        "Save the project, and give its json.",
    ),
    ({"region_shape_attributes"}, "an export of VIA 2", _VIA_2),
    ({"behavior", "subject"}, "events of BORIS", _AS_BOUTS),
    ({"behavior", "observation id"}, "events of BORIS", _AS_BOUTS),
    ({"annotator", "lead_time"}, "an export of Label Studio as CSV", _AS_JSON),
    ({"annotation_id", "lead_time"}, "an export of Label Studio as CSV", _AS_JSON),
)
_NUMBER = re.compile(r"\s*-?\d{1,20}(\.\d{0,20})?\s*")
_REMEDY = "Save the project again, and give that file."


def kind_of_file(path: str) -> Literal["xml", "json", "csv"]:
    """Return how a file is to be parsed, from its first character, else from its extension.

    Raises:
        AnnotationError: the file cannot be read, or is an archive.
    """
    with reading(path), open(path, "rb") as file:
        head = file.read(4096)
    if not head.strip():
        raise AnnotationError(f"{path}: the file is empty. Export the annotations again.")
    if head.startswith(b"PK") and path.lower().endswith((".xlsx", ".ods", ".xlsm")):
        raise AnnotationError(f"{path}: a spreadsheet. Save it as csv (UTF-8), and give that.")
    if head.startswith((b"PK", b"\x1f\x8b")):
        raise AnnotationError(f"{path}: an archive. Unpack it, and give the file inside.")
    start = re.sub(rb"^\xef\xbb\xbf|[\x00\s\xff\xfe]", b"", head)[:1]
    by_start: dict[bytes, Literal["xml", "json"]] = {b"<": "xml", b"{": "json", b"[": "json"}
    if start in by_start:
        return by_start[start]
    lower = path.lower()
    if lower.endswith((".xml", ".eaf")):
        return "xml"
    return "json" if lower.endswith((".json", ".boris")) else "csv"


def load_json(text: str) -> Any:
    """Parse JSON; raise a ValueError for whatever cannot be parsed."""
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def parse_json(path: str) -> Any:
    """Return the value in a file.

    Raises:
        AnnotationError: the file is not JSON.
    """
    with open_text(path) as file:
        text = file.read()
    try:
        return load_json(text)
    except json.JSONDecodeError as error:
        raise AnnotationError(f"{path}:{error.lineno}: not json ({error.msg}). {_REMEDY}") from None
    except ValueError as error:  # too many digits, or nested too deeply
        raise AnnotationError(f"{path}: not json ({quote(str(error))}). {_REMEDY}") from None


def read_json(path: str) -> dict[str, Any]:
    """Return the object in a file.

    Raises:
        AnnotationError: the file is not JSON, no object, or of a tool that is not supported.
    """
    value = parse_json(path)
    # VIA 2 exports an object with an entry for each image; Label Studio a list of tasks.
    entries = value if isinstance(value, list) else [value]
    if isinstance(value, dict):
        entries = [value, *value.values()]
    for entry in entries[:2]:
        for keys, tool, remedy in _JSON_TOOLS:
            if isinstance(entry, dict) and keys <= entry.keys():
                raise AnnotationError(f"{path}: {tool}. {remedy}")
    if not isinstance(value, dict):
        raise AnnotationError(f"{path}: {quote(value)} is no project of VIA 3. {_REMEDY}")
    return value


class _Builder(ElementTree.TreeBuilder):
    """Builder that stops at a document type, before its entities can be expanded."""

    def doctype(self, name: str, pubid: str | None, system: str | None) -> None:
        raise _DoctypeError


class _DoctypeError(Exception):
    pass


def read_xml(path: str) -> ElementTree.Element:
    """Return the root element of a file; entities are not expanded.

    Raises:
        AnnotationError: the file is not XML, has a document type, or is of a tool that is not
            supported.
    """
    with reading(path), open(path, "rb") as file:
        try:
            parser = ElementTree.XMLParser(target=_Builder())
            root = ElementTree.parse(file, parser).getroot()
        except ElementTree.ParseError as error:
            raise AnnotationError(f"{path}:{error.position[0]}: not xml ({error}).") from None
        except _DoctypeError:
            raise AnnotationError(
                f"{path}: has a <!DOCTYPE>, which exports of annotation tools have not. Remove it."
            ) from None
        except (LookupError, ValueError) as error:  # an encoding that Python does not know
            if isinstance(error, UnicodeDecodeError):
                raise
            raise AnnotationError(
                f"{path}:1: not xml ({quote(str(error))}). Save it as UTF-8."
            ) from None
    if root.tag in _XML_TOOLS:
        tool, remedy = _XML_TOOLS[root.tag]
        raise AnnotationError(f"{path}: {tool}. {remedy}")
    return root


def refuse_table(path: str, rows: Sequence[Sequence[str]]) -> NoReturn:
    """Say what a csv is that is no export of VIA 3.

    Args:
        path: csv file.
        rows: its first rows, split at commas.

    Raises:
        AnnotationError: always.
    """
    rows = [re.split("[,;\t]", ",".join(row)) for row in rows]
    header = next((row for row in rows if not row[0].startswith("#")), [""])
    columns = {field.strip().lower() for field in header}
    comments = {field.strip() for row in rows if row[0].startswith("#") for field in row}
    for keys, tool, remedy in _CSV_TOOLS:
        if keys <= columns or keys <= comments:
            raise AnnotationError(f"{path}: {tool}. {remedy}")
    numbers = [bool(_NUMBER.fullmatch(field)) for field in header]
    if len(header) in (9, 10) and all(numbers):
        raise AnnotationError(f"{path}: rows of MOTChallenge (frame, id, x, y, w, h, ...). {_DRAW}")
    if (
        len(header) == 1
        and len(words := header[0].split()) == 5
        and all(map(_NUMBER.fullmatch, words))
    ):
        raise AnnotationError(f"{path}: boxes of YOLO, which have no time. {_DRAW}")
    if len(header) > 2 and all(re.fullmatch(r"[\w .()-]*", field) for field in header):
        raise AnnotationError(
            f"{path}: a table with the columns {quote(','.join(header))}. The first line must name "
            "video, second, x1, y1, x2, y2, action (and person), in any order."
        )
    raise AnnotationError(
        f"{path}: no line '# ATTRIBUTE = ', which names the options. Export it with VIA 3, or "
        "save the project and give its json."
    )
