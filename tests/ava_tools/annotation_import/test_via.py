"""Exports of VIA 3, written by hand after its documentation."""

import json

import pytest

from ava_tools.annotation_import.via import read_via
from avsf_det.data.datasets.annotation_files import AnnotationError

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
    return read_via(path, lambda name, place: SIZES[name], **options)


@pytest.mark.parametrize(
    ("name", "text"), [("p.json", json.dumps(PROJECT)), ("e.csv", CSV)], ids=["json", "csv"]
)
def test_rectangles_options_and_persons(write, name, text):
    boxes, num_segments = read(write(name, text))
    assert num_segments == 1
    assert [(b.video, b.second, b.box, b.actions, b.person) for b in boxes] == [
        ("one.mp4", 1.5, (0.1, 0.1, 0.4, 0.3), ("sit",), "7"),
        ("one.mp4", 1.5, (0.0, 0.0, 0.5, 0.25), ("stand", "wave", "hold"), ""),
        ("two.webm", 3, (0.2, 20 / 60, 1.0, 1.0), (), ""),
    ]
    place = "metadata '1_a'" if name == "p.json" else f"{name}:4"
    assert place in boxes[0].place


def test_attributes_can_be_chosen(write):
    boxes, _ = read(write("p.json", json.dumps(PROJECT)), attributes=["hands"])
    assert [box.actions for box in boxes] == [(), ("wave", "hold"), ()]
    boxes, _ = read(write("p.json", json.dumps(PROJECT)), person_attribute="pose")
    assert [box.actions for box in boxes] == [("7",), ("wave", "hold"), ()]
    assert [box.person for box in boxes] == ["sit", "stand", ""]


def changed(entry: dict) -> str:
    return json.dumps({**PROJECT, "metadata": {"1_x": {**METADATA["1_a"], **entry}}})


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("p.json", "{\n1", r"p\.json:2: not json"),
        ("p.json", '{"_via_img_metadata": {}}', r"p\.json: a project of VIA 2"),
        ("p.json", "{}", r"p\.json: no 'attribute'"),
        ("p.json", changed({"z": []}), r"metadata '1_x': a region of 'one.mp4' at no single"),
        ("p.json", changed({"xy": [3, 1, 1, 1]}), r"metadata '1_x': shape .* not a rectangle"),
        ("p.json", changed({"xy": [2, 100, 1, 9, 9]}), r"'1_x': box 100, 1, 109, 10 lies outside"),
        ("p.json", changed({"av": {"1": "5"}}), r"attribute 'pose' has no option 5; it has 0, 1"),
        ("p.json", changed({"av": {"9": "5"}}), r"'1_x': there is no attribute 9"),
        ("p.json", changed({"vid": "3"}), r"'1_x': lacks '3'"),
        ("e.csv", CSV.replace("# ATTRIBUTE", "# X"), r"e\.csv: no line '# ATTRIBUTE"),
        ("e.csv", CSV + "1,2\n", r"e\.csv:8: 2 columns, expected metadata_id"),
        ("e.csv", CSV.replace("[1.5]", "[1.5", 1), r"e\.csv:4: Expecting"),
    ],
)
def test_what_is_wrong_is_placed(write, name, text, message):
    with pytest.raises(AnnotationError, match=message):
        read(write(name, text))
