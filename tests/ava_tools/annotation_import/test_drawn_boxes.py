import os
from itertools import chain

import pytest

from ava_tools.annotation_import.drawn_boxes import (
    DrawnBox,
    actions_in,
    check_texts,
    frame_of_image,
    number_actions,
    relative_box,
    video_id_of,
    write_ava_csv,
)
from avsf_det.data.datasets.ava import load_ava_csv
from avsf_det.structures import AnnotationError, LabelMap

BOXES = [
    DrawnBox("dir/b.mp4", 2.5, (0.1, 0.2, 0.5, 1.0), ("talk to (e.g., self)",), "1", "p:1"),
    DrawnBox("a.mkv", 10.0, (0.0, 0.2, 0.123456, 1.0), ('say "hi"', "walk"), "", "p:2"),
    DrawnBox("a.mkv", 2.0, (0.0, 0.2, 0.25, 1.0), ("walk",), "", "p:3"),
]


def test_names_of_videos():
    names = ["http://x.org/v/a.b.mp4", "C:\\v\\a.b.mp4", "a.b.mkv", "v/a.b"]
    assert list(map(video_id_of, names)) == ["a.b", "a.b", "a.b", "a"]


def test_attributes_are_actions():
    values = {"action": "walk; talk", "wave": "true", "sit": "False", "x": "", "y": "__undefined__"}
    assert [*chain(*actions_in(values, ()).values())] == ["walk", "talk", "wave"]
    assert actions_in(values, ["wave", "sit"]) == {"wave": ["wave"], "sit": []}
    assert actions_in({"a": " walk\n slowly;\n"}, ()) == {"a": ["walk slowly"]}


def test_boxes_are_cut_at_the_frame():
    assert relative_box("p", (-10, 24, 48, 60), 96, 48) == (0, 0.5, 0.5, 1)
    with pytest.raises(
        AnnotationError, match=r"p: box 96, 0, 100, 9 lies outside the frame of 96 x 48"
    ):
        relative_box("p", (96, 0, 100, 9), 96, 48)
    # Less than a ten-thousandth of the frame would be written as nothing.
    with pytest.raises(
        AnnotationError, match=r"p: box 10, 0, 10.001, 9 has no area in the frame of 96 x 48"
    ):
        relative_box("p", (10, 0, 10.001, 9), 96, 48)


def test_images_of_frames():
    names = {
        "long_000031.jpg": ("long.mp4", 31),
        "a/b/v.1-2_31.png": ("v.1-2.mp4", 31),
        "1_000001.jpg": ("1.mp4", 1),
        "x\\long\\frame_000031.jpg": ("long.mp4", 31),
        "long/000031.jpg": ("long.mp4", 31),
        "long/img_7": ("long.mp4", 7),
        "frame_000031.jpg": None,
        "000031.jpg": None,
        "./000031.jpg": None,
        "photo.jpg": None,
        "": None,
    }
    assert {name: frame_of_image(name) for name in names} == names


@pytest.mark.parametrize("text", ["a\x00b", "\ud800", "\x1b[2J"])
def test_names_are_text(text):
    with pytest.raises(AnnotationError, match=r"p:1: .* has a character that is no text"):
        check_texts(BOXES[0]._replace(person=text))
    check_texts(BOXES[0]._replace(person="\u200d\U0001f64b"))


def test_files_are_read_back_by_the_loader(tmp_path, touch):
    id_of = number_actions(BOXES, None, "")
    assert id_of == {'say "hi"': 1, "talk to (e.g., self)": 2, "walk": 3}
    csv = str(tmp_path / "a.csv")
    write_ava_csv(csv, BOXES, id_of)
    assert open(csv).read().splitlines() == [
        "a,2,0.0000,0.2000,0.2500,1.0000,3,",
        "a,10,0.0000,0.2000,0.1235,1.0000,1,",
        "a,10,0.0000,0.2000,0.1235,1.0000,3,",
        "b,2.5,0.1000,0.2000,0.5000,1.0000,2,1",
    ]
    videos = touch(["a.mkv", "b.mp4"])
    dicts = load_ava_csv(csv, [1, 2, 3], videos)
    found = [
        (os.path.basename(d["file_name"]), d["timestamp"], d["annotations"][0]["action_ids"])
        for d in dicts
    ]
    assert found == [("a.mkv", 2.0, [2]), ("a.mkv", 10.0, [0, 2]), ("b.mp4", 2.5, [1])]


def test_ids_of_a_label_map_are_kept_and_complete():
    label_map = LabelMap({7: "walk", 9: 'say "hi"'})
    assert number_actions(BOXES[1:], label_map, "m.pbtxt") == {"walk": 7, 'say "hi"': 9}
    with pytest.raises(AnnotationError, match=r"p:1: action 'talk to .*' is not in m.pbtxt"):
        number_actions(BOXES, label_map, "m.pbtxt")
