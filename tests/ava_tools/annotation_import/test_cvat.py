"""Exports of CVAT, written by hand after its documentation."""

import numpy as np
import pytest

from ava_tools.annotation_import.cvat import read_cvat
from ava_tools.annotation_import.export_file import read_xml
from avsf_det.structures import AnnotationError

from .conftest import KnownVideos

SIZE = "<original_size><width>100</width><height>50</height></original_size>"
TASK = f"<task><name>a task</name><mode>interpolation</mode>{SIZE}</task>"
META = f"{TASK}<source>folder/one.mp4</source>"
JOB = "<job><id>7</id><start_frame>0</start_frame><stop_frame>99</stop_frame></job>"
XML = """<?xml version="1.0" encoding="utf-8"?>
<annotations>
  <version>1.1</version>
  <meta>
    <task>
      <name>a task</name><size>100</size><mode>interpolation</mode>
      <original_size><width>100</width><height>50</height></original_size>
    </task>
    <source>folder/one.mp4</source>
  </meta>
  {}
</annotations>
"""
BOX = '<box frame="{}" outside="{}" keyframe="1" xtl="{}" ytl="0" xbr="{}" ybr="50">{}</box>'
TIMES = np.arange(100) / 10
SIZES = {"one.mp4": (200, 50), "two.mp4": (100, 50)}


def track(*boxes: str, number: int = 0, label: str = "person", more: str = "") -> str:
    return f'<track id="{number}" label="{label}" source="manual"{more}>{"".join(boxes)}</track>'


def box(frame: int, left: float, outside: int = 0, **attributes: str) -> str:
    inner = "".join(f'<attribute name="{k}">{v}</attribute>' for k, v in attributes.items())
    return BOX.format(frame, outside, left, left + 20, inner)


def with_meta(meta: str, *tracks: str) -> str:
    return f"<annotations><meta>{meta}</meta>{''.join(tracks)}</annotations>"


@pytest.fixture
def export(write):
    def read_file(text: str, times=TIMES, **options):
        path = write("a.xml", text)
        return read_cvat(path, read_xml(path), KnownVideos(SIZES, times), **options)

    return read_file


@pytest.fixture
def read(export):
    return lambda *tracks, **options: export(XML.format("".join(tracks)), **options).boxes


def test_boxes_move_in_between_and_actions_stay(read):
    boxes = read(track(box(5, 0, action="walk"), box(25, 20, action="sit"), box(30, 20)))
    assert [(b.second, b.actions) for b in boxes] == [
        (1.0, ("walk",)),
        (2.0, ("walk",)),
        (3.0, ()),
    ]
    np.testing.assert_allclose([b.box for b in boxes[:2]], [(0.05, 0, 0.25, 1), (0.15, 0, 0.35, 1)])
    assert {(b.video, b.person) for b in boxes} == {("folder/one.mp4", "0")}
    assert boxes[0].place.endswith("a.xml: track 0, frame 10")


def test_nobody_is_seen_outside_or_after_the_last_box(read):
    tracks = track(
        box(0, 0, a="walk"), box(15, 0, outside=1, a="walk"), box(40, 0, a="sit"), box(55, 0, a="x")
    )
    assert [(b.second, b.actions) for b in read(tracks)] == [
        (0.0, ("walk",)),
        (1.0, ("walk",)),
        (4.0, ("sit",)),
        (5.0, ("sit",)),
    ]


def test_rate_and_frame_times(read):
    tracks = track(box(10, 0, a="x"), box(30, 40, a="x"))
    assert [b.second for b in read(tracks, rate=2.5)] == pytest.approx([1.2, 1.6, 2, 2.4, 2.8])
    # With half the frames shown for twice as long from frame 20 on, second 3 is frame 25.
    times = np.concatenate([TIMES[:20], 2 + np.arange(80) / 5])
    slow = read(tracks, times=times)
    assert [b.second for b in slow] == [1, 2, 3, 4]
    assert [b.box[0] for b in slow] == pytest.approx([0, 0.2, 0.3, 0.4])


def test_shapes_between_the_keyframes_are_counted_with_the_rate_that_keeps_them(export):
    single = track(box(14, 0, a="x"), box(15, 0, outside=1, a="x"))
    change = track(box(0, 0, a="x"), box(22, 0, a="wave"), box(26, 0, a="x"), box(30, 0, a="x"))
    kept = track(box(20, 0, a="x"), box(21, 0, outside=1, a="x"), number=2)
    text = XML.format(single + change + kept)
    read = export(text)
    assert [(b.second, b.person) for b in read.boxes] == [
        *((second, "0") for second in range(4)),
        (2, "2"),
    ]
    (note,) = read.notes
    assert note.startswith("left out 2 shapes or actions") and "(first: track 0, frame 14)" in note
    assert note.endswith("--rate 5 keeps all")  # 1.4 is 7 / 5, and 2.2 to 2.6 has 12 / 5
    finer = export(text, rate=5)
    assert not finer.notes
    assert [b.second for b in finer.boxes if b.actions == ("wave",)] == [2.2, 2.4]


def test_the_last_frame_of_a_video_counts_like_others(export):
    read = export(XML.format(track(box(99, 0, a="x")) + track(box(0, 0, a="x"), box(100, 0, 1))))
    assert [b.second for b in read.boxes] == list(range(10))
    assert read.notes[0].endswith("--rate 10 keeps all")  # 9.9


def test_labels_are_actions_of_tracks_without_attributes(read):
    boxes = read(
        track(box(0, 0), box(10, 0), label="walk"),
        track(box(0, 50, wave="true", sit="false"), number=4),
    )
    assert [(b.person, b.second, b.actions) for b in boxes] == [
        ("0", 0, ("walk",)),
        ("0", 1, ("walk",)),
        ("4", 0, ("wave",)),
    ]


def test_attributes_can_be_chosen_and_may_stand_on_the_track(read):
    tracks = track('<attribute name="sex">f</attribute>', box(0, 0, action="walk"), label="old")
    assert read(tracks)[0].actions == ("f", "walk")
    assert read(tracks, attributes=["action"])[0].actions == ("walk",)
    assert read(tracks, attributes=["action", "label"])[0].actions == ("walk", "old")


def test_numbers_are_no_actions_unless_chosen(export):
    number = "<attribute><name>age</name><input_type>number</input_type></attribute>"
    labels = f"<labels><label><attributes>{number}</attributes></label></labels>"
    text = with_meta(
        META.replace(SIZE, SIZE + labels),
        track(box(0, 0, age="34"), label="walk"),
        track(box(0, 0, age="34", action="sit")),
    )
    assert [b.actions for b in export(text).boxes] == [("walk",), ("sit",)]
    assert export(text).left_out == {"values of the number 'age'": 2}
    assert export(text, attributes=["age"]).boxes[0].actions == ("34",)


def test_exports_of_jobs_name_no_video(export):
    boxes = track(box(0, 0), label="walk")
    read = export(with_meta(JOB + SIZE, boxes))
    assert (read.boxes[0].video, read.boxes[0].box) == ("one.mp4", (0, 0, 0.2, 1))
    assert read.notes == ["names no video; taken for annotations of one.mp4"]
    # Without a size, that of the video counts.
    assert export(with_meta(JOB, boxes)).boxes[0].box == (0, 0, 0.1, 1)
    assert export(f"<annotations>{boxes}</annotations>").boxes[0].box == (0, 0, 0.1, 1)


def test_each_task_of_a_project_has_its_video(export):
    tasks = "".join(
        f"<task><id>{i}</id>{SIZE}<source>{name}</source></task>"
        for i, name in ((5, "one.mp4"), (6, "two.mp4"))
    )
    tracks = [
        track(box(0, 0), label="walk", number=i, more=f' task_id="{i}" subset="x"') for i in (6, 5)
    ]
    project = f"<project><id>1</id><tasks>{tasks}</tasks></project>"
    assert [b.video for b in export(with_meta(project, *tracks)).boxes] == ["two.mp4", "one.mp4"]
    with pytest.raises(AnnotationError, match="whole project, where task 5 names no video"):
        export(with_meta(project.replace("one.mp4", ""), *tracks))


def test_other_shapes_are_left_out_and_counted(export):
    text = XML.format(
        track('<polygon frame="0" points="1,2;3,4"/>' * 2, '<points frame="3"/>')
        + track()
        + track('<mask frame="0"/>', box(0, 0), label="walk", number=3)
        + '<image id="0"/>'
    )
    read = export(text)
    assert [b.person for b in read.boxes] == ["3"]
    assert read.left_out == {
        "shapes of kind polygon": 2,
        "shapes of kind points": 1,
        "shapes of kind mask": 1,
        "tracks without a visible box": 2,
        "elements image": 1,
    }


IMAGE = (
    '<annotations><image id="0" name="{}" width="50" height="50">'
    '<box label="walk" xtl="0" ytl="0" xbr="20" ybr="50"/><tag label="x"/></image></annotations>'
)


def test_images_named_by_video_and_frame(export):
    read = export(IMAGE.format("x/two_000031.jpg"), rate=30)
    (only,) = read.boxes
    assert (only.video, only.second, only.box) == ("two.mp4", 1, (0, 0, 0.4, 1))
    assert (only.actions, read.left_out) == (("walk",), {"shapes of kind tag": 1})
    with pytest.raises(AnnotationError, match="Give --rate, the number of images"):
        export(IMAGE.format("x/two_000031.jpg"))


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "cp1252"])
def test_encodings_that_xml_declares(encoding, tmp_path):
    text = XML.replace("utf-8", encoding).format(track(box(0, 0), label="h\u00f6ren"))
    (tmp_path / "a.xml").write_bytes(text.encode(encoding))
    path = str(tmp_path / "a.xml")
    read = read_cvat(path, read_xml(path), KnownVideos(SIZES, TIMES))
    assert read.boxes[0].actions == ("h\u00f6ren",)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("<track>", r"a\.xml:\d+: not xml"),
        ('<image id="0"/>', r"a\.xml: no track, but images\. Export the task as 'CVAT for video"),
        ("<x/>", r"a\.xml: no track, but <annotations>"),
        (track(box(100, 0)), r"track 0: box at frame 100, but folder/one.mp4 has only 100"),
        (track(box(0, 0).replace("xtl", "x")), r"track 0, box at frame 0: lacks a number \('xtl'"),
        (track(BOX.format(0, 0, "a", 1, "")), "frame 0: lacks a number"),
        (track(BOX.format(0, 0, "nan", 1, "")), r"frame 0: lacks a number \('xtl' is 'nan'\)"),
        (track(BOX.format(0, 0, "1e400", 1, "")), r"lacks a number \('xtl' is '1e400'\)"),
        (track(BOX.format("-1", 0, 0, 1, "")), r"frame -1: lacks a number \('frame'\)"),
        (track(BOX.format("1_0", 0, 0, 1, "")), "frame 1_0: lacks a number"),
        (track(BOX.format("9" * 5000, 0, 0, 1, "")), r"box at frame '99.*99': lacks a number"),
        (track(box(0, 0), box(0, 5)), "box at frame 0: is the second one there"),
        (track(box(0, 0).replace("<box", '<box rotation="12.5"')), "frame 0: is rotated"),
        (track(box(0, 0).replace("<box", '<box rotation="nan"')), "frame 0: is rotated"),
        (track(box(0, 100)), "track 0, frame 0: box 100, 0, 120, 50 lies outside"),
        (track(BOX.format(0, 0, 9, 9, "")), "track 0, frame 0: box 9, 0, 9, 50 has no area"),
    ],
)
def test_what_is_wrong_is_placed(read, body, message):
    with pytest.raises(AnnotationError, match=message):
        read(body)


@pytest.mark.parametrize("width", ["nan", "-100", "0", "inf", ""])
def test_the_size_must_be_one(export, width):
    text = XML.replace("<width>100", f"<width>{width}").format(track(box(0, 0)))
    with pytest.raises(AnnotationError, match=r"a\.xml: original_size has no width or no height"):
        export(text)


ENTITIES = "".join(f'<!ENTITY l{i} "{f"&l{i - 1};" * 10}">' for i in range(1, 30))


@pytest.mark.parametrize(
    ("head", "message"),
    [
        ('<?xml version="1.0" encoding="klingon"?>', r"a\.xml:1: not xml .*unknown encoding"),
        ('<?xml version="1.0" encoding="gb18030"?>', r"a\.xml:1: not xml .*multi-byte"),
        (f'<!DOCTYPE a [<!ENTITY l0 "lol">{ENTITIES}]>', r"a\.xml: has a <!DOCTYPE>"),
        ('<!DOCTYPE a [<!ENTITY l29 SYSTEM "file:///etc/passwd">]>', "has a <!DOCTYPE>"),
        ("", "a.xml:1: not xml .undefined entity"),
    ],
)
def test_entities_are_not_expanded(export, head, message):
    with pytest.raises(AnnotationError, match=message):
        export(head + with_meta(META, track(box(0, 0), label="a").replace('"a"', '"&l29;"')))
