import csv

import pytest
import torch
from detectron2.modeling import build_model

from ava_tools import classify as tool
from ava_tools.inference.clip_predictions import ClipScorer, window_starts
from avsf_det.data import SegmentMapper
from avsf_det.modeling.backbone.resnet3d import BLOCKS_PER_STAGE

from ..media import tone, write_video

CONFIG = "configs/mini/avsf_epic_mini.yaml"
TINY = [
    *("MODEL.SLOWFAST.WIDTH", "8", "INPUT.MIN_SIZE_TEST", "32", "MODEL.DEVICE", "cpu"),
    *("MODEL.CLIP_HEAD.NUM_CLASSES", "[3, 4]", "TEST.VIEWS.SPATIAL", "3"),
]


@pytest.fixture
def arguments(tmp_path, monkeypatch):
    """Arguments: a model of verbs and nouns with random weights; videos a (5 s) and b (1 s)."""
    monkeypatch.setitem(BLOCKS_PER_STAGE, 50, (1, 1, 1, 1))
    (tmp_path / "in" / "more").mkdir(parents=True)
    write_video(tmp_path / "in" / "a.mp4", num_frames=50, fps=10, sound=tone(500, 5, 48000))
    write_video(tmp_path / "in" / "more" / "b.mp4", num_frames=10, fps=10)
    (tmp_path / "verbs.txt").write_text("take\nput, down\nopen\n")
    (tmp_path / "nouns.txt").write_text("cup\nplate\ntap\nknife\n")
    torch.manual_seed(0)
    model = build_model(tool.load_config(CONFIG, TINY))
    for predictor in model.head.predictors.values():
        torch.nn.init.normal_(predictor.weight, std=0.5)
    torch.save({"model": model.state_dict()}, tmp_path / "weights.pth")
    options = [*TINY, "MODEL.WEIGHTS", str(tmp_path / "weights.pth")]

    def make(*more: str, source: str = "in", names: bool = True) -> list[str]:
        paths = ["--input", str(tmp_path / source), "--output", str(tmp_path / "out.csv")]
        files = [f"verb={tmp_path / 'verbs.txt'}", "--classes", f"noun={tmp_path / 'nouns.txt'}"]
        return ["--config-file", CONFIG, *paths, *names * ["--classes", *files], *more, *options]

    return make


def read(tmp_path) -> list[dict]:
    with open(tmp_path / "out.csv", newline="") as file:
        return list(csv.DictReader(file))


def test_windows_cover_a_video():
    assert window_starts(10, 2, 2) == [0, 2, 4, 6, 8]
    assert window_starts(5, 2, 2) == [0, 2, 3]
    assert window_starts(5, 2, 1.5) == [0, 1.5, 3]
    assert window_starts(1.5, 2, 2) == [0]


def test_scores_of_windows_are_those_of_the_model(arguments, tmp_path, capsys):
    assert tool.main(arguments("--stride", "1", "--top", "2")) == 0
    assert "out.csv: 5 windows of 2.13333 s, 2 videos" in capsys.readouterr().out
    rows = read(tmp_path)
    starts = sorted({(r["video"], float(r["start"]), float(r["end"])) for r in rows})
    assert [s[:2] for s in starts] == [
        *(("a.mp4", t) for t in (0, 1, 2, pytest.approx(2.86667))),
        ("more/b.mp4", 0),
    ]
    assert [s[2] for s in starts] == pytest.approx([2.13333, 3.13333, 4.13333, 5, 1])
    assert [r["task"] for r in rows] == ["verb", "verb", "noun", "noun"] * 5

    # Computed again: each clip read on its own, and the model without folded norms.
    cfg = tool.load_config(CONFIG, [*TINY, "TEST.VIEWS.TEMPORAL", "1"])
    model = build_model(cfg).eval()
    model.load_state_dict(torch.load(tmp_path / "weights.pth")["model"])
    mapper = SegmentMapper(cfg, is_train=False)
    clip = {"file_name": str(tmp_path / "in/a.mp4"), "clip_id": "", "labels": {}, "source": ""}
    clip |= {"start_sec": 1.0, "end_sec": 1.0 + 64 / 30}
    with torch.no_grad():
        views = [model([mapper({**clip, "view": i})])[0]["scores"]["verb"] for i in range(3)]
    best = torch.stack(views).mean(dim=0).topk(2)
    found = [r for r in rows if r["start"] == "1" and r["task"] == "verb"]
    names = ["take", "put, down", "open"]
    assert [r["class"] for r in found] == [names[k] for k in best.indices]
    assert [float(r["score"]) for r in found] == pytest.approx(best.values.tolist(), abs=2e-4)


def test_a_killed_run_goes_on_and_a_bad_video_is_named(arguments, tmp_path, monkeypatch, capsys):
    assert tool.main(arguments()) == 0
    whole = (tmp_path / "out.csv").read_bytes()
    assert tool.main(arguments()) == 1
    assert "is there already" in capsys.readouterr().err
    (tmp_path / "out.csv").unlink()
    score, scored = ClipScorer.__call__, []

    def watched(self, path, start):
        if len(scored) == 2:
            raise KeyboardInterrupt
        scored.append(start)
        return score(self, path, start)

    monkeypatch.setattr(ClipScorer, "__call__", watched)
    assert tool.main(arguments()) == 130
    assert not (tmp_path / "out.csv").exists()
    assert tool.main(arguments("--top", "1")) == 1
    assert "made with another top" in capsys.readouterr().err
    monkeypatch.setattr(ClipScorer, "__call__", score)
    (tmp_path / "in" / "broken.mp4").write_bytes(b"no video")
    assert tool.main(arguments()) == 1
    assert "broken.mp4: file: cannot be opened" in capsys.readouterr().err
    assert (tmp_path / "out.csv").read_bytes() == whole
    (tmp_path / "in" / "broken.mp4").unlink()
    assert tool.main(arguments()) == 0
    assert (tmp_path / "out.csv").read_bytes() == whole
    assert not list(tmp_path.glob("*.partial"))


def test_what_cannot_be_is_said(arguments, tmp_path, capsys):
    def problem(*more, **options) -> str:
        assert tool.main(arguments(*more, **options)) == 1
        return [x for x in capsys.readouterr().err.splitlines() if x.startswith("error: ")][-1]

    assert "give --classes verb=FILE" in problem(names=False)
    assert "no task 'action'; there are: verb, noun" in problem("--classes", "action=x.txt")
    assert "none.mp4: no video there" in problem(source="none.mp4")
    (tmp_path / "verbs.txt").write_text("take\n")
    assert "task 'verb': 1 class names, but the model has 3" in problem()
