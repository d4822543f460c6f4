"""Tables of boxes as people have them, all with the same content."""

import numpy as np
import pytest

from ava_tools.annotation_import.table import find_table, read_table
from avsf_det.structures import AnnotationError

from .conftest import KnownVideos

VIDEOS = KnownVideos({"one.mp4": (200, 100)}, np.arange(3000) / 25)
# video, second, box, actions, person
EXPECTED = [
    ("one", 1.5, (0.1, 0.2, 0.4, 0.9), ("sit",), "0"),
    ("one", 62.0, (0.5, 0.2, 0.9, 0.9), ("sit", "talk"), "1"),
]
HEADER = "video,second,x1,y1,x2,y2,action,person\n"
ROWS = "one,1.5,0.1,0.2,0.4,0.9,sit,0\none,62,0.5,0.2,0.9,0.9,sit;talk,1\n"
PIXELS = "one,1.5,20,20,80,90,sit,0\none,62,100,20,180,90,sit|talk,1\n"
TABLES = {
    "named": HEADER + ROWS,
    "another order": "Action;Person ID;Time;Video Name;xmin;ymin;xmax;ymax\n"
    "sit;0;1.5;one;0.1;0.2;0.4;0.9\n"
    "sit|talk;1;62;one;0.5;0.2;0.9;0.9\n",
    "clock times": HEADER + ROWS.replace("1.5", "00:00:01.5").replace("62", "1:02"),
    "pixels": HEADER + PIXELS,
    "x y w h": "filename,timestamp,x,y,width,height,label,track_id\n"
    "one,1.5,20,20,60,70,sit,0\none,62,100,20,80,70,sit;talk,1\n",
    "pandas": f",{HEADER}0," + ROWS.replace("\none", "\n1,one"),
    "unnamed columns": ",0,1,2,3,4,5,6,7\n0," + ROWS.replace("\none", "\n1,one"),
    "no header": ROWS,
    "no header, index": "0," + ROWS.replace("\none", "\n1,one"),
    "Excel": "\ufeffsep=;\r\n"
    + (HEADER + ROWS.replace("sit;talk", "sit|talk")).replace(",", ";").replace(".", ",")
    + ";;;;;;;\r\n",
    "tabs": (HEADER + ROWS).replace(",", "\t"),
    "subfolders, other columns": HEADER.replace("\n", ",notes,width\n")
    + ROWS.replace("one,", "day 1/one.mp4,").replace("\n", ",x,640\n"),
    "comments": f"# made by hand\n\n{HEADER}{ROWS}",
}


def read(path, label_map=None):
    return read_table(find_table(path), VIDEOS, attributes=(), label_map=label_map)


@pytest.mark.parametrize("name", TABLES)
def test_all_forms_have_the_same_boxes(write, name):
    export = read(write("table.csv", TABLES[name]))
    for box, (video, second, corners, actions, person) in zip(export.boxes, EXPECTED, strict=True):
        assert box.video.removeprefix("day 1/").removesuffix(".mp4") == video
        assert (box.second, box.actions, box.person) == (second, actions, person)
        np.testing.assert_allclose(box.box, corners, atol=1e-12)


def test_the_summary_says_what_was_done(write):
    text = HEADER.replace("\n", ",notes\n") + PIXELS.replace("\n", ",x\n") + "one,3,,,,,sit,0,\n"
    export = read(write("table.csv", text))
    assert dict(export.left_out) == {"rows without a box": 1}
    assert "boxes are in pixels" in export.notes[0]
    assert export.notes[1] == "columns that are not used: notes"


def test_ids_need_a_label_map_that_names_them(write):
    path = write("table.csv", (HEADER + ROWS).replace("sit", "3").replace("talk", "12"))
    boxes = read(path, {3: "sit", 12: "talk"}).boxes
    assert [box.actions for box in boxes] == [("sit",), ("sit", "talk")]
    with pytest.raises(AnnotationError, match=r"table\.csv:2: action 3 is a number"):
        read(path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (HEADER.replace("second,", ""), ":1: no column second in"),
        (HEADER.replace("second", "frame"), ":1: no column second .its frame number divided"),
        (HEADER.replace("x1,", "").replace("action", "x"), ":1: no column x1, action in"),
        (HEADER.replace("person", "label"), ":1: the columns 'action' and 'label' are both"),
        (HEADER + ROWS.replace("62", "1 min"), ":3: second is '1 min'. Write seconds"),
        (HEADER + ROWS.replace("62", "-1"), ":3: second is '-1'"),
        (HEADER + ROWS.replace("0.4", "nan"), ":2: x2 is 'nan', no number"),
        (HEADER + ROWS.replace("0.4", "0.05"), ":2: box .* has no area"),
        (HEADER + ROWS.replace("one,62", ",62"), ":3: no name of a video"),
        (HEADER + PIXELS.replace("one,62", "two,62"), ":3: video 'two' is not in"),
    ],
)
def test_what_is_wrong_is_named_with_its_line(write, text, message):
    with pytest.raises(AnnotationError, match=rf"table\.csv{message}"):
        read(write("table.csv", text))


@pytest.mark.parametrize(
    "text", ["", "a\n", "name,place\n", "1,2,794.2,47.5,71.2,174.8,1,-1,-1,-1\n", "0 0.5 0.5 1 1\n"]
)
def test_what_is_no_table_is_left_to_others(write, text):
    assert find_table(write("table.csv", text)) is None
