"""Files of tools that are not read: named, with what to do instead."""

import json

import pytest

from ava_tools.annotation_import.export_file import kind_of_file, read_json, read_xml
from ava_tools.annotation_import.via_csv import read_csv_export
from avsf_det.structures import AnnotationError

LABEL_STUDIO_MIN = [{"video": "a.mp4", "box": [], "annotator": 1, "lead_time": 2.5}]
BORIS = "Observation id,Media file,Subject,Behavior,Behavior type,Time\n1,a.mp4,x,walk,START,1\n"


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (LABEL_STUDIO_MIN, "an export of Label Studio as JSON_MIN. Export the project as JSON"),
        ({"framesCount": 9, "objects": [], "frames": []}, "Supervisely. Not read: draw the boxes"),
        ({"images": [], "annotations": [], "categories": []}, "COCO's json. Its images have no"),
        ({"_via_img_metadata": {}}, "a project of VIA 2, which knows|a project of VIA 2"),
        ({"a.jpg9": {"filename": "a.jpg", "regions": []}}, "an export of VIA 2"),
        ([1, 2], r"\[1, 2\] is no project of VIA 3"),
        (10**30, "1000.* is no project of VIA 3"),
        (None, "None is no project"),
    ],
)
def test_json_of_other_tools(write, value, message):
    with pytest.raises(AnnotationError, match=message):
        read_json(write("a.json", json.dumps(value)))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[" * 100_000, "nested too deeply"),
        ('{"a": ' + "9" * 5000 + "}", r"a\.json: not json|Exceeds the limit"),
        ("{\n1", r"a\.json:2: not json"),
    ],
)
def test_what_is_no_json(write, text, message):
    with pytest.raises(AnnotationError, match=message):
        read_json(write("a.json", text))


@pytest.mark.parametrize(
    ("root", "message"),
    [
        ("annotation", "Pascal VOC or ANVIL"),
        ("viper", "ViPER"),
    ],
)
def test_xml_of_other_tools(write, root, message):
    with pytest.raises(AnnotationError, match=message):
        read_xml(write("a.eaf", f"<{root}><x/></{root}>"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (BORIS, "events of BORIS. Give the project"),
        (BORIS.replace(",", "\t"), "events of BORIS. Give the project"),
        (BORIS.replace(",", ";"), "events of BORIS. Give the project"),
        ("name,place,hour\na,b,1\n", "a table with the columns .* must name video, second, x1"),
        ("1,2,794.2,47.5,71.2,174.8,1,-1,-1,-1\n", "rows of MOTChallenge"),
        ("0 0.5 0.5 0.2 0.2\n", "boxes of YOLO, which have no time"),
        ("filename,region_id,region_shape_attributes\n", "an export of VIA 2"),
        ("# CSV_HEADER = metadata_id,file_list,temporal_segment_start\n", "segments of VIA 3"),
        ("a\n", "no line '# ATTRIBUTE"),
    ],
)
def test_csv_of_other_tools(write, text, message):
    with pytest.raises(AnnotationError, match=message):
        read_csv_export(write("a.csv", text))


def test_kinds_of_files(tmp_path):
    path = tmp_path / "a.csv"
    for data, kind in (
        (b"\xef\xbb\xbf\n<a>", "xml"),
        ("<a>".encode("utf-16"), "xml"),
        (b' {"a": 1}', "json"),
        (b"# x", "csv"),
    ):
        path.write_bytes(data)
        assert kind_of_file(str(path)) == kind
    table = tmp_path / "a.xlsx"
    table.write_bytes(b"PK\x03\x04")
    with pytest.raises(AnnotationError, match=r"a spreadsheet. Save it as csv"):
        kind_of_file(str(table))
    for data, message in ((b"PK\x03\x04", "an archive. Unpack it"), (b" \n", "the file is empty")):
        path.write_bytes(data)
        with pytest.raises(AnnotationError, match=message):
            kind_of_file(str(path))
    with pytest.raises(AnnotationError, match="cannot be read"):
        kind_of_file(str(tmp_path / "b.csv"))
