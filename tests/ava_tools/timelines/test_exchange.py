"""Each file is read by what is not its writer: another library, or by hand."""

import csv
import json
import re

import pytest

from ava_tools.timelines.bouts import Bout
from ava_tools.timelines.elan import read_elan, write_elan
from ava_tools.timelines.exchange import (
    read_boris,
    read_csv,
    write_boris,
    write_boris_table,
    write_csv,
    write_vtt,
)
from avsf_det.structures import AnnotationError

BOUTS = [
    Bout("walk", "1", "stand", 0.5, 3.5, 0.91, 0.97),
    Bout("walk", "1", "wave", 1.0, 2.25, 0.6, 0.8),
    Bout("walk", "1", "wave", 2.25, 3.0, 0.55, 0.7),
    Bout("walk", "Zoë & Ян", "sing <la>", 62.0, 3725.125, 0.5, 0.5),
]
SPANS = [b[:5] for b in BOUTS]
ACTIONS = ["stand", "wave", "sing <la>"]


def test_csv(tmp_path):
    path = tmp_path / "bouts.csv"
    write_csv(path, BOUTS)
    with open(path, encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert rows[1] == {
        "video": "walk", "person": "1", "action": "wave", "start": "1.000", "end": "2.250",
        "mean": "0.6000", "peak": "0.8000",
    }  # fmt: skip
    assert read_csv(path) == BOUTS


def test_csv_of_a_spreadsheet(tmp_path):
    path = tmp_path / "bouts.csv"
    path.write_bytes(b"\xef\xbb\xbfaction,start,end,video,person\r\nwave,1,2.5,walk,1\r\n")
    assert read_csv(path) == [Bout("walk", "1", "wave", 1, 2.5)]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("video,person,action,start\n", "no column 'end'"),
        ("video,person,action,start,end\nv,1,wave,2,2\n", "2: 'wave' from 2 to 2 s"),
        ("video,person,action,start,end\nv,1,wave,x,2\n", "2: 'x' is not a number"),
    ],
)
def test_bad_csv(tmp_path, text, message):
    (tmp_path / "b.csv").write_text(text)
    with pytest.raises(AnnotationError, match=re.escape(message)):
        read_csv(tmp_path / "b.csv")


def test_boris_project(tmp_path):
    path = tmp_path / "project.boris"
    write_boris(path, BOUTS, {"walk": ("/videos/walk.mp4", 3800.0, 25.0)}, ACTIONS)
    project = json.loads(path.read_text(encoding="utf-8"))
    assert [b["code"] for b in project["behaviors_conf"].values()] == ACTIONS
    assert {b["type"] for b in project["behaviors_conf"].values()} == {"State event"}
    assert [s["name"] for s in project["subjects_conf"].values()] == ["1", "Zoë & Ян"]
    observation = project["observations"]["walk"]
    assert observation["file"] == {"1": ["/videos/walk.mp4"]}
    assert observation["media_info"]["length"] == {"/videos/walk.mp4": 3800.0}
    events = observation["events"]
    assert len(events) == 2 * len(BOUTS)
    assert [e[0] for e in events] == sorted(e[0] for e in events)
    # Where one bout stops and the next starts at once, the stop comes first.
    assert [e[4] != "" for e in events if e[0] == 2.25] == [False, True]
    assert sorted(b[:5] for b in read_boris(path)) == sorted(SPANS)


def test_boris_of_other_hands(tmp_path):
    """Point events have no length, and a state must stop."""
    path = tmp_path / "p.boris"
    project = {
        "behaviors_conf": {
            "0": {"code": "s", "type": "State event with coding map"},
            "1": {"code": "p", "type": "Point event"},
        },
        "observations": {
            "monday": {
                "file": {"1": ["C:\\videos\\cage 1.avi"], "2": []},
                "events": [
                    [1.5, "No focal subject", "s", "", ""],
                    [2, "", "p", "", ""],
                    [4.5, "", "s", "", ""],
                ],
            }
        },
    }
    path.write_text(json.dumps(project))
    assert read_boris(path) == [Bout("cage 1", "", "s", 1.5, 4.5)]
    project["observations"]["monday"]["events"].pop()
    path.write_text(json.dumps(project))
    with pytest.raises(AnnotationError, match=r"'monday': 's' of '' starts at 1\.5 s and never"):
        read_boris(path)
    path.write_text("[]")
    with pytest.raises(AnnotationError, match="not a BORIS project"):
        read_boris(path)


def test_boris_spreadsheet(tmp_path):
    path = tmp_path / "walk.tsv"
    write_boris_table(path, BOUTS[:2])
    rows = [line.split("\t") for line in path.read_text().splitlines()]
    assert rows[0] == ["time", "subject", "code", "modifier", "comment"]
    assert [row[:3] for row in rows[1:]] == [
        ["0.500", "1", "stand"], ["1.000", "1", "wave"], ["2.250", "1", "wave"],
        ["3.500", "1", "stand"],
    ]  # fmt: skip


def test_elan(tmp_path):
    elan = pytest.importorskip("pympi.Elan", reason="needs pip install pympi-ling")
    path = tmp_path / "walk.eaf"
    write_elan(path, BOUTS, tmp_path / "walk.mp4")
    eaf = elan.Eaf(str(path))
    assert set(eaf.get_tier_names()) == {"1/stand", "1/wave", "Zoë & Ян/sing <la>"}
    assert eaf.get_parameters_for_tier("1/wave")["PARTICIPANT"] == "1"
    assert sorted(eaf.get_annotation_data_for_tier("1/wave")) == [
        (1000, 2250, "wave"),
        (2250, 3000, "wave"),
    ]
    (media,) = eaf.get_linked_files()
    assert media["MIME_TYPE"] == "video/mp4" and media["RELATIVE_MEDIA_URL"] == "./walk.mp4"
    assert [b[:5] for b in read_elan(path)] == sorted(SPANS)
    path.write_text("<nothing/>")
    with pytest.raises(AnnotationError, match=r"not a file of ELAN"):
        read_elan(path)


def test_vtt(tmp_path):
    path = tmp_path / "walk.vtt"
    write_vtt(path, BOUTS)
    first, *cues = path.read_text(encoding="utf-8").split("\n\n")
    assert first == "WEBVTT"
    assert cues[0].splitlines() == ["00:00:00.500 --> 00:00:03.500", "1: stand"]
    assert cues[-1].splitlines() == [
        "00:01:02.000 --> 01:02:05.125",
        "Zoë &amp; Ян: sing &lt;la&gt;",
    ]
