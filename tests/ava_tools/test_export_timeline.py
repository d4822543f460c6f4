"""A folder of timeline.py in other formats, and back to training data."""

import json

import pytest

from ava_tools import convert_annotations, export_timeline

from ..media import write_video

BOUTS = """video,person,action,start,end,mean,peak
walk,0,stand,0.5,2.5,0.9,1.0
walk,0,stand,2.0,3.5,0.9,1.0
歩 & く,1,wave,0.500,1.500,0.5,0.5
"""
PERSONS = "".join(f"walk,{s},0.1,0.2,0.3,0.9,0,0.9\n" for s in range(4))
PERSONS += "歩 & く,1,0.5,0.2,0.8,0.9,1,0.9\n"
ROWS = [
    *(f"walk,{s},0.1000,0.2000,0.3000,0.9000,1,0" for s in (1, 2, 3)),
    "歩 & く,1,0.5000,0.2000,0.8000,0.9000,2,1",
]
FORMATS = {
    "boris": ["bouts.boris"],
    "eaf": ["walk.eaf", "歩 & く.eaf"],
    "via": ["bouts.via.json"],
    "cvat": ["walk.cvat.xml", "歩 & く.cvat.xml"],
}


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "videos").mkdir()
    (tmp_path / "timeline").mkdir()
    for name in ("walk", "歩 & く"):
        write_video(tmp_path / "videos" / f"{name}.mp4", num_frames=40, fps=10, size=(100, 50))
    (tmp_path / "timeline" / "bouts.csv").write_text(BOUTS)
    (tmp_path / "timeline" / "persons.csv").write_text(PERSONS)
    return tmp_path


def run(folder, formats: str, *options: str) -> int:
    paths = ["--videos", str(folder / "videos"), "--output", str(folder / "exports")]
    source = str(folder / "timeline")
    return export_timeline.main([source, *paths, "--format", formats, *options])


def test_every_format_that_can_be_corrected_comes_back_as_training_data(folder, capsys):
    assert run(folder, ",".join([*FORMATS, "vtt"])) == 0
    for name, files in {**FORMATS, "csv": ["bouts.csv"]}.items():
        command = [*(str(folder / "exports" / file) for file in files)]
        command += ["--videos", str(folder / "videos"), "--output", str(folder / "train.csv")]
        command += ["--label-map", str(folder / "labels.pbtxt")]
        if name in ("boris", "eaf", "csv"):
            command += ["--boxes", str(folder / "timeline" / "persons.csv")]
        assert convert_annotations.main(command) == 0, capsys.readouterr().err
        found = (folder / "train.csv").read_text().splitlines()
        assert found == ROWS, name
    assert (folder / "exports" / "bouts.csv").read_text().count("stand") == 1  # they overlapped


def test_all_actions_of_a_label_map(folder):
    (folder / "all.pbtxt").write_text('item { name: "jump" id: 1 }\nitem { name: "wave" id: 2 }\n')
    assert run(folder, "boris", "--label-map", str(folder / "all.pbtxt")) == 0
    project = json.loads((folder / "exports" / "bouts.boris").read_text())
    codes = [b["code"] for b in project["behaviors_conf"].values()]
    assert codes == ["jump", "wave", "stand"]


def test_what_is_missing_is_named(folder, capsys):
    (folder / "videos" / "walk.mp4").unlink()
    assert run(folder, "vtt") == 1
    assert "video 'walk' is not in" in capsys.readouterr().err
    (folder / "timeline" / "bouts.csv").write_text("video,second\n")
    assert run(folder, "vtt") == 1
    assert "bouts.csv: no columns 'start' and 'end'" in capsys.readouterr().err
    (folder / "timeline" / "persons.csv").write_bytes(b"")
    (folder / "timeline" / "bouts.csv").write_text("video,person,action,start,end\n")
    assert run(folder, "boris") == 0
