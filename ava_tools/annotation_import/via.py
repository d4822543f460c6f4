"""Read exports of the VGG Image Annotator 3: projects (json) and csv files.

Each region is a rectangle in pixels at one moment of a video. Its attributes are options or typed
text. Nothing is interpolated: every moment with a region is a keyframe.
"""

import json
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any, NamedTuple

from ava_tools.annotation_import.drawn_boxes import DrawnBox, actions_in, relative_box
from avsf_det.structures import AnnotationError
from avsf_det.structures.text_file import open_text, read_rows

_RECTANGLE, _EXTREME_POINTS = 2, 8  # ids of shapes
_CSV_COLUMNS = "metadata_id,file_list,flags,temporal_coordinates,spatial_coordinates,metadata"
_ATTRIBUTES = "# ATTRIBUTE = "


class _Region(NamedTuple):
    """A region as VIA stores it."""

    place: str
    file: str
    moment: list[float]  # seconds; one for a region of a frame
    shape: list[float]  # id of the shape, then its numbers
    values: dict[str, str]  # attribute id -> option ids, or text


def read_via(
    path: str,
    frame_size: Callable[[str, str], tuple[int, int]],
    *,
    attributes: Collection[str] = (),
    person_attribute: str = "person",
) -> tuple[list[DrawnBox], int]:
    """Read the rectangles of an export.

    Args:
        path: json or csv file.
        frame_size: (file name in VIA, place for messages) -> width and height, pixels.
        attributes: attributes that contain actions; empty for all.
        person_attribute: attribute that contains the id of the person, if there is one.

    Returns:
        boxes, and the number of temporal segments, which have no box and are left out.

    Raises:
        AnnotationError: the file is not an export of VIA 3, or a region is not a rectangle or
            belongs to an image.
    """
    regions, definitions = _read_csv(path) if path.lower().endswith(".csv") else _read_json(path)
    boxes, num_segments = [], 0
    for region in regions:
        if not region.shape:
            num_segments += 1
            continue
        if len(region.moment) != 1:
            raise AnnotationError(
                f"{region.place}: a region of '{region.file}' at no single moment of a video. "
                "Annotate the video itself, not images of its frames."
            )
        box = relative_box(region.place, _corners(region), *frame_size(region.file, region.place))
        named = _named_values(region, definitions)
        person = named.pop(person_attribute, "")
        actions = tuple(actions_in(named, attributes))
        boxes.append(DrawnBox(region.file, region.moment[0], box, actions, person, region.place))
    return boxes, num_segments


def _read_json(path: str) -> tuple[Iterator[_Region], Mapping[str, Any]]:
    with open_text(path) as file:
        try:
            project = json.load(file)
        except json.JSONDecodeError as error:
            raise AnnotationError(f"{path}:{error.lineno}: not json ({error.msg}).") from None
    if "_via_img_metadata" in project:
        raise AnnotationError(
            f"{path}: a project of VIA 2, which knows images and no time. Annotate the videos with "
            "VIA 3 (via_video_annotator.html)."
        )
    missing = {"file", "view", "metadata", "attribute"} - project.keys()
    if missing:
        raise AnnotationError(
            f"{path}: no '{sorted(missing)[0]}', so it is not a project of VIA 3. Save the project "
            "there, and give that file."
        )
    return _json_regions(path, project), project["attribute"]


def _json_regions(path: str, project: Mapping[str, Any]) -> Iterator[_Region]:
    for name, entry in project["metadata"].items():
        place = f"{path}: metadata '{name}'"
        try:
            file = project["file"][project["view"][entry["vid"]]["fid_list"][0]]
            yield _Region(place, file["fname"], entry["z"], entry["xy"], entry["av"])
        except (KeyError, IndexError) as error:
            raise AnnotationError(f"{place}: lacks {error}. Save the project again.") from None


def _read_csv(path: str) -> tuple[Iterator[_Region], Mapping[str, Any]]:
    with open_text(path) as file:
        lines = [line for line in file if line.startswith(_ATTRIBUTES)]
    if not lines:
        raise AnnotationError(
            f"{path}: no line '{_ATTRIBUTES}', which names the options. Export it with VIA 3, or "
            "save the project and give its json."
        )
    return _csv_regions(path), json.loads(lines[0].removeprefix(_ATTRIBUTES))


def _csv_regions(path: str) -> Iterator[_Region]:
    for place, row in read_rows(path):
        if row[0].startswith("#"):
            continue
        if len(row) != len(_CSV_COLUMNS.split(",")):
            raise AnnotationError(f"{place}: {len(row)} columns, expected {_CSV_COLUMNS}.")
        try:
            files, moment, shape, values = (json.loads(row[i]) for i in (1, 3, 4, 5))
            yield _Region(place, files[0], moment, shape, values)
        except (json.JSONDecodeError, IndexError, KeyError) as error:
            raise AnnotationError(f"{place}: {error}. Export it again with VIA 3.") from None


def _corners(region: _Region) -> tuple[float, float, float, float]:
    """Return x1, y1, x2, y2 in pixels."""
    kind, *numbers = region.shape
    if kind == _RECTANGLE and len(numbers) == 4:
        x, y, width, height = numbers
        return x, y, x + width, y + height
    if kind == _EXTREME_POINTS and len(numbers) == 8:
        return min(numbers[::2]), min(numbers[1::2]), max(numbers[::2]), max(numbers[1::2])
    raise AnnotationError(
        f"{region.place}: shape {region.shape} is not a rectangle ([2, x, y, width, height]). Draw "
        "persons with the rectangle tool."
    )


def _named_values(region: _Region, definitions: Mapping[str, Any]) -> dict[str, str]:
    """Return attribute name -> chosen options, separated by ";", or the typed text."""
    named = {}
    for number, value in region.values.items():
        if number not in definitions:
            raise AnnotationError(f"{region.place}: there is no attribute {number} in the project.")
        definition = definitions[number]
        options = definition.get("options") or {}
        chosen = str(value)
        if options:
            unknown = [i for i in chosen.split(",") if i and i not in options]
            if unknown:
                raise AnnotationError(
                    f"{region.place}: attribute '{definition['aname']}' has no option "
                    f"{unknown[0]}; it has {', '.join(options)}. Choose again in VIA."
                )
            chosen = ";".join(options[i] for i in chosen.split(",") if i)
        named[definition["aname"]] = chosen
    return named
