import csv
import json

import numpy as np
import pytest
from detectron2.modeling import build_model

from ava_tools import demo as tool
from ava_tools import get_ava_performance
from avsf_det.checkpoint import AVSFCheckpointer
from avsf_det.data import VideoReader
from avsf_det.engine import Trainer, predictor

from ..engine import actions
from .action_demo.stream_server import StreamServer, make_stream

pytestmark = pytest.mark.usefixtures("few_blocks")
PERSON = np.array([[0.25, 0.25, 0.75, 0.75, 0.9]], np.float32)

LIMIT = ("--score-threshold", "0.8")  # as DATASETS.PROPOSAL_MIN_SCORE_TEST


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Videos a and b with annotations and boxes; and tiny.yaml, whose weights exist."""
    path = tmp_path_factory.mktemp("actions")
    actions.make_dataset(path)
    cfg = actions.make_model(path)
    cfg.OUTPUT_DIR = str(path)
    (path / "tiny.yaml").write_text(cfg.dump())
    yield path
    actions.forget()


@pytest.fixture
def run(folder, monkeypatch):
    monkeypatch.setattr(predictor, "PersonDetector", lambda cfg: lambda frames: [PERSON])

    def run_tool(*arguments) -> int:
        return tool.main(["--config-file", str(folder / "tiny.yaml"), *map(str, arguments)])

    return run_tool


def test_csv_of_a_folder_is_that_of_the_evaluation(run, folder, tmp_path, capsys):
    videos, boxes = folder / "videos", folder / "boxes.csv"
    assert run("--input", videos, "--output", tmp_path, "--boxes", boxes, "--json", *LIMIT) == 0
    assert {path.name for path in tmp_path.iterdir()} == {
        f"{name}.{suffix}" for name in "ab" for suffix in ("mp4", "jsonl", "csv")
    }
    cfg = tool.load_config(str(folder / "tiny.yaml"), [])
    model = build_model(cfg)
    AVSFCheckpointer(model).load(cfg.MODEL.WEIGHTS)
    results = Trainer.test(cfg, model)
    rows = (tmp_path / "a.csv").read_text() + (tmp_path / "b.csv").read_text()
    assert rows == (folder / "inference" / "ava_predictions.csv").read_text()

    (tmp_path / "all.csv").write_text(rows)
    (tmp_path / "map.pbtxt").write_text(
        "".join(
            f'item {{ name: "{n}" id: {i} }}\n' for i, n in ((1, "sit"), (4, "run"), (7, "sing"))
        )
    )
    capsys.readouterr()
    files = ("-l", tmp_path / "map.pbtxt", "-g", folder / "gt.csv", "-d", tmp_path / "all.csv")
    assert get_ava_performance.main([*map(str, files), "--json"]) == 0
    scored = json.loads(capsys.readouterr().out)["mAP"]
    assert scored == pytest.approx(results["ava"]["mAP"], abs=1e-9)
    assert scored > 0.1


def test_a_detector_finds_the_persons_of_a_video(run, folder, tmp_path, capsys):
    output = tmp_path / "new" / "out.mp4"
    options = ("--rate", 2, "--class", "run", "--min-score", 0.1, "TEST.AUDIO_MODE", "mute")
    assert run("--input", folder / "videos" / "a.mp4", "--output", output, *options) == 0
    assert "keyframes: 6, persons: 6" in capsys.readouterr().out
    with VideoReader(output) as drawn:
        assert drawn.has_audio
        assert drawn.height == 320  # what the model did not hear is not drawn
    assert run("--input", folder / "videos" / "a.mp4", "--output", output, *options) == 0
    assert "is there already" in capsys.readouterr().out


def test_scores_alone_are_those_of_the_drawn_video(run, folder, tmp_path, capsys):
    source = ("--input", folder / "videos" / "a.mp4", "--boxes", folder / "boxes.csv")
    assert run(*source, "--output", tmp_path / "drawn.mp4", "--json") == 0
    assert run(*source, "--output", tmp_path / "a.csv", "--no-video") == 0
    assert "a.csv: keyframes: 2, persons: 4" in capsys.readouterr().out
    for suffix in ("jsonl", "csv"):
        drawn, alone = (tmp_path / f"{name}.{suffix}" for name in ("drawn", "a"))
        assert drawn.read_bytes() == alone.read_bytes()
    assert not (tmp_path / "a.mp4").exists() and not list(tmp_path.glob("*.part.*"))
    assert run(*source, "--output", tmp_path / "a.csv", "--no-video") == 0
    assert "a.csv: is there already" in capsys.readouterr().out
    # Later the video is drawn from the scores.
    assert run(*source, "--output", tmp_path / "a.mp4", "--max-height", 200) == 0
    with VideoReader(tmp_path / "a.mp4") as reader:
        assert (reader.width, reader.height) == (400, 200 + 64)


def test_a_bad_video_of_a_folder_does_not_stop_the_others(run, folder, tmp_path, capsys):
    videos = tmp_path / "videos"
    (videos / "more").mkdir(parents=True)
    (videos / "broken.mp4").write_text("no video")
    (videos / "more" / "good.mp4").write_bytes((folder / "videos" / "b.mp4").read_bytes())
    assert run("--input", videos, "--output", tmp_path / "out") == 1
    shown = capsys.readouterr()
    assert "broken.mp4: file: cannot be opened" in shown.err
    assert "good.mp4: keyframes: 3, persons: 3" in shown.out
    assert [p.name for p in (tmp_path / "out").rglob("*") if p.is_file()] == ["good.mp4"]


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (("--input", "{videos}/nowhere.mp4"), "nowhere.mp4"),
        (("--input", "{videos}/a.mp4", "--class", "fly"), "no action 'fly'; there are: sit; run"),
        (("--input", "{videos}/a.mp4", "--label-map", "{videos}/../gt.csv"), "is not a label"),
        (("--input", "{videos}/a.mp4", "--boxes", "{videos}/none.csv"), "none.csv: cannot be read"),
        (("--input", "{videos}/a.mp4", "--boxes", "{videos}/other.csv"), "no boxes of video 'a'"),
        (("--input", "{videos}/a.mp4", "MODEL.WEIGHTS", ""), "MODEL.WEIGHTS is empty"),
        (("--input", "{videos}/a.mp4", "MODEL.WEIGHTS", "{videos}/a.mp4"), "a.mp4"),
        (
            (
                "--input",
                "{videos}/sound.mp4",
            ),
            "sound.mp4",
        ),
    ],
)
def test_errors_are_one_line(run, folder, tmp_path, capsys, arguments, problem):
    (folder / "videos" / "other.csv").write_text("c,1,0,0,1,1,,0.9\n")
    arguments = [text.format(videos=folder / "videos") for text in arguments]
    assert run("--output", tmp_path / "out.mp4", *arguments) == 1
    errors = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1
    assert problem in errors[0]
    assert not (tmp_path / "out.mp4").exists()


@pytest.mark.parametrize("options", [("--rate", "0"), ("--output", "out.webm"), ("--no-video",)])
def test_options_that_cannot_be(run, folder, options, capsys):
    with pytest.raises(SystemExit) as stopped:
        run("--input", folder / "videos" / "a.mp4", "--output", "out.mp4", *options)
    assert stopped.value.code == 2
    assert "must" in capsys.readouterr().err


def test_a_stream_of_the_whole_frame(run, tmp_path, monkeypatch, capsys):
    monkeypatch.undo()  # the config's detector
    with StreamServer([(make_stream(1), False)]) as server:
        options = ("--whole-frame", "--rate", 2, "--no-video", "--reconnect", 0)
        assert run("--input", server.url, "--output", tmp_path / "live.csv", *options) == 0
        assert run("--input", server.url, "--output", tmp_path / "none.csv", *options) == 1
    printed = capsys.readouterr()
    assert "keyframes" in printed.out and "cannot be opened (Connection refused)" in printed.err
    assert {path.name for path in tmp_path.iterdir()} == {"live.csv", "live.jsonl"}
    rows = list(csv.reader((tmp_path / "live.csv").open()))
    assert {tuple(row[2:6]) for row in rows} == {("0.00000", "0.00000", "1.00000", "1.00000")}
