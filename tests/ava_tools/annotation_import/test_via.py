"""Exports of VIA 3, written by hand after its documentation."""

import json

import numpy as np
import pytest

from ava_tools.annotation_import.via import read_via
from avsf_det.structures import AnnotationError

from .conftest import KnownVideos

ATTRIBUTES = {
    "1": {"aname": "pose", "type": 4, "options": {"0": "stand", "1": "sit"}},
    "2": {"aname": "hands", "type": 2, "options": {"0": "wave", "1": "hold"}},
    "3": {"aname": "person", "type": 1, "options": {}},
}
METADATA = {
    "1_a": {"vid": "1", "z": [1.5], "xy": [2, 10, 20, 30, 40], "av": {"1": "1", "3": "7"}},
    "1_b": {"vid": "1", "z": [1.5], "xy": [2, 0, 0, 50, 50], "av": {"1": "0", "2": "0,1"}},
    "1_c": {"vid": "1", "z": [0.5, 2.5], "xy": [], "av": {"1": "0"}},
    "2_d": {
        "vid": "2",
        "z": [3],
        "xy": [8, 10, 30, 30, 20, 50, 30, 30, 60],
        "av": {"2": ""},
    },
}
PROJECT = {
    "project": {"pid": "__VIA_PROJECT_ID__"},
    "config": {},
    "attribute": ATTRIBUTES,
    "file": {
        "1": {"fid": "1", "fname": "one.mp4", "type": 4, "loc": 1},
        "2": {"fid": "2", "fname": "two.webm", "type": 4, "loc": 1},
    },
    "view": {"1": {"fid_list": ["1"]}, "2": {"fid_list": ["2"]}},
    "metadata": METADATA,
}
CSV = (
    "# Exported using VGG Image Annotator (http://www.robots.ox.ac.uk/~vgg/software/via)\n"
    f"# ATTRIBUTE = {json.dumps(ATTRIBUTES)}\n"
    "# CSV_HEADER = metadata_id,file_list,flags,temporal_coordinates,spatial_coordinates,metadata\n"
    '"1_a","[""one.mp4""]",0,"[1.5]","[2,10,20,30,40]","{""1"":""1"",""3"":""7""}"\n'
    '"1_b","[""one.mp4""]",0,"[1.5]","[2,0,0,50,50]","{""1"":""0"",""2"":""0,1""}"\n'
    '"1_c","[""one.mp4""]",0,"[0.5,2.5]","[]","{""1"":""0""}"\n'
    '"2_d","[""two.webm""]",0,"[3]","[8,10,30,30,20,50,30,30,60]","{""2"":""""}"\n'
)
SIZES = {"one.mp4": (100, 200), "two.webm": (50, 60)}


def read(path: str, **options):
    return read_via(path, KnownVideos(SIZES, np.arange(100) / 10), **options)


@pytest.mark.parametrize(
    ("name", "text"), [("p.json", json.dumps(PROJECT)), ("e.csv", CSV)], ids=["json", "csv"]
)
def test_rectangles_options_and_persons(write, name, text):
    export = read(write(name, text))
    assert export.left_out == {"temporal segments, which have no box": 1}
    assert export.attributes == {"pose": 2, "hands": 2, "person": 0}
    boxes = export.boxes
    assert [(b.video, b.second, b.box, b.actions, b.person) for b in boxes] == [
        ("one.mp4", 1.5, (0.1, 0.1, 0.4, 0.3), ("sit",), "7"),
        ("one.mp4", 1.5, (0.0, 0.0, 0.5, 0.25), ("stand", "wave", "hold"), ""),
        ("two.webm", 3, (0.2, 20 / 60, 1.0, 1.0), (), ""),
    ]
    place = "metadata '1_a'" if name == "p.json" else f"{name}:4"
    assert place in boxes[0].place


def test_attributes_can_be_chosen(write):
    boxes = read(write("p.json", json.dumps(PROJECT)), attributes=["hands"]).boxes
    assert [box.actions for box in boxes] == [(), ("wave", "hold"), ()]
    boxes = read(write("p.json", json.dumps(PROJECT)), person_attribute="pose").boxes
    assert [box.actions for box in boxes] == [("7",), ("wave", "hold"), ()]
    assert [box.person for box in boxes] == ["sit", "stand", ""]


KINDS = {
    "1": {"aname": "typed", "type": 1, "options": {"default": "Default"}},
    "2": {"aname": "hands", "type": 2, "options": {"0": "wave", "1": "hold"}},
    "3": {"aname": "pose", "type": 3, "options": {"0": "sit", "1": "stand"}},
    "4": {"aname": "side", "type": "4", "options": {"0": "left", "_DEFAULT": "none"}},
    "5": {"aname": "icon", "type": 5, "options": {"0": "http://x/run.png", "1": "data:image/a"}},
    "6": {"aname": "hands", "type": 1, "options": None},
}


@pytest.mark.parametrize(
    ("values", "actions"),
    [
        ({"1": "wave"}, ("wave",)),  # the options are left over
        ({"1": "_DEFAULT", "3": "_DEFAULT", "4": "_DEFAULT"}, ()),
        ({"1": "default"}, ("default",)),
        ({"2": "0,1", "3": 1, "4": "0"}, ("wave", "hold", "stand", "left")),
        ({"5": "0"}, ("run",)),
        ({"5": "1"}, ("1",)),
        ({"1": None, "2": "", "3": " 1 "}, ("stand",)),
        ({"2": "0", "6": "clap"}, ("wave", "clap")),  # two attributes of one name
    ],
)
def test_kinds_of_attributes(write, values, actions):
    metadata = {"1_x": {**METADATA["1_a"], "av": values}}
    project = {**PROJECT, "attribute": KINDS, "metadata": metadata}
    assert read(write("p.json", json.dumps(project))).boxes[0].actions == actions


def test_ids_may_be_integers(write):
    view = {"1": {"fid_list": [1]}}
    metadata = {"1_a": {**METADATA["1_a"], "vid": 1}}
    text = json.dumps({**PROJECT, "view": view, "metadata": metadata})
    assert read(write("p.json", text)).boxes[0].video == "one.mp4"


IMAGE = {"1": {"fid": 1, "fname": "img/two_000031.jpg", "type": 2, "loc": 1}}


def test_images_of_frames_have_a_second(write):
    metadata = {"1_a": {**METADATA["1_a"], "z": [], "xy": [2, 10, 30, 20, 30]}}
    path = write("p.json", json.dumps({**PROJECT, "file": IMAGE, "metadata": metadata}))
    export = read(path, rate=30)
    assert [(b.video, b.second) for b in export.boxes] == [("two.mp4", 1.0)]
    assert export.notes == ["1 boxes on images; image n is second (n - 1) / 30"]
    with pytest.raises(AnnotationError, match=r"'img/two_000031\.jpg' is an image\. Give --rate"):
        read(path)


def test_other_shapes_are_left_out_and_counted(write):
    shapes = [[1, 5, 5], [7, 1, 2, 3, 4, 5, 6], [3, 1, 1, 1], [7, 1, 2, 3, 4, 5, 6], []]
    metadata = {f"1_{i}": {**METADATA["1_a"], "xy": shape} for i, shape in enumerate(shapes)}
    metadata["1_a"] = METADATA["1_a"]
    export = read(write("p.json", json.dumps({**PROJECT, "metadata": metadata})))
    assert len(export.boxes) == 1
    assert export.left_out == {
        "points": 1,
        "polygons": 2,
        "circles": 1,
        "temporal segments, which have no box": 1,
    }


def test_rectangles_may_be_drawn_backwards(write):
    text = changed({"xy": [2, 40, 60, -30, -40]})
    assert read(write("p.json", text)).boxes[0].box == (0.1, 0.1, 0.4, 0.3)


def changed(entry: dict) -> str:
    return json.dumps({**PROJECT, "metadata": {"1_x": {**METADATA["1_a"], **entry}}})


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("p.json", "{\n1", r"p\.json:2: not json"),
        ("p.json", '{"_via_img_metadata": {}}', r"p\.json: a project of VIA 2"),
        ("p.json", "{}", r"p\.json: no 'attribute'"),
        ("p.json", changed({"z": []}), r"metadata '1_x': a region of 'one.mp4' at no single"),
        ("p.json", changed({"z": [-1]}), r"metadata '1_x': a region of 'one.mp4' at no single"),
        ("p.json", changed({"z": [1, 5]}), r"no single moment: \[1, 5\].*decimal commas"),
        ("p.json", changed({"z": [float("nan")]}), r"'1_x': time is \[nan\], not a list of num"),
        ("p.json", changed({"z": [True]}), r"'1_x': time is \[True\]"),
        ("p.json", changed({"z": [10**30]}), r"'1_x': time is \[1000.*not a list of numbers"),
        ("p.json", changed({"z": "1.5"}), r"'1_x': time is '1.5'"),
        ("p.json", changed({"xy": [2, 1, 1, 1]}), r"metadata '1_x': shape .* not a rectangle"),
        ("p.json", changed({"xy": [2, 1, 5, 1, 2, 3]}), "not a rectangle .*decimal commas"),
        ("p.json", changed({"xy": [99, 1, 1, 1]}), r"metadata '1_x': shape .* not a rectangle"),
        ("p.json", changed({"xy": None}), r"'1_x': shape is None"),
        (
            "p.json",
            changed({"xy": [2, 1, 1, 1, 1e308]}),
            r"'1_x': shape is \[2, 1, 1, 1, 1e\+308\]",
        ),
        ("p.json", changed({"av": [1]}), r"'1_x': metadata is \[1\], not an object"),
        ("p.json", changed({"av": {"1": ["0"]}}), r"'1_x': value \['0'\]"),
        ("p.json", changed({"xy": [2, 100, 1, 9, 9]}), r"'1_x': box 100, 1, 109, 10 lies outside"),
        ("p.json", changed({"av": {"1": "5"}}), r"attribute 'pose' has no option 5; it has 0, 1"),
        ("p.json", changed({"av": {"9": "5"}}), r"'1_x': there is no attribute 9"),
        ("p.json", changed({"vid": "3"}), r"'1_x': lacks '3'"),
        ("p.json", changed({"vid": None}), r"'1_x': lacks None \(view\)"),
        ("p.json", changed({"vid": [1]}), r"'1_x': lacks \[1\]"),
        ("p.json", json.dumps({**PROJECT, "metadata": []}), r"p\.json: metadata is \[\], not"),
        ("p.json", json.dumps({**PROJECT, "attribute": {"1": 2}}), "attribute '1': it is 2"),
        (
            "p.json",
            json.dumps({**PROJECT, "attribute": {"1": {"aname": None}}}),
            "attribute '1': its name is None",
        ),
        (
            "p.json",
            json.dumps({**PROJECT, "view": {"1": {"fid_list": ["1", "2"]}}}),
            "its view shows the files .*'two.webm'.*, expected one",
        ),
        ("e.csv", CSV.replace("# ATTRIBUTE", "# X"), r"e\.csv: no line '# ATTRIBUTE"),
        ("e.csv", CSV + "1,2\n", r"e\.csv:8: 2 columns, expected metadata_id"),
        ("e.csv", CSV.replace("[1.5]", "[1.5", 1), r"e\.csv:4: Expecting"),
    ],
)
def test_what_is_wrong_is_placed(write, name, text, message):
    with pytest.raises(AnnotationError, match=message):
        read(write(name, text))
