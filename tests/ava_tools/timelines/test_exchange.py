"""Each file is read by what is not its writer: another library, a schema, or our importers."""

import csv
import json
from collections import Counter
from xml.etree import ElementTree

import pytest

from ava_tools.annotation_import.boris import is_boris, read_boris
from ava_tools.annotation_import.elan import read_elan
from ava_tools.timelines.boris import SHEET_COLUMNS, write_boris, write_boris_sheet
from ava_tools.timelines.bouts import Bout
from ava_tools.timelines.elan import write_elan
from ava_tools.timelines.exchange import write_csv, write_results, write_vtt
from ava_tools.timelines.pipeline import Timeline
from avsf_det.structures import AVSFError

BOUTS = [
    Bout("walk", "1", "stand", 0.5, 3.5, 0.91, 0.97),
    Bout("walk", "1", "wave", 1.0, 2.25, 0.6, 0.8),
    Bout("walk", "1", "wave", 2.25, 3.0, 0.55, 0.7),
    Bout("walk", "Zoë & Ян", "sing <la>", 62.0, 3725.125, 0.5, 0.5),
]
SPANS = [b[:5] for b in BOUTS]
ACTIONS = ["stand", "wave", "sing <la>"]
# Of ELAN's authors, also in the source distribution of pympi-ling.


def test_csv(tmp_path):
    path = tmp_path / "bouts.csv"
    write_csv(path, BOUTS)
    with open(path, encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert rows[1] == {
        "video": "walk", "person": "1", "action": "wave", "start": "1.000", "end": "2.250",
        "mean": "0.6000", "peak": "0.8000",
    }  # fmt: skip
    assert len(rows) == len(BOUTS)


def test_boris_project(tmp_path):
    path = tmp_path / "project.boris"
    media = {"walk": ("/videos/walk.mp4", 3800.0, 25.0)}
    write_boris(path, BOUTS, media, ACTIONS, ["10", "2"])
    project = json.loads(path.read_text(encoding="utf-8"))
    assert [b["code"] for b in project["behaviors_conf"].values()] == ACTIONS
    assert {b["type"] for b in project["behaviors_conf"].values()} == {"State event"}
    subjects = [s["name"] for s in project["subjects_conf"].values()]
    assert subjects == ["1", "2", "10", "Zoë & Ян"]
    observation = project["observations"]["walk"]
    assert observation["file"] == {"1": ["/videos/walk.mp4"]}
    assert observation["media_info"]["length"] == {"/videos/walk.mp4": 3800.0}
    events = observation["events"]
    assert len(events) == 2 * len(BOUTS)
    assert [e[0] for e in events] == sorted(e[0] for e in events)
    # Where one bout stops and the next starts at once, the stop comes first.
    assert [e[4] != "" for e in events if e[0] == 2.25] == [False, True]
    assert is_boris(project)
    assert sorted(b[:5] for b in read_boris(str(path), project, Counter())) == sorted(SPANS)


def test_boris_spreadsheet(tmp_path):
    openpyxl = pytest.importorskip("openpyxl", reason="needs pip install openpyxl")
    path = tmp_path / "walk.xlsx"
    write_boris_sheet(path, BOUTS[:2])
    first, *rows = openpyxl.load_workbook(path).active.iter_rows(values_only=True)
    # BORIS refuses a sheet without these names in its first row.
    assert first == SHEET_COLUMNS == ("time", "subject", "code", "modifier", "comment")
    # Numbers alone would not be read as names of subjects.
    assert [row[:3] for row in rows] == [
        (0.5, "person 1", "stand"), (1, "person 1", "wave"), (2.25, "person 1", "wave"),
        (3.5, "person 1", "stand"),
    ]  # fmt: skip


@pytest.fixture
def eaf(tmp_path):
    path = tmp_path / "walk.eaf"
    write_elan(path, BOUTS, tmp_path / "50%41 walk.mp4", ACTIONS, ["1", "2"])
    return path


def test_elan_by_pympi(eaf):
    elan = pytest.importorskip("pympi.Elan", reason="needs pip install pympi-ling")
    read = elan.Eaf(str(eaf))
    names = {"1/stand", "1/wave", "1/other", "2/other", "Zoë & Ян/sing <la>", "Zoë & Ян/other"}
    assert set(read.get_tier_names()) == names
    assert read.get_parameters_for_tier("1/wave")["PARTICIPANT"] == "1"
    assert sorted(read.get_annotation_data_for_tier("1/wave")) == [
        (1000, 2250, "wave"),
        (2250, 3000, "wave"),
    ]
    assert read.get_annotation_data_for_tier("2/other") == []
    (media,) = read.get_linked_files()
    assert media["MIME_TYPE"] == "video/mp4"
    entries = read.get_cv_entries("actions")
    assert [values[0][0] for values, *_ in entries.values()] == ACTIONS


def test_elan_comes_back(eaf):
    left_out = Counter()
    found = read_elan(str(eaf), ElementTree.parse(eaf).getroot(), left_out)
    assert sorted(b[1:5] for b in found) == sorted(b[1:] for b in SPANS)
    assert {b.video for b in found} == {"50%41 walk"} and not left_out


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


def test_corrections_are_not_overwritten(tmp_path):
    results = [Timeline("walk.mp4", 9.0, 30.0, {}, 1.0, BOUTS)]
    write_results(tmp_path, results, ACTIONS, ["vtt"])
    fewer = [Timeline("walk.mp4", 9.0, 30.0, {}, 1.0, BOUTS[:1])]
    write_results(tmp_path, fewer, ACTIONS, ["vtt"])  # nobody has touched the files
    corrected = (tmp_path / "walk.vtt").read_text().replace("stand", "sit")
    (tmp_path / "walk.vtt").write_text(corrected)
    before = (tmp_path / "bouts.csv").read_text()
    with pytest.raises(AVSFError, match=r"walk\.vtt: has changed since it was written.*Move it"):
        write_results(tmp_path, results, ACTIONS, ["vtt"])
    assert (tmp_path / "walk.vtt").read_text() == corrected
    assert (tmp_path / "bouts.csv").read_text() == before
