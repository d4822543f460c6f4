"""Read exports of the VGG Image Annotator 3: projects (json) and csv files.

Each region is a rectangle in pixels at one moment of a video, or on an image of a frame. Its
attributes are options or typed text. Nothing is interpolated: every moment with a region is a
keyframe.
"""

from collections.abc import Collection, Iterator, Mapping
from typing import Any, NamedTuple

from ava_tools.annotation_import.drawn_boxes import (
    IMAGE_EXTENSIONS,
    DrawnBox,
    Export,
    actions_in,
    is_number,
    quote,
    relative_box,
    second_of_image,
    short,
    video_id_of,
)
from ava_tools.annotation_import.export_file import kind_of_file, read_json
from ava_tools.annotation_import.via_csv import RawRegion, read_csv_export
from ava_tools.annotation_import.videos import AnnotatedVideos
from avsf_det.structures import AnnotationError

_RECTANGLE, _EXTREME_POINTS = 2, 8  # ids of shapes
_OTHER_SHAPES = {
    1: "points",
    3: "circles",
    4: "ellipses",
    5: "lines",
    6: "polylines",
    7: "polygons",
    9: "circles",  # by points on them
}
_TEXT, _IMAGE = 1, 5  # ids of types of attributes; all others than text have options
_NOTHING_CHOSEN = "_DEFAULT"  # VIA's value of an attribute before anything is entered
_AGAIN = "Save the project again, or export it again with VIA 3."


class _Attribute(NamedTuple):
    """An attribute as the project defines it."""

    name: str
    options: dict[str, str]  # option id -> action; empty if values are typed


class _Region(NamedTuple):
    """A region as VIA stores it."""

    place: str
    file: str
    moment: list[float]  # seconds; one for a region of a frame, none for one on an image
    shape: list[float]  # id of the shape, then its numbers
    values: Mapping[str, Any]  # attribute id -> option ids, or text


def read_via(
    path: str,
    videos: AnnotatedVideos,
    *,
    rate: float | None = None,
    attributes: Collection[str] = (),
    person_attribute: str = "person",
) -> Export:
    """Read the rectangles of an export. Other shapes and temporal segments are left out.

    Args:
        path: json or csv file.
        videos: annotated videos.
        rate: images per second of video, for annotated images of frames.
        attributes: attributes that contain actions; empty for all.
        person_attribute: attribute that contains the id of the person, if there is one.

    Raises:
        AnnotationError: the file is not an export of VIA 3, or a region cannot be used.
    """
    is_csv = kind_of_file(path) == "csv"
    regions, raw = read_csv_export(path) if is_csv else _read_project(path)
    definitions = _read_definitions(path, raw)
    export = Export()
    export.attributes.update({definition.name: 0 for definition in definitions.values()})
    num_images = 0
    for region in (_check_region(entry) for entry in regions):
        if not region.shape:
            export.left_out["temporal segments, which have no box"] += 1
            continue
        if region.shape[0] in _OTHER_SHAPES:
            export.left_out[_OTHER_SHAPES[int(region.shape[0])]] += 1
            continue
        corners = _corners(region)
        video, second = region.file, region.moment[0] if region.moment else 0.0
        if not region.moment:
            video, second = second_of_image(region.file, region.place, rate)
            num_images += 1
        box = relative_box(region.place, corners, *videos.frame_size(video, region.place))
        named = _named_values(region, definitions)
        person = " ".join(named.pop(person_attribute, "").split())
        actions = export.count_actions(actions_in(named, attributes))
        export.boxes.append(DrawnBox(video, second, box, actions, person, region.place))
    if num_images:
        export.notes.append(f"{num_images} boxes on images; image n is second (n - 1) / {rate:g}")
    return export


# Parsing ------------------------------------------------------------------------------------------


def _read_project(path: str) -> tuple[Iterator[RawRegion], Any]:
    project = read_json(path)
    missing = {"file", "view", "metadata", "attribute"} - project.keys()
    if missing:
        raise AnnotationError(
            f"{path}: no '{sorted(missing)[0]}', so it is not a project of VIA 3. Save the project "
            "there, and give that file."
        )
    return _project_regions(path, project), project["attribute"]


def _project_regions(path: str, project: Mapping[str, Any]) -> Iterator[RawRegion]:
    metadata = _check_object(path, "metadata", project["metadata"])
    for name, entry in metadata.items():
        place = f"{path}: metadata {quote(name)}"
        entry = _check_object(place, "it", entry)
        view = _look_up(place, "view", project["view"], entry.get("vid"))
        ids = view.get("fid_list")
        files = [
            _look_up(place, "file", project["file"], number).get("fname")
            for number in (ids if isinstance(ids, list) else [ids])
        ]
        yield RawRegion(place, files, entry.get("z"), entry.get("xy"), entry.get("av"))


def _check_object(place: str, what: str, value: object) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise AnnotationError(f"{place}: {what} is {quote(value)}, not an object. {_AGAIN}")
    return value


def _look_up(place: str, what: str, table: object, key: object) -> Mapping[str, Any]:
    """Return the entry of a view or a file; scripts write ids as integers."""
    entry = None
    if isinstance(table, dict) and isinstance(key, (str, int)):
        entry = table.get(str(key))
    if not isinstance(entry, dict):
        raise AnnotationError(f"{place}: lacks {quote(key)} ({what}). {_AGAIN}")
    return entry


def _check_region(raw: RawRegion) -> _Region:
    place, files, moment, shape, values = raw
    for what, numbers in (("time", moment), ("shape", shape)):
        if not isinstance(numbers, list) or not all(map(is_number, numbers)):
            raise AnnotationError(
                f"{place}: {what} is {quote(numbers)}, not a list of numbers. {_AGAIN}"
            )
    if not shape:
        return _Region(place, "", moment, shape, {})
    if not isinstance(files, list) or len(files) != 1:
        raise AnnotationError(
            f"{place}: its view shows the files {quote(files)}, expected one. Annotate each video "
            "in a view of its own."
        )
    file = files[0]
    if not isinstance(file, str) or not video_id_of(file).strip():
        raise AnnotationError(f"{place}: name of the video is {quote(file)}. {_AGAIN}")
    is_image = not moment and file.lower().endswith(IMAGE_EXTENSIONS)
    if not is_image and (len(moment) != 1 or moment[0] < 0):
        raise AnnotationError(
            f"{place}: a region of {quote(file)} at no single moment: {quote(moment)}. Annotate "
            "moments; if a spreadsheet made decimal commas of points, export again."
        )
    return _Region(place, file, moment, shape, _check_object(place, "metadata", values))


def _read_definitions(path: str, raw: object) -> dict[str, _Attribute]:
    """Return attribute id -> attribute."""
    definitions = {}
    for number, entry in _check_object(path, "attribute", raw).items():
        place = f"{path}: attribute {quote(number)}"
        entry = _check_object(place, "it", entry)
        name, options, kind = entry.get("aname"), entry.get("options") or {}, entry.get("type")
        if not isinstance(name, str) or not name.strip():
            raise AnnotationError(f"{place}: its name is {quote(name)}. Name it in VIA.")
        options = _check_object(place, "options", options)
        if not all(isinstance(option, (str, int, float)) for option in options.values()):
            raise AnnotationError(f"{place}: its options are {quote(options)}. {_AGAIN}")
        named = {key: str(option) for key, option in options.items()}
        if str(kind) == str(_TEXT):
            named = {}  # left over from when the attribute had another type
        elif str(kind) == str(_IMAGE):
            # Options are addresses of images. One that holds the image itself goes by its id.
            named = {
                key: key if text.startswith("data:") else video_id_of(text)
                for key, text in named.items()
            }
        definitions[number] = _Attribute(name.strip(), named)
    return definitions


# Values -------------------------------------------------------------------------------------------


def _corners(region: _Region) -> tuple[float, float, float, float]:
    """Return x1, y1, x2, y2 in pixels."""
    kind, *numbers = region.shape
    if kind == _RECTANGLE and len(numbers) == 4:
        x, y, width, height = numbers
        # Drawn to the left or upwards, a rectangle may have a negative size.
        return min(x, x + width), min(y, y + height), max(x, x + width), max(y, y + height)
    if kind == _EXTREME_POINTS and len(numbers) == 8:
        return min(numbers[::2]), min(numbers[1::2]), max(numbers[::2]), max(numbers[1::2])
    raise AnnotationError(
        f"{region.place}: shape {quote(region.shape)} is not a rectangle ([2, x, y, width, "
        "height]). Draw it again; if a spreadsheet made decimal commas of points, export again."
    )


def _named_values(region: _Region, definitions: Mapping[str, _Attribute]) -> dict[str, str]:
    """Return attribute name -> chosen options, separated by ";", or the typed text."""
    named: dict[str, str] = {}
    for number, value in region.values.items():
        if number not in definitions:
            raise AnnotationError(
                f"{region.place}: there is no attribute {short(number)} in the project. {_AGAIN}"
            )
        if value is not None and not isinstance(value, (str, int, float)):
            raise AnnotationError(f"{region.place}: value {quote(value)}. {_AGAIN}")
        name, options = definitions[number]
        text = "" if value is None else str(value).strip()
        if text == _NOTHING_CHOSEN and text not in options:
            text = ""
        if options:
            chosen = [i for i in map(str.strip, text.split(",")) if i]
            unknown = [i for i in chosen if i not in options]
            if unknown:
                raise AnnotationError(
                    f"{region.place}: attribute {quote(name)} has no option {short(unknown[0])}; "
                    f"it has {short(', '.join(options))}. Choose again in VIA."
                )
            text = ";".join(options[i] for i in chosen)
        # Two attributes may have the same name.
        named[name] = ";".join(filter(None, (named.get(name), text)))
    return named
