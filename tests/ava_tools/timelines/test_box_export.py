"""VIA 3 and CVAT: our importers, which know nothing of the writers, give boxes and actions back."""

import json
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import numpy as np
import pytest

from ava_tools.annotation_import.cvat import read_cvat
from ava_tools.annotation_import.drawn_boxes import DrawnBox
from ava_tools.annotation_import.via import read_via
from ava_tools.annotation_import.videos import AnnotatedVideos
from ava_tools.timelines.bouts import Bout
from ava_tools.timelines.box_export import write_cvat, write_cvat_labels, write_via
from ava_tools.timelines.pipeline import Timeline

from ...media import write_video

BOUTS = [
    Bout("walk", "0", "stand", 0.0, 2.5),
    Bout("walk", "0", "wave", 1.5, 2.25),
    Bout("walk", "7", "wave", 3.0, 4.5),
]


@pytest.fixture(scope="module")
def result(tmp_path_factory):
    """Person 0 walks, and is away at 1.8 s; person 7 stands still from 3 s on."""
    path = tmp_path_factory.mktemp("box") / "walk.mp4"
    write_video(path, num_frames=100, fps=20, size=(200, 100))
    seconds = np.array([k / 5 for k in range(11) if k not in (8, 9)])
    boxes = np.stack([[0.1 + 0.1 * s, 0.2, 0.3 + 0.1 * s, 0.9] for s in seconds])
    late = np.arange(15, 23) / 5
    frames = {s: [[*box, 1, 0]] for s, box in zip(seconds.tolist(), boxes, strict=True)}
    for second in late.tolist():
        frames.setdefault(second, []).append([0.6, 0.1, 0.9, 1.0, 1, 7])
    persons = {second: np.array(rows) for second, rows in sorted(frames.items())}
    return Timeline(str(path), 5.0, 20.0, persons, 0.2, BOUTS)


def expected(result, moments) -> set[tuple]:
    """(second, person, actions, box) by a direct look at boxes and bouts."""
    rows = set()
    for person in result.persons:
        for second, box in zip(person.seconds.tolist(), person.boxes, strict=True):
            if round(second, 3) in moments:
                done = {
                    b.action
                    for b in result.bouts
                    if b.person == person.person and b.start <= second < b.end
                }
                corners = tuple(np.round(box, 3).tolist())
                rows.add((round(second, 3), person.person, tuple(sorted(done)), corners))
    return rows


def rows_of(boxes: list[DrawnBox]) -> set[tuple]:
    return {
        (round(b.second, 3), b.person, tuple(sorted(b.actions)), tuple(np.round(b.box, 3).tolist()))
        for b in boxes
    }


def test_via(result, tmp_path):
    path = tmp_path / "bouts.via.json"
    write_via(path, [result], ["stand", "wave"])
    project = json.loads(path.read_text())
    # The parts and types that VIA 3.1.1 documents.
    assert project["project"]["vid_list"] == ["1"] and project["view"] == {"1": {"fid_list": ["1"]}}
    assert project["file"]["1"]["type"] == 4 and project["file"]["1"]["fname"] == "walk.mp4"
    assert {a["anchor_id"] for a in project["attribute"].values()} == {"FILE1_Z1_XY1"}
    videos = AnnotatedVideos(str(Path(result.path).parent))
    found = read_via(str(path), videos).boxes
    assert rows_of(found) == expected(result, {0.0, 1.0, 2.0, 3.0, 4.0})
    assert {b.actions for b in found} >= {("stand",), ("wave",)}


def test_cvat(result, tmp_path):
    path = tmp_path / "walk.cvat.xml"
    write_cvat(path, result, ["stand", "wave"])
    root = ElementTree.parse(path).getroot()
    assert root.findtext("version") == "1.1" and root.findtext("meta/source") == "walk.mp4"
    assert root.findtext("meta/task/size") == "100"
    kinds = [x.findtext("input_type") for x in root.iter("attribute") if len(x)]
    assert kinds == ["checkbox", "checkbox"]
    videos = AnnotatedVideos(str(Path(result.path).parent))
    found = read_cvat(str(path), root, videos, rate=5).boxes
    assert rows_of(found) == expected(result, {round(k / 5, 3) for k in range(25)})
    # Bouts that start or end between two boxes are kept, too.
    fine = read_cvat(str(path), root, videos, rate=20).boxes
    waving = sorted(b.second for b in fine if b.person == "0" and "wave" in b.actions)
    assert waving[0] == 2.0 and len(waving) == 1  # away from 1.6 to 2 s
    waving = sorted(b.second for b in fine if b.person == "7" and "wave" in b.actions)
    assert (waving[0], waving[-1]) == (3.0, 4.4)

    write_cvat_labels(tmp_path / "labels.json", ["stand"])
    (label,) = json.loads((tmp_path / "labels.json").read_text())
    assert label["name"] == root.find("track").get("label")
    assert label["attributes"][0]["input_type"] == "checkbox"
