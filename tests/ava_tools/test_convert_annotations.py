import json

import pytest

from ava_tools import convert_annotations

from ..media import write_video
from .annotation_import.test_cvat import XML, box, track
from .annotation_import.test_via import METADATA, PROJECT


@pytest.fixture
def folder(tmp_path):
    """Videos, an export of CVAT for one and a project of VIA for both."""
    (tmp_path / "videos").mkdir()
    write_video(tmp_path / "videos" / "one.mkv", num_frames=60, fps=25, size=(200, 100))
    write_video(tmp_path / "videos" / "two.mp4", num_frames=12, size=(60, 50))
    tracks = track(box(0, 0, a="sit"), box(50, 50, a="stand;wave"), box(51, 50))
    (tmp_path / "cvat.xml").write_text(XML.format(tracks))
    (tmp_path / "via.json").write_text(json.dumps(PROJECT))
    return tmp_path


def convert(folder, *options: str) -> int:
    paths = ["--videos", str(folder / "videos"), "--output", str(folder / "new" / "out.csv")]
    return convert_annotations.main([*paths, "--label-map", str(folder / "map.pbtxt"), *options])


def test_several_exports_become_one_csv(folder, capsys):
    assert convert(folder, str(folder / "cvat.xml"), str(folder / "via.json")) == 0
    assert (folder / "new" / "out.csv").read_text().splitlines() == [
        "one,0,0.0000,0.0000,0.2000,1.0000,2,0",
        "one,1,0.2500,0.0000,0.4500,1.0000,2,0",  # frame 25 of 25 frames a second
        "one,1.5,0.0000,0.0000,0.5000,0.2500,1,",
        "one,1.5,0.0000,0.0000,0.5000,0.2500,3,",
        "one,1.5,0.0000,0.0000,0.5000,0.2500,4,",
        "one,1.5,0.1000,0.1000,0.4000,0.3000,2,7",
        "one,2,0.5000,0.0000,0.7000,1.0000,3,0",
        "one,2,0.5000,0.0000,0.7000,1.0000,4,0",
    ]
    names = [line for line in (folder / "map.pbtxt").read_text().splitlines() if "name" in line]
    assert names == [f'  name: "{name}"' for name in ("hold", "sit", "stand", "wave")]
    out = capsys.readouterr().out
    assert "left out 1 temporal segments" in out
    assert "5 boxes of 4 actions; 1 boxes without an action left out" in out


def test_a_label_map_that_is_there_decides(folder, capsys):
    label_map = 'item { name: "stand" id: 5 }\nitem { name: "sit" id: 3 }\n'
    (folder / "map.pbtxt").write_text(label_map)
    options = ["--attributes", "pose"]
    assert convert(folder, str(folder / "via.json"), *options) == 0
    rows = (folder / "new" / "out.csv").read_text().split()
    assert [row.split(",")[6] for row in rows] == ["5", "3"]
    assert (folder / "map.pbtxt").read_text() == label_map
    assert convert(folder, str(folder / "via.json")) == 1
    assert "metadata '1_b': action 'wave' is not in" in capsys.readouterr().err


def test_bad_input_is_a_line_and_1(folder, capsys):
    metadata = {"1_a": {**METADATA["1_a"], "z": []}}
    (folder / "bad.json").write_text(json.dumps({**PROJECT, "metadata": metadata}))
    assert convert(folder, str(folder / "bad.json")) == 1
    assert "bad.json: metadata '1_a': a region of 'one.mp4'" in capsys.readouterr().err
    (folder / "videos" / "one.mkv").unlink()
    for export in ("cvat.xml", "via.json"):
        assert convert(folder, str(folder / export)) == 1
        assert "one.mp4' is not in" in capsys.readouterr().err
    assert convert(folder, str(folder / "cvat.xml"), "--attributes", "none") == 1
    assert not (folder / "new" / "out.csv").exists()
