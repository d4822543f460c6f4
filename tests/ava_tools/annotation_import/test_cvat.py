"""Exports of CVAT, written by hand after its documentation."""

import numpy as np
import pytest

from ava_tools.annotation_import.cvat import read_cvat
from avsf_det.data.datasets.annotation_files import AnnotationError

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


def track(*boxes: str, number: int = 0, label: str = "person") -> str:
    return f'<track id="{number}" label="{label}" source="manual">{"".join(boxes)}</track>'


def box(frame: int, left: float, outside: int = 0, **attributes: str) -> str:
    inner = "".join(f'<attribute name="{k}">{v}</attribute>' for k, v in attributes.items())
    return BOX.format(frame, outside, left, left + 20, inner)


@pytest.fixture
def read(write):
    def read_tracks(*tracks: str, times=TIMES, **options):
        path = write("a.xml", XML.format("".join(tracks)))
        return read_cvat(path, lambda name, place: times, **options)

    return read_tracks


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
    tracks = track('<attribute name="sex">f</attribute>', box(0, 0, action="walk"))
    assert read(tracks)[0].actions == ("f", "walk")
    assert read(tracks, attributes=["action"])[0].actions == ("walk",)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("<track>", r"a\.xml:\d+: not xml"),
        ('<image id="0"/>', r"a\.xml: no track, but images\. Export the task as 'CVAT for video"),
        (track(), "track 0: has nothing instead of boxes"),
        (track('<polygon frame="0"/>'), "track 0: has polygon instead of boxes"),
        (track(box(100, 0)), r"track 0: box at frame 100, but folder/one.mp4 has only 100"),
        (track(box(0, 0).replace("xtl", "x")), r"track 0, box at frame 0: lacks a number \('xtl'"),
        (track(BOX.format(0, 0, "a", 1, "")), "frame 0: lacks a number"),
        (track(box(0, 0).replace("<box", '<box rotation="12.5"')), "frame 0: is rotated"),
        (track(box(0, 100)), "track 0, frame 0: box 100, 0, 120, 50 lies outside"),
    ],
)
def test_what_is_wrong_is_placed(read, body, message):
    with pytest.raises(AnnotationError, match=message):
        read(body)


def test_whole_projects_and_unnamed_videos_are_refused(write):
    nobody = pytest.fail
    text = XML.format(track(box(0, 0)))
    with pytest.raises(AnnotationError, match="an export of a whole project"):
        read_cvat(write("p.xml", text.replace("task>", "project>")), nobody)
    with pytest.raises(AnnotationError, match="no original_size or no source"):
        read_cvat(write("p.xml", text.replace("source>", "origin>")), nobody)
