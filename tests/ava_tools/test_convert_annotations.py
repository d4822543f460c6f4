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


def test_a_misspelt_attribute_is_named(folder, capsys):
    assert convert(folder, str(folder / "cvat.xml"), "--attributes", "a", "b") == 1
    assert "cvat.xml: no attribute 'b'; there are ['a', 'label']" in capsys.readouterr().err


@pytest.mark.parametrize("rate", ["0", "-1", "nan", "inf", "1e300", "1e-300"])
def test_the_rate_has_a_range(folder, capsys, rate):
    assert convert(folder, str(folder / "cvat.xml"), "--rate", rate) == 1
    assert "it must be 0.001..1000 per second" in capsys.readouterr().err


def test_what_a_user_drew_is_not_overwritten(folder, capsys):
    text = (folder / "via.json").read_text()
    paths = ["--videos", str(folder / "videos"), "--label-map", str(folder / "map.pbtxt")]
    export = str(folder / "via.json")
    assert convert_annotations.main([export, *paths, "--output", str(folder / "." / "via.json")])
    assert "via.json: an input or a folder" in capsys.readouterr().err
    assert convert_annotations.main([export, *paths, "--output", str(folder / "map.pbtxt")])
    assert "map.pbtxt: both the csv and the label map" in capsys.readouterr().err
    assert (folder / "via.json").read_text() == text
    assert not (folder / "map.pbtxt").exists()


def test_all_that_is_left_out_is_said(folder, capsys):
    tracks = track(box(35, 0, a="wave"), box(36, 0, outside=1, a="wave"))
    (folder / "cvat.xml").write_text(XML.format(tracks + track('<points frame="1"/>')))
    assert convert(folder, str(folder / "cvat.xml")) == 1
    error = capsys.readouterr().err
    assert "no box with an action" in error and "--rate 5 keeps all" in error
    assert convert(folder, str(folder / "cvat.xml"), "--rate", "5") == 0
    assert (folder / "new" / "out.csv").read_text() == "one,1.4,0.0000,0.0000,0.2000,1.0000,1,0\n"
    assert "left out 1 shapes of kind points" in capsys.readouterr().out


def test_moments_lie_in_the_video(folder, capsys):
    metadata = {"1_a": {**METADATA["1_a"], "z": [31.5]}}
    (folder / "late.json").write_text(json.dumps({**PROJECT, "metadata": metadata}))
    assert convert(folder, str(folder / "late.json")) == 1
    assert "metadata '1_a': second 31.5, but 'one.mp4' lasts 2.4 s" in capsys.readouterr().err


def test_a_job_is_of_the_video_of_its_name(folder, capsys):
    body = track(box(0, 0), label="walk")
    for name in ("job.xml", "two.xml"):
        (folder / name).write_text(f"<annotations><meta><job/></meta>{body}</annotations>")
    assert convert(folder, str(folder / "job.xml")) == 1
    assert "names no video, and" in capsys.readouterr().err
    assert convert(folder, str(folder / "two.xml")) == 0
    assert "names no video; taken for annotations of two.mp4" in capsys.readouterr().out
    (folder / "videos" / "two.mp4").unlink()
    assert convert(folder, str(folder / "job.xml")) == 0
    assert "names no video; taken for annotations of one.mkv" in capsys.readouterr().out
