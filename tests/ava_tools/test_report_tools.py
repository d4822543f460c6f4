"""Command lines of report.py, visualize_results.py and visualize_data.py."""

import re
from pathlib import Path

import numpy as np
import pytest
from detectron2.data import DatasetCatalog, MetadataCatalog
from PIL import Image

from ava_tools import report, visualize_data, visualize_results
from ava_tools.charts import model_input_sheet
from ava_tools.charts.keyframe_sheet import describe_persons
from ava_tools.charts.model_input_sheet import draw_model_input, read_model_inputs
from avsf_det.data import register_ava_csv, register_clip_csv
from avsf_det.engine.defaults import load_config
from avsf_det.structures.ava_csv import read_detections

from .report_page.small_set import LABELS, OFFSET, write_small_set


@pytest.fixture(scope="module")
def small_set(tmp_path_factory):
    return write_small_set(tmp_path_factory.mktemp("small_set"))


@pytest.fixture(scope="module")
def of_files(small_set):
    places = {"-l": "labels", "-g": "truth", "--videos": "videos"}
    named = [text for option, name in places.items() for text in (option, small_set[name])]
    return [*named, "--offset", str(OFFSET)]


@pytest.fixture
def registered(small_set, tmp_path):
    """A config for the small set, and one for the same videos as clips with classes."""
    clips = tmp_path / "clips.csv"
    clips.write_text("video,label\none.mp4,click\ntwo.mp4,silence\n")
    paths = small_set["truth"], small_set["labels"], small_set["videos"]
    register_ava_csv("small_ava", *paths, offset=OFFSET)
    register_clip_csv("small_clips", str(clips), small_set["videos"])
    yield {
        "ava": write_config(tmp_path, "AVA/Base-AVA.yaml", "small_ava", "NUM_CLASSES: 4"),
        "clips": write_config(tmp_path, "mini/Base-mini-clips.yaml", "small_clips", ""),
    }
    for name in ("small_ava", "small_clips"):
        DatasetCatalog.remove(name)
        MetadataCatalog.remove(name)


def write_config(folder, base: str, dataset: str, head: str) -> str:
    path = folder / f"{dataset}.yaml"
    root = visualize_data.__file__.rpartition("/ava_tools")[0]
    path.write_text(
        f'_BASE_: ["{root}/configs/Base-AVSlowFast.yaml", "{root}/configs/{base}"]\n'
        f"MODEL: {{LOAD_PROPOSALS: False, ROI_ACTION_HEAD: {{{head}}}, DEVICE: cpu,\n"
        "  CLIP_HEAD: {NUM_CLASSES: [2]}}\n"
        f'DATASETS: {{TRAIN: ["{dataset}"], TEST: ["{dataset}"]}}\n'
        "INPUT: {CLIP: {NUM_FRAMES: 8, STRIDE: 4}, MIN_SIZE_TRAIN: [64], MIN_SIZE_TEST: 64,\n"
        "  CROP: {SIZE: [56, 56]}}\n"
    )
    return str(path)


def test_report_of_files(small_set, of_files, tmp_path, capsys):
    output = tmp_path / "new" / "report.html"
    runs = ["--run", f"a run={small_set['good']}", "--run", f"other={small_set['poor']}"]
    assert report.main([*of_files, *runs, "--output", str(output), "--max-clips", "3"]) == 0
    html = output.read_text()
    assert html.count("<video") == 3 and "<h1>a run on truth</h1>" in html
    printed = capsys.readouterr().out
    assert printed == f"{output}: {output.stat().st_size / 1e6:.1f} MB\n"
    few, errors = output.stat().st_size, tmp_path / "errors.csv"
    assert report.main([*of_files, *runs, "--output", str(output), "--errors", str(errors)]) == 0
    header, first, *_ = errors.read_text().splitlines()
    assert header == "video_id,second,class,error,score,x1,y1,x2,y2"
    assert first == "one,102,sit,missed,,0.0,0.0,0.4,1.0"
    assert report.main([*of_files, *runs, "--output", str(output), "--max-clips", "0"]) == 0
    assert output.stat().st_size < few and "<video" not in output.read_text()


def test_links_to_timelines_and_thresholds(small_set, of_files, tmp_path):
    (tmp_path / "time lines").mkdir()
    (tmp_path / "time lines" / "one.html").write_text("")
    run = tmp_path / "run"
    run.mkdir()
    (run / "ava_predictions.csv").write_bytes(Path(small_set["good"]).read_bytes())
    output = tmp_path / "report.html"
    arguments = [*of_files, "--run", f"a={run}", "--output", str(output), "--max-clips", "4"]
    assert report.main([*arguments, "--timelines", str(tmp_path / "time lines")]) == 0
    html = output.read_text()
    assert '<th scope="row">one <a href="time%20lines/one.html">timeline</a></th>' in html
    # Examples link to their second of the file.
    assert re.search(r'<a href="time%20lines/one\.html#t=[2-5]">timeline</a>', html)
    assert "two.html" not in html and "fit_thresholds.py fits" in html
    # Both are found in the folder of the run.
    (tmp_path / "time lines").rename(run / "timelines")
    (run / "model_final.thresholds.json").write_text("{}")
    assert report.main(arguments) == 0
    html = output.read_text()
    assert 'href="run/timelines/one.html"' in html
    assert f"timeline.py uses those of <code>{run}/model_final.thresholds.json</code>" in html


def test_report_of_bad_input(small_set, of_files, tmp_path, capsys):
    good = f"good={small_set['good']}"
    to = ["--output", str(tmp_path / "r.html")]
    assert report.main(["--run", good, *to]) == 1
    assert "give either --config-file, or" in capsys.readouterr().err
    assert report.main([*of_files, *to, "--run", f"x={tmp_path}"]) == 1
    assert "no ava_predictions.csv there" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        report.main([*of_files, *to, "--run", "nameless.csv"])
    assert "'nameless.csv' is not NAME=PATH" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_report_with_a_broken_video_is_kept(small_set, tmp_path, capsys):
    videos = tmp_path / "videos"
    videos.mkdir()
    (videos / "one.mp4").write_text("no video")
    output = tmp_path / "report.html"
    options = ["-l", small_set["labels"], "-g", small_set["truth"], "--videos", str(videos)]
    run = ["--run", f"good={small_set['good']}", "--max-clips", "8", "--output", str(output)]
    assert report.main([*options, *run]) == 1
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith("error: 8 clips are missing: ")
    assert output.read_text().count('class="no-clip"') == 8


def test_detections_beside_the_annotation(small_set, of_files, tmp_path, capsys):
    output = tmp_path / "results.png"
    options = [*of_files, "--detections", small_set["good"], "--output", str(output)]
    assert visualize_results.main([*options, "--num", "3"]) == 0
    assert capsys.readouterr().out == f"{output}: 3 keyframes\n"
    three = np.asarray(Image.open(output))
    assert visualize_results.main([*options, "--num", "3", "--seed", "1"]) == 0
    assert not np.array_equal(three, np.asarray(Image.open(output)))
    assert visualize_results.main([*options, "--video", "three"]) == 1
    assert "no keyframe of three" in capsys.readouterr().err


def test_descriptions_of_persons(small_set):
    poor = read_detections(small_set["poor"])
    rows = np.flatnonzero(poor.keyframe == poor.keyframes.index(("one", 105.0)))
    boxes, texts = describe_persons(poor, rows, LABELS, 0.25)
    assert boxes.tolist() == [[0, 0, 0.4, 1], [0.6, 0, 1, 1]]
    assert texts == [f"sit 0.90, sing 0.55, {LABELS[2]} 0.28", "sit 0.80"]
    _, every = describe_persons(poor, rows, {1: "sit"}, None)
    assert every == ["sit", "sit"]


def test_data_of_keyframes(registered, tmp_path):
    output = tmp_path / "data.png"
    for split in ("train", "test"):
        options = ["--config-file", registered["ava"], "--split", split, "--output", str(output)]
        assert visualize_data.main([*options, "--num", "2"]) == 0
        assert Image.open(output).width > 4 * model_input_sheet.MIN_WIDTH


def test_drawn_is_the_output_of_the_mapper(registered):
    cfg = load_config(registered["ava"])
    clips = read_model_inputs(cfg, "train", 3, seed=4)
    again = read_model_inputs(cfg, "train", 3, seed=4)
    assert [c["image_id"] for c in clips] == [c["image_id"] for c in again]
    assert (clips[0]["frames"] == again[0]["frames"]).all()
    other = read_model_inputs(cfg, "train", 3, seed=5)
    assert [c["image_id"] for c in clips] != [c["image_id"] for c in other]
    for clip in clips:
        item = draw_model_input(clip, "small_ava")
        assert len(item.images) == 4 and len(item.strips) == 1
        persons = clip["instances"].gt_actions
        expected = [
            ", ".join(LABELS[k + 1] for k in row.nonzero()[:, 0].tolist()) for row in persons
        ]
        assert [text for _, text in item.texts[0]] == expected
        assert item.title.endswith("silence") == (clip["video_id"] == "two")
    (tested,) = read_model_inputs(cfg, "test", 1, seed=0)
    item = draw_model_input(tested, "small_ava")
    assert {text for _, text in item.texts[0]} == {"person 1.00"}


def test_data_of_clips(registered, tmp_path, capsys):
    output = tmp_path / "clips.png"
    options = ["--config-file", registered["clips"], "--output", str(output), "--num", "2"]
    assert visualize_data.main([*options, "--split", "test"]) == 0
    assert "2 clips of small_clips" in capsys.readouterr().out
    cfg = load_config(registered["clips"])
    labels = {"one": "click", "two": "silence"}
    for clip in read_model_inputs(cfg, "train", 2, seed=0):
        item = draw_model_input(clip, "small_clips")
        video = clip["clip_id"].removesuffix(".mp4")
        assert item.texts[0][0] == (None, f"action: {labels[video]}")
        assert item.title.endswith("silence") == (video == "two")


def test_missing_data_is_reported(tmp_path, capsys, registered):
    options = ["--config-file", registered["ava"], "--output", str(tmp_path / "x.png")]
    assert visualize_data.main([*options, "DATASETS.TRAIN", "('ava_v2.2_train',)"]) == 1
    error = capsys.readouterr().err
    assert error.startswith("error: Dataset 'ava_v2.2_train' is incomplete")
