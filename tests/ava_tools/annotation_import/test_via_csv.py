"""The csv of VIA 3, as exported and as spreadsheets save it."""

import csv
import io

import numpy as np
import pytest

from ava_tools.annotation_import.via import read_via
from avsf_det.structures import AnnotationError

from .conftest import KnownVideos

HEAD = (
    "# Exported using VGG Image Annotator (http://www.robots.ox.ac.uk/~vgg/software/via)\n"
    "# Notes:\n"
    "# - spatial_coordinates of [2,10,20,50,80] denotes a rectangle (shape_id=2)\n"
)
DEFINITIONS = (
    '# ATTRIBUTE = {"1":{"aname":"pose","anchor_id":"FILE1_Z1_XY1","type":4,"desc":"a, b: c",'
    '"options":{"0":"stand","1":"talk to (e.g., self)"},"default_option_id":""},'
    '"2":{"aname":"says","type":1,"desc":"","options":{},"default_option_id":""}}\n'
)
COLUMNS = (
    "# CSV_HEADER = metadata_id,file_list,flags,temporal_coordinates,spatial_coordinates,metadata\n"
)
ROW = '"1_a","[""one.mp4""]",0,"[1.5]","[2,10,20,30.5,40]","{""1"":""1"",""2"":""hi, \u00fc""}"\n'
TEXT = HEAD + DEFINITIONS + COLUMNS + ROW
ROWS = list(csv.reader(io.StringIO(TEXT)))


def read(path):
    return read_via(path, KnownVideos({"one.mp4": (100, 200)}, np.arange(100) / 10))


def check(path: str) -> None:
    (box,) = read(path).boxes
    assert (box.video, box.second, box.box) == ("one.mp4", 1.5, (0.1, 0.1, 0.405, 0.3))
    assert box.actions == ("talk to (e.g., self)", "hi, \u00fc")


def save(rows, **dialect) -> str:
    file = io.StringIO()
    csv.writer(file, lineterminator="\r\n", **dialect).writerows(rows)
    return "\ufeff" + file.getvalue()


@pytest.mark.parametrize(
    "dialect",
    [
        {},
        {"delimiter": ";"},
        {"delimiter": "\t"},
        {"quoting": csv.QUOTE_ALL},
        {"quotechar": "'"},
        {"quotechar": "'", "delimiter": ";", "quoting": csv.QUOTE_ALL},
    ],
    ids=str,
)
def test_saved_by_a_spreadsheet(write, dialect):
    width = max(map(len, ROWS)) + 2
    padded = [row + [""] * (width - len(row)) for row in ROWS]
    check(write("a.csv", save(padded, **dialect)))


def test_saved_where_the_list_separator_is_another_one(write):
    rows = csv.reader(io.StringIO(TEXT), delimiter=";")
    check(write("a.csv", save(rows, delimiter=";")))


@pytest.mark.parametrize(
    "text",
    [
        TEXT,
        TEXT.replace("\n", "\r\n"),
        HEAD + DEFINITIONS + ROW,  # without names of columns
        HEAD + DEFINITIONS + COLUMNS[2:].replace("CSV_HEADER = ", "") + ROW,
        HEAD + DEFINITIONS.replace("# ATTRIBUTE = ", "#ATTRIBUTE=") + ROW,
        HEAD + DEFINITIONS + COLUMNS + ROW.replace('""', "\u201d"),  # typographic
        "\n\n" + TEXT + "\n,,,\n",
    ],
)
def test_what_people_do_to_it(write, text):
    check(write("a.csv", text))


def test_columns_are_found_by_name(write):
    names = "# CSV_HEADER = file_list,metadata,spatial_coordinates,temporal_coordinates,note\n"
    row = '"[""one.mp4""]","{""1"":""0""}","[2,10,20,30,40]",[1.5]\n'
    assert read(write("a.csv", DEFINITIONS + names + row)).boxes[0].actions == ("stand",)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("[1.5]", "[1,5]", r"a\.csv:6: a region of 'one.mp4' at no single.*decimal commas"),
        ("30.5", "30,5", r"a\.csv:6: shape \[2, 10, 20, 30, 5, 40\] is not .*decimal commas"),
        ("temporal", "time", r"a\.csv:5: no column temporal_coordinates, but"),
        ('"pose","anchor_id"', '"pose', r"a\.csv:4: no json after '# ATTRIBUTE ='"),
        ('[""one.mp4""]', '""one.mp4""', r"a\.csv:6: its view shows the files 'one.mp4'"),
        ('[""one.mp4""]', "[]", r"a\.csv:6: its view shows the files \[\], expected one"),
        ('[""one.mp4""]', "[null]", r"a\.csv:6: name of the video is None"),
        ("[1.5]", "[1.5", r"a\.csv:6: Expecting ',' delimiter in temporal_coordinates '\[1.5'"),
        ("[1.5]", "[" * 9999, "a.csv:6: not json in temporal_coordinates"),
        ("# ATTRIBUTE", "# X", r"a\.csv: no line '# ATTRIBUTE"),
        (ROW, ROW[:-2] + "x" * 200_000, r"a\.csv: not csv .field larger"),
    ],
)
def test_what_is_wrong_is_placed(write, old, new, message):
    assert old in TEXT
    with pytest.raises(AnnotationError, match=message):
        read(write("a.csv", TEXT.replace(old, new)))


def test_texts_in_backslashes_take_linear_time(write):
    damaged = DEFINITIONS.replace('"pose"', r"\"" * 50_000)
    with pytest.raises(AnnotationError, match="no json after"):
        read(write("a.csv", HEAD + damaged + ROW))


def test_a_quote_in_a_comment_hides_no_row(write):
    # Split at commas, the comment has a field that opens a quote and does not close it.
    definitions = DEFINITIONS.replace('"desc":"a, b: c"', '"desc":"a,"')
    check(write("a.csv", HEAD + '# note,"x\n' + definitions + COLUMNS + ROW))


def test_options_may_be_images(write):
    image = '"9":{"aname":"icon","type":5,"options":{"0":"data:image/png;base64,' + "A" * 200_000
    text = DEFINITIONS.replace('{"1":{"aname"', "{" + image + '"}},"1":{"aname"')
    check(write("a.csv", HEAD + text + COLUMNS + ROW))
