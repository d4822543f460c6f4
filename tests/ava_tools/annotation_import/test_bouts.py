"""Corrected bouts of BORIS, ELAN and tables become keyframes of their persons."""

import json

import numpy as np
import pytest

from ava_tools.annotation_import import convert
from ava_tools.annotation_import.bouts import merge_overlaps, read_bouts
from ava_tools.timelines.bouts import Bout
from avsf_det.structures import AnnotationError, AVSFError

from .conftest import KnownVideos

# Person 0 is seen at 0..4 s and moves; person 1 at 3 and 4.6 s, and not in between.
PERSONS = (
    "".join(f"walk.v2,{s},{0.1 + s / 20:.2f},0.2,{0.3 + s / 20:.2f},0.8,0,0.9\n" for s in range(5))
    + "walk.v2,3,0.6,0.1,0.9,0.9,1,0.9\nwalk.v2,4.6,0.6,0.1,0.9,0.9,1,0.9\nwalk.v2,2,0,0,1,1,,0.5\n"
)
TABLE = """video,person,action,start,end
walk.v2,0,stand,0.5,3.5
walk.v2,0,wave,1.5,2.5
walk.v2,0,wave,2,3
walk.v2,1,sing,2.5,3.5
"""
ROWS = [
    "walk.v2,1,0.1500,0.2000,0.3500,0.8000,2,0",
    "walk.v2,2,0.2000,0.2000,0.4000,0.8000,2,0",
    "walk.v2,2,0.2000,0.2000,0.4000,0.8000,3,0",
    "walk.v2,3,0.2500,0.2000,0.4500,0.8000,2,0",
    "walk.v2,3,0.6000,0.1000,0.9000,0.9000,1,1",
]
STATES = {
    "project_name": "x",
    "behaviors_conf": {
        "0": {"code": "stand", "type": "State event"},
        "1": {"code": "wave", "type": "State event with coding map"},
        "2": {"code": "sing", "type": "State event"},
        "3": {"code": "jump", "type": "Point event"},
    },
    "observations": {
        "monday": {
            "file": {"1": ["C:\\videos\\walk.v2.avi"], "2": []},
            "time offset": 10.0,
            "events": [
                [10.5, "0", "stand", "", ""],
                [13.5, "0", "stand", "", "", 105],
                [12.5, "person 1", "sing", "", ""],
                [11.0, "0", "jump", "", ""],
                [11.5, "0", "wave", "", ""],
                [13, "0", "wave", "fast", ""],
                [13.5, "person 1", "sing", "", ""],
            ],
        },
        "empty": {"file": {"1": []}, "events": []},
    },
}
EAF = """<?xml version="1.0" encoding="UTF-8"?>
<ANNOTATION_DOCUMENT AUTHOR="" DATE="" FORMAT="3.0" VERSION="3.0">
<HEADER TIME_UNITS="milliseconds"><MEDIA_DESCRIPTOR MEDIA_URL="file:///v/walk.v2.mp4"
 MIME_TYPE="video/mp4" RELATIVE_MEDIA_URL="./walk%2Ev2.mp4"/></HEADER>
<TIME_ORDER>{}</TIME_ORDER>
<TIER TIER_ID="0/stand" PARTICIPANT="0" LINGUISTIC_TYPE_REF="x">{}</TIER>
<TIER TIER_ID="0/other" LINGUISTIC_TYPE_REF="x">{}</TIER>
<TIER TIER_ID="late" PARTICIPANT="1" LINGUISTIC_TYPE_REF="x">{}</TIER>
<TIER TIER_ID="notes" PARENT_REF="late" LINGUISTIC_TYPE_REF="y"><ANNOTATION><REF_ANNOTATION
 ANNOTATION_ID="r1" ANNOTATION_REF="a1"><ANNOTATION_VALUE>hm</ANNOTATION_VALUE></REF_ANNOTATION>
</ANNOTATION></TIER></ANNOTATION_DOCUMENT>
"""
ANNOTATION = (
    '<ANNOTATION><ALIGNABLE_ANNOTATION ANNOTATION_ID="a{}" TIME_SLOT_REF1="{}" TIME_SLOT_REF2="{}">'
    "<ANNOTATION_VALUE>{}</ANNOTATION_VALUE></ALIGNABLE_ANNOTATION></ANNOTATION>"
)
TIMES = (500, 1500, 2500, 3000, 3500)


def elan(*, slots: str = "", value: str = " wave\n") -> str:
    times = "".join(f'<TIME_SLOT TIME_SLOT_ID="t{t}" TIME_VALUE="{t}"/>' for t in TIMES)
    return EAF.format(
        slots or times,
        ANNOTATION.format(1, "t500", "t3500", "stand"),
        ANNOTATION.format(2, "t1500", "t3000", value) + ANNOTATION.format(3, "t500", "t1500", ""),
        ANNOTATION.format(4, "t2500", "t3500", "sing"),
    )


@pytest.fixture
def run(tmp_path, write, monkeypatch):
    """Convert a text; gives the rows of the csv and the summary."""
    monkeypatch.setattr(
        convert,
        "AnnotatedVideos",
        lambda folder: KnownVideos(
            {"walk.v2.mp4": (200, 100), "b.mp4": (1, 1)}, np.arange(100) / 10
        ),
    )
    persons = write("persons.csv", PERSONS)

    def convert_text(name: str, text: str, boxes: str = persons, **options) -> tuple[list, str]:
        output = str(tmp_path / "out.csv")
        label_map = str(tmp_path / "labels.pbtxt")
        summary = convert.convert_annotations(
            [write(name, text)], "videos", output, label_map, boxes=boxes, **options
        )
        return (tmp_path / "out.csv").read_text().splitlines(), summary

    return convert_text


def test_a_table_of_bouts(run):
    rows, summary = run("bouts.csv", TABLE)
    assert rows == ROWS
    # Person 0 at 0 and 4 s.
    assert "2 boxes without an action left out" in summary


def test_boris(run):
    rows, summary = run("corrected.boris", json.dumps(STATES))
    assert rows == ROWS
    assert "left out 1 modifiers, 1 point events, which have no length" in summary


def test_elan(run):
    rows, summary = run("corrected.eaf", elan())
    assert rows == ROWS
    assert "1 annotations of tiers that depend on another one" in summary
    assert "1 annotations without a value" in summary


def test_aggregated_events_of_boris(run):
    """As a spreadsheet of a German system saved them."""
    text = "Observation id;Media file name;Subject;Behavior;Behavior type;Start (s);Stop (s)\n"
    text += "m;/v/walk.v2.mp4;person 1;sing;STATE;2,5;3,5\nm;/v/walk.v2.mp4;0;jump;POINT;1;1\n"
    rows, summary = run("aggregated.csv", text)
    assert rows == ["walk.v2,3,0.6000,0.1000,0.9000,0.9000,1,1"]
    assert "1 point events" in summary


def test_boxes_in_between_and_rates(run):
    rows, _ = run("bouts.csv", TABLE, rate=2.0)
    assert "walk.v2,1.5,0.1750,0.2000,0.3750,0.8000,3,0" in rows  # between 1 and 2 s
    # Person 1 is not seen between 3 and 4.6 s.
    assert [row.split(",")[1] for row in rows if row.endswith(",1")] == ["3"]
    with pytest.raises(AnnotationError, match=r"4 bouts between the keyframes of --rate 0\.25"):
        run("bouts.csv", TABLE, rate=0.25)


def test_the_whole_frame_without_boxes(run):
    rows, summary = run("bouts.csv", TABLE, boxes="")
    assert rows == [
        *("walk.v2,1,0.0000,0.0000,1.0000,1.0000,2,", "walk.v2,2,0.0000,0.0000,1.0000,1.0000,2,"),
        *(f"walk.v2,{s},0.0000,0.0000,1.0000,1.0000,3," for s in (2,)),
        *("walk.v2,3,0.0000,0.0000,1.0000,1.0000,1,", "walk.v2,3,0.0000,0.0000,1.0000,1.0000,2,"),
    ]
    assert "the frame of walk.v2 has the actions of 2 persons" in summary


def test_bouts_that_get_lost_are_counted(run):
    more = "walk.v2,1,sing,6,8\nwalk.v2,0,stand,3.6,3.9\n"
    rows, summary = run("bouts.csv", TABLE + more)
    assert rows == ROWS
    assert "1 bouts between the keyframes of --rate 1" in summary
    assert "1 bouts while their person has no box" in summary


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (
            "walk.v2,9,sing,1,2",
            r"bouts\.csv: 'walk\.v2', 'sing' of person '9' at 1 s: --boxes has .*'0', '1'",
        ),
        ("walk,0,sing,1,2", r"bouts\.csv: .*'walk\.mp4' is not in"),
        ("b,0,sing,1,2", r"bouts\.csv: 'b', .*--boxes has no video of this name.* Rename"),
        ("walk.v2,0,sing,2,2", r"bouts\.csv:6: 'sing' from 2 to 2 s"),
        ("walk.v2,0,,1,2", r"bouts\.csv:6: '' from 1 to 2 s"),
        ("walk.v2,0,sing,x,2", r"bouts\.csv:6: second is 'x'"),
        ("walk.v2,0,sing,12,14", r"'sing' of person '0' at 12 s: second 12, but .* lasts 9.9 s"),
    ],
)
def test_wrong_rows_of_a_table(run, row, message):
    with pytest.raises(AnnotationError, match=message):
        run("bouts.csv", TABLE + row + "\n")


def test_an_unknown_action_is_named(run, write):
    write("labels.pbtxt", 'item { name: "stand" id: 1 }\nitem { name: "sing" id: 2 }\n')
    message = r"bouts\.csv: 'walk\.v2', person '0' at 2 s: action 'wave' is not in .*labels"
    with pytest.raises(AnnotationError, match=message):
        run("bouts.csv", TABLE)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda o: o["events"].pop(), r"'monday': 'sing' of 'person 1' starts at 2\.5 s and never"),
        (lambda o: o["events"].append([11, "", "run"]), r"'run' at 1 s is not in the ethogram"),
        (lambda o: o["events"].append([None, "", "run"]), r"event \[None, '', 'run'\]; it must be"),
        (lambda o: o["file"]["1"].append("b.mp4"), r"player 1 shows .* an observation for each"),
        (lambda o: o.update(events=3), r"'monday': it has no list of events"),
    ],
)
def test_wrong_projects_of_boris(run, change, message):
    project = json.loads(json.dumps(STATES))
    change(project["observations"]["monday"])
    with pytest.raises(AnnotationError, match=r"corrected\.boris: observation .*" + message):
        run("corrected.boris", json.dumps(project))


def test_wrong_files_of_elan(run):
    slots = '<TIME_SLOT TIME_SLOT_ID="t500"/>'
    with pytest.raises(AnnotationError, match=r"tier '0/stand', 'stand': from None to None ms"):
        run("corrected.eaf", elan(slots=slots))
    moved = elan().replace('RELATIVE_MEDIA_URL="', 'TIME_ORIGIN="4000" RELATIVE_MEDIA_URL="')
    with pytest.raises(AnnotationError, match=r"the video has an offset \(4000 ms\)"):
        run("corrected.eaf", moved)


def test_boxes_need_ids_and_bouts(run, write):
    with pytest.raises(AnnotationError, match=r"p\.csv: no box has an id in column 7"):
        run("bouts.csv", TABLE, boxes=write("p.csv", "walk.v2,1,0,0,1,1,,0.5\n"))
    twice = "walk.v2,1,0,0,1,1,4,0.5\nwalk.v2,1,0,0,0.5,1,4,0.5\n"
    with pytest.raises(
        AnnotationError, match=r"p\.csv:2: person 4 has two boxes at 1 s of 'walk.v2'"
    ):
        run("bouts.csv", TABLE, boxes=write("p.csv", twice))
    with pytest.raises(AVSFError, match=r"--boxes .*persons\.csv: for BORIS, ELAN and bouts"):
        run("table.csv", "video,second,x1,y1,x2,y2,action\nwalk.v2.mp4,1,0,0,1,1,sit\n")


def test_accents_apart_from_their_letters(run, write, monkeypatch):
    """As macOS writes names of files."""
    videos = KnownVideos({"caf\u00e9.mp4": (200, 100)}, np.arange(100) / 10)
    monkeypatch.setattr(convert, "AnnotatedVideos", lambda folder: videos)
    persons = write("composed.csv", PERSONS.replace("walk.v2", "caf\u00e9"))
    rows, _ = run("bouts.csv", TABLE.replace("walk.v2", "cafe\u0301"), boxes=persons)
    assert len(rows) == 5 and {row.split(",")[0] for row in rows} == {"caf\u00e9"}


def test_other_tables_are_no_bouts(write):
    assert read_bouts(write("a.csv", "name,place\na,b\n")) is None
    with pytest.raises(AnnotationError, match=r"a\.csv:1: no column 'person' in"):
        read_bouts(write("a.csv", "video,action,start,end\n"))


def test_overlapping_bouts_become_one():
    bouts = [
        Bout("v", "0", "sit", 2, 4),
        Bout("v", "0", "sit", 1, 3, 0.5),
        Bout("v", "0", "sit", 4, 5),
        Bout("v", "1", "sit", 2, 3),
    ]
    assert [b[1:5] for b in merge_overlaps(bouts)] == [
        ("0", "sit", 1, 4), ("0", "sit", 4, 5), ("1", "sit", 2, 3),
    ]  # fmt: skip
