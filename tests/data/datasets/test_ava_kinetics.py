"""AVA-Kinetics: seconds of the whole video to those of a clip, clips that are missing."""

from pathlib import Path

import pytest
from detectron2.data import DatasetCatalog, MetadataCatalog

from avsf_det.data.datasets.ava_kinetics import load_ava_kinetics, register_ava_kinetics
from avsf_det.evaluation import AVAEvaluator
from avsf_det.structures import AnnotationError

ROWS = """\
a_b-c,102.5,0.1,0.2,0.3,0.4,12
a_b-c,102.5,0.1,0.2,0.3,0.4,80
gone,55.0,0.1,0.2,0.3,0.4,12
no_persons,7
two,3.0,0.5,0.5,1.0,1.0,80
two,63.0,0.0,0.0,1.0,1.0,12
"""
CLIPS = ("train/run/a_b-c_000098_000108", "no_persons_000002_000012", "x/two_000060_000070")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "kinetics.csv").write_text(ROWS)
    for clip in (*CLIPS, "x/other", "two_000000_000010"):
        path = tmp_path / "videos" / f"{clip}.mp4"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return tmp_path


def test_each_keyframe_is_in_its_clip(folder: Path, caplog: pytest.LogCaptureFixture):
    dicts = load_ava_kinetics(f"{folder}/kinetics.csv", [12, 80], f"{folder}/videos")
    found = [(d["image_id"], d["file_name"], d["timestamp"] - d["offset"]) for d in dicts]
    videos = folder / "videos"
    assert found == [
        ("a_b-c,102.5", f"{videos}/{CLIPS[0]}.mp4", 4.5),
        ("no_persons,7", f"{videos}/{CLIPS[1]}.mp4", 5),
        ("two,3", f"{videos}/two_000000_000010.mp4", 3),
        ("two,63", f"{videos}/{CLIPS[2]}.mp4", 3),
    ]
    assert [[a["action_ids"] for a in d["annotations"]] for d in dicts] == [
        *([[0, 1]], [], [[1]], [[0]])
    ]
    assert "1 of 5 keyframes have no clip" in caplog.text and "gone" in caplog.text


def test_without_any_clip_the_folder_is_named(folder: Path):
    with pytest.raises(AnnotationError, match=r"5 of 5 keyframes have no clip in .*/x"):
        (folder / "x").mkdir()
        load_ava_kinetics(f"{folder}/kinetics.csv", [12, 80], f"{folder}/x")


def test_only_clips_that_are_there_are_scored(folder: Path, name: str):
    files = f"{folder}/kinetics.csv", {12: "stand", 80: "watch"}, f"{folder}/videos"
    register_ava_kinetics(name, *files)
    DatasetCatalog.get(name)
    assert MetadataCatalog.get(name).scored_action_csv_ids == [12, 80]
    evaluator = AVAEvaluator(name, str(folder))
    evaluator.reset()
    assert evaluator.evaluate()["ava"] == {"mAP": 0, "AP-stand": 0, "AP-watch": 0}
    text = (folder / "ava_results.json").read_text()
    assert '"ground_truth_keyframes": 3' in text and '"ground_truth_boxes": 4' in text
