"""Damaged exports of annotation tools: converted, or refused in one line that names the file."""

import json

import numpy as np
import pytest

from ava_tools.annotation_import import convert
from avsf_det.structures.ava_csv import read_action_boxes
from avsf_det.structures.label_map import read_label_map

from ..ava_tools.annotation_import import test_bouts as bouts
from ..ava_tools.annotation_import.conftest import KnownVideos
from ..ava_tools.annotation_import.test_cvat import XML, box, track, with_meta
from ..ava_tools.annotation_import.test_label_studio import choice, keyframe, region, task
from ..ava_tools.annotation_import.test_table import TABLES
from ..ava_tools.annotation_import.test_via import CSV, PROJECT, SIZES
from ..ava_tools.annotation_import.test_via_csv import ROWS, save
from .mutate import check_reader, mutated_json_files, mutations

CVAT = XML.format(
    track(box(0, 0, action="walk"), box(25, 20, action="sit"), box(30, 20, outside=1))
    + track(box(15, 10), box(40, 0), number=2, label="wave")
)
IMAGES = (
    '<annotations><image id="0" name="one_000031.jpg" width="100" height="50"><box label="walk" '
    'xtl="1" ytl="2" xbr="9.5" ybr="9" occluded="0"/></image></annotations>'
)
SAVED = save([row + [""] * (20 - len(row)) for row in ROWS], delimiter=";")
TASK = "<task><id>{}</id><name>x</name><source>{}</source></task>"
PROJECT_OF_TWO = with_meta(
    f"<project><tasks>{TASK.format(1, 'one.mp4')}{TASK.format(2, 'two.mp4')}</tasks></project>",
    *(track(box(i, 0), label="sit", more=f' task_id="{i}"') for i in (1, 2)),
)
LABEL_STUDIO = [task(region("a", keyframe(1, 0), keyframe(30, 9, False)), choice("a", "sit"))]
TABLE = TABLES["named"].replace("62", "2")
EXPORTS = {
    "via.json": json.dumps(PROJECT).encode(),
    "via.csv": CSV.encode(),
    "cvat.xml": CVAT.encode(),
    "project.xml": PROJECT_OF_TWO.encode(),
    "images.xml": IMAGES.encode(),
    "saved.csv": SAVED.encode(),
    "label_studio.json": json.dumps(LABEL_STUDIO).encode(),
    "table.csv": TABLE.encode(),
    "project.boris": json.dumps(bouts.STATES).encode(),
    "corrected.eaf": bouts.elan().encode(),
    "bouts.csv": bouts.TABLE.encode(),
    "persons.csv": bouts.PERSONS.encode(),
}


def convert_mutations(name: str, count: int, tmp_path, monkeypatch) -> int:
    """Convert mutated exports; return how many could be converted."""
    sizes = {**SIZES, "folder/one.mp4": (100, 50), "walk.v2.mp4": (100, 50)}
    monkeypatch.setattr(
        convert, "AnnotatedVideos", lambda folder: KnownVideos(sizes, np.arange(100) / 10)
    )
    monkeypatch.setattr("os.fsync", lambda file: None)  # not what is tested
    output, label_map = str(tmp_path / "out.csv"), str(tmp_path / "map.pbtxt")
    persons, table = tmp_path / "boxes.csv", tmp_path / "table_of_bouts.csv"
    persons.write_text(bouts.PERSONS)
    table.write_text(bouts.TABLE)

    def read(path: str) -> None:
        options = {"rate": 10}
        if name == "persons.csv":
            path, options["boxes"] = str(table), path
        elif name in ("project.boris", "corrected.eaf", "bouts.csv"):
            options["boxes"] = str(persons)
        (tmp_path / "map.pbtxt").unlink(missing_ok=True)
        convert.convert_annotations([path], "videos", output, label_map, **options)
        # What was written is valid, and the label map gives the names back.
        csv = (tmp_path / "out.csv").read_text(encoding="utf-8")
        assert set(read_action_boxes(output).actions) == set(read_label_map(label_map))
        convert.convert_annotations([path], "videos", output, label_map, **options)
        assert (tmp_path / "out.csv").read_text(encoding="utf-8") == csv

    mutated = mutated_json_files if name.endswith((".json", ".boris")) else mutations
    return check_reader(read, tmp_path / name, mutated(EXPORTS[name], count, seed=14))


@pytest.mark.parametrize("name", EXPORTS)
def test_damaged_exports_give_a_result_or_one_line(name, tmp_path, monkeypatch):
    num_read = convert_mutations(name, 75, tmp_path, monkeypatch)
    assert 3 < num_read < 72


@pytest.mark.soak
@pytest.mark.parametrize("name", EXPORTS)
def test_three_thousand_damaged_exports(name, tmp_path, monkeypatch, record_counts):
    num_read = convert_mutations(name, 3000, tmp_path, monkeypatch)
    refused = 3000 - num_read
    record_counts(f"export {name}", "14", f"3000 mutations: {num_read} read, {refused} refused")
